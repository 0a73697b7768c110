"""From sources to a data set: every row is judged, the streams are merged and numbered, and the result appears whole or not at all."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tidemark.adapters.dataset.faults import FaultLog, fault_log, refuse_defects
from tidemark.adapters.dataset.layout import file_sha256
from tidemark.adapters.dataset.merge import by_event_time, by_seq, merge_sorted
from tidemark.adapters.dataset.rows import Rows, Source
from tidemark.adapters.dataset.writer import require_symbol, write_dataset
from tidemark.book.quality import SEQ_UNKNOWN, TS_UNKNOWN, is_malformed, scan_block
from tidemark.errors import bad_input
from tidemark.events import EventBlock, Kind
from tidemark.instruments import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What to import and how. `recv_delay_ns`, if given, sets the receive time of every event to its event time plus that."""

    instrument: Instrument
    sources: Sequence[Source]
    files: Sequence[Path]
    format: str
    licence: str
    recv_delay_ns: int | None = None


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """What an import took and refused. `shown` has the first faults as text."""

    symbol: str
    format: str
    files: list[str]
    depth: int = 0
    trades: int = 0
    span_ns: tuple[int, int] | None = None
    refused: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    data_hash: str | None = None

    @property
    def refused_count(self) -> int:
        return sum(self.refused.values())

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "symbol": self.symbol,
            "format": self.format,
            "files": self.files,
            "rows": {"depth": self.depth, "trades": self.trades},
            "span_ns": self.span_ns,
            "refused": self.refused,
            "notes": self.notes,
            "faults": self.shown,
            "data_hash": self.data_hash,
        }


def check_sources(intake: Intake) -> ImportReport:
    """Read everything, write nothing. Raises InputError only where a source as a whole is unusable."""
    report = _report(intake)
    log = FaultLog()
    for block in _events(intake, log, report):
        del block  # counted by `_events`
    _fill(report, log)
    return report


def import_sources(intake: Intake, out: Path, quarantine: Path | None = None) -> ImportReport:
    """Write the data set `out`. Raises InputError with all faults when a row is refused and there is no `quarantine` file for it."""
    report = _report(intake)
    with fault_log(quarantine) as log:
        blocks = _or_refuse(_events(intake, log, report), log, keep_going=quarantine is not None)
        provenance = {"format": intake.format, "files": {path.name: file_sha256(path) for path in intake.files}}
        manifest = write_dataset(
            out,
            {intake.instrument.symbol: intake.instrument},
            blocks,
            source=f"{intake.format}: {', '.join(report.files)}",
            licence=intake.licence,
            extra={"import": provenance},
        )
        _fill(report, log)
    report.data_hash = manifest.data_hash
    return report


def _report(intake: Intake) -> ImportReport:
    require_symbol(intake.instrument.symbol)
    _require_one_source_of_trades(intake)
    if len({source.is_canonical for source in intake.sources}) > 1:
        raise bad_input(intake.sources[0].name, "layout", "canonical files beside others", "sources of one kind")
    return ImportReport(symbol=intake.instrument.symbol, format=intake.format, files=[path.name for path in intake.files])


def _require_one_source_of_trades(intake: Intake) -> None:
    """Books with executions in them and a file of trades would give every trade twice."""
    own = [source.name for source in intake.sources if source.has_depth and source.has_trades]
    other = [source.name for source in intake.sources if source.has_trades and not source.has_depth]
    if own and other:
        raise bad_input(other[0], "trades", "a second source of trades", f"none beside {own[0]}, which has its own")


def _fill(report: ImportReport, log: FaultLog) -> None:
    report.refused = dict(sorted(log.reasons.items()))
    report.notes = dict(sorted(log.notes.items()))
    report.shown = log.first


def _or_refuse(blocks: Iterable[EventBlock], log: FaultLog, *, keep_going: bool) -> Iterator[EventBlock]:
    """The blocks; at their end an error if rows were refused that nobody keeps, or if there was no good one."""
    count = 0
    for block in blocks:
        count += len(block)
        yield block
    if log.count and (not keep_going or not count):
        raise log.as_error()


def _events(intake: Intake, log: FaultLog, report: ImportReport) -> Iterator[EventBlock]:
    """All good rows of all sources in order, numbered; a trade before a depth row of the same time."""
    ordered = sorted(intake.sources, key=lambda source: source.has_depth)
    canonical = all(source.is_canonical for source in ordered)
    streams = [_judged(source, intake, log) for source in ordered]
    last_seq = 0
    last_ts_ns = 0
    for block in merge_sorted(streams, by_seq if canonical else by_event_time):
        if canonical:
            _require_order(block, last_seq, last_ts_ns, intake)
            last_seq, last_ts_ns = int(block.seq[-1]), int(block.event_ts_ns[-1])
            numbered = block
        else:
            numbered = replace(block, seq=np.arange(last_seq + 1, last_seq + 1 + len(block)))
            last_seq += len(block)
        trades = int((block.kind == Kind.TRADE).sum())
        report.trades += trades
        report.depth += len(block) - trades
        report.span_ns = (report.span_ns[0] if report.span_ns else int(block.event_ts_ns[0]), int(block.event_ts_ns[-1]))
        yield numbered
    _require_one_source_of_trades(intake)  # a table may have shown only now that it has trades of its own


def _judged(source: Source, intake: Intake, log: FaultLog) -> Iterator[EventBlock]:
    """The rows of a source that a market can have; the others go to the log."""
    last_seq, last_ts_ns = np.array([SEQ_UNKNOWN]), np.array([TS_UNKNOWN])
    count = 0
    for rows in source.rows(log):
        if not len(rows.block):
            continue
        block = rows.block
        if intake.recv_delay_ns is not None:
            block = replace(block, recv_ts_ns=block.event_ts_ns + intake.recv_delay_ns)
        if not source.is_canonical:
            block = replace(block, seq=np.arange(count + 1, count + 1 + len(block)))
        count += len(block)
        codes = scan_block(block, last_seq, last_ts_ns)
        bad = is_malformed(codes)
        if bad.any():
            refuse_defects(log, source.name, codes, np.flatnonzero(bad).tolist(), rows.lines, rows.text)
        yield Rows(block, rows.lines, rows.text).keep(~bad).block if bad.any() else block


def _require_order(block: EventBlock, last_seq: int, last_ts_ns: int, intake: Intake) -> None:
    """Depth and trades of canonical files share one numbering: no number twice, and time in its order."""
    names = ", ".join(source.name for source in intake.sources)
    wrong = np.flatnonzero(np.diff(block.seq, prepend=last_seq) <= 0)
    if len(wrong):
        raise bad_input(names, "seq", int(block.seq[wrong[0]]), "numbers that depth and trades share, each once")
    late = np.flatnonzero(np.diff(block.event_ts_ns, prepend=last_ts_ns) < 0)
    if len(late):
        got = f"seq {block.seq[late[0]]} earlier than the event before"
        raise bad_input(names, "ts_event_ns", got, "times in the order of seq over depth and trades")
