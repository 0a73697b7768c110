"""Blocks of events into the canonical folders, with memory bounded by one row group of each open file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tidemark.adapters.dataset.atomic import atomic_folder
from tidemark.adapters.dataset.bars import bars_of_trades
from tidemark.adapters.dataset.layout import (
    BARS,
    DEPTH,
    KINDS,
    LEVEL_COLUMNS,
    SCHEMAS,
    TRADES,
    ContentHash,
    FileEntry,
    Manifest,
    file_sha256,
    partition_folder,
)
from tidemark.errors import bad_input
from tidemark.events import I64, SYMBOL_CHARS_MAX, EventBlock, Kind, concat
from tidemark.instruments import Instrument
from tidemark.units import NS_PER_DAY, NS_PER_MIN

ROWS_PER_GROUP = 65_536
ZSTD_LEVEL = 3  # against level 1: a simulated market's files are 11 % smaller, writing takes a tenth longer
_SYMBOL = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{SYMBOL_CHARS_MAX - 1}}}")
_REPEATING = {DEPTH: [name for px, sz, _ in LEVEL_COLUMNS for name in (px, sz)], TRADES: ["px", "sz", "aggressor"], BARS: []}


def require_symbol(symbol: str, *, source: str = "--symbol") -> str:
    """`symbol`, if it can name a folder and travel in a block. Raises InputError."""
    if not _SYMBOL.fullmatch(symbol):
        raise bad_input(source, "symbol", symbol, f"1 to {SYMBOL_CHARS_MAX} letters, digits, '.', '_' or '-', first a letter or digit")
    return symbol


def write_dataset(
    out: Path,
    instruments: Mapping[str, Instrument],
    blocks: Iterable[EventBlock],
    *,
    source: str,
    licence: str,
    extra: dict[str, Any] | None = None,
) -> Manifest:
    """Write a data set; `out` appears whole or not at all.

    The order of `instruments` is the feed's order of symbols at equal times. Rows are stored as they come, defects included: judging
    them is the importers' and the check's business. The blocks of one symbol come in time order.
    Raises InputError when `out` has content or cannot be written to, for a bad symbol, and when there is no event at all.
    """
    for symbol in instruments:
        require_symbol(symbol, source=source)
    with atomic_folder(out) as folder:
        writer = DatasetWriter(folder, instruments)
        for block in blocks:
            writer.add(block)
        manifest = writer.finish(source=source, licence=licence, extra=extra or {})
        manifest.write(folder)
    return manifest


@dataclass(slots=True)
class _Part:
    """One open file of a kind, symbol and day; rows wait until they fill a row group."""

    path: Path
    kind: str
    day: int
    waiting: list[EventBlock] = field(default_factory=list)
    waiting_rows: int = 0
    rows: int = 0
    parquet: Any = None
    trades: list[tuple[I64, I64, I64]] = field(default_factory=list)  # kept for the day's bars

    def add(self, rows: EventBlock) -> None:
        self.waiting.append(rows)
        self.waiting_rows += len(rows)
        self.rows += len(rows)
        if self.kind == TRADES:
            self.trades.append((rows.event_ts_ns, rows.px_ticks[:, 0].copy(), rows.qty[:, 0].astype(np.int64)))
        if self.waiting_rows >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        joined = concat(self.waiting)
        for start in range(0, len(joined), ROWS_PER_GROUP):
            self._write(_table_of(joined[start : start + ROWS_PER_GROUP], self.kind))
        self.waiting, self.waiting_rows = [], 0

    def _write(self, table: Any) -> None:
        if self.parquet is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.parquet = _open_parquet(self.path, self.kind)
        self.parquet.write_table(table)

    def close(self) -> None:
        if self.waiting:
            self._flush()
        self.parquet.close()


class DatasetWriter:
    """Fills one folder. `add` blocks of any of the symbols, then `finish` once."""

    def __init__(self, folder: Path, instruments: Mapping[str, Instrument]) -> None:
        self.folder = folder
        self.instruments = dict(instruments)
        self.files: dict[str, FileEntry] = {}
        self._open: dict[tuple[str, str], _Part] = {}
        self._hashes: dict[tuple[str, str], ContentHash] = {}
        self._rows = {symbol: dict.fromkeys(KINDS, 0) for symbol in self.instruments}
        self._span: dict[str, tuple[int, int]] = {}

    def add(self, block: EventBlock) -> None:
        """Store the rows of a block, in its order."""
        for i, symbol in enumerate(block.symbols):
            rows = block if len(block.symbols) == 1 else block[block.symbol_i == i]
            if not len(rows):
                continue
            assert symbol in self.instruments, f"events of {symbol}, which has no instrument"
            first, last = int(rows.event_ts_ns.min()), int(rows.event_ts_ns.max())
            known = self._span.get(symbol, (first, last))
            self._span[symbol] = (min(first, known[0]), max(last, known[1]))
            for name, kind in KINDS.items():
                self._add_kind(symbol, name, rows[rows.kind == kind])

    def _add_kind(self, symbol: str, kind: str, rows: EventBlock) -> None:
        if not len(rows):
            return
        self._rows[symbol][kind] += len(rows)
        self._hashes.setdefault((symbol, kind), ContentHash()).update(rows)
        days = rows.event_ts_ns // NS_PER_DAY
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(rows)]
        for start, stop in zip(edges, edges[1:], strict=False):
            self._part(symbol, kind, int(days[start])).add(rows[start:stop])

    def _part(self, symbol: str, kind: str, day: int) -> _Part:
        part = self._open.get((symbol, kind))
        if part is not None and part.day == day:
            return part
        if part is not None:
            self._close(symbol, kind, part)
        part = _Part(self._free_path(partition_folder(kind, symbol, day)), kind, day)
        self._open[symbol, kind] = part
        return part

    def _free_path(self, folder: Path) -> Path:
        """The next part file of a partition; one that was closed is not opened again (damaged time order can return to a day)."""
        number = sum(1 for name in self.files if Path(name).parent == folder)
        return self.folder / folder / f"part-{number:04d}.parquet"

    def _close(self, symbol: str, kind: str, part: _Part) -> None:
        part.close()
        self._register(part.path, part.rows)
        if kind == TRADES:
            times, prices, sizes = (np.concatenate(column) for column in zip(*part.trades, strict=True))
            path = self._free_path(partition_folder(BARS, symbol, part.day))
            self._register(path, _write_bars(path, times, prices, sizes))

    def _register(self, path: Path, rows: int) -> None:
        self.files[path.relative_to(self.folder).as_posix()] = FileEntry(rows, path.stat().st_size, file_sha256(path))

    def finish(self, *, source: str, licence: str, extra: dict[str, Any]) -> Manifest:
        """Close all files and describe them. Raises InputError when nothing was added."""
        for (symbol, kind), part in self._open.items():
            self._close(symbol, kind, part)
        if not self.files:
            raise bad_input(source, "events", 0, "at least one event")
        present = [symbol for symbol in self.instruments if symbol in self._span]
        return Manifest(
            instruments={symbol: self.instruments[symbol] for symbol in present},
            source=source,
            licence=licence,
            rows={symbol: self._rows[symbol] for symbol in present},
            span_ns={symbol: self._span[symbol] for symbol in present},
            files=dict(sorted(self.files.items())),
            content={
                symbol: {kind: self._hashes[symbol, kind].hexdigest() for kind in KINDS if (symbol, kind) in self._hashes}
                for symbol in present
            },
            extra=extra,
        )


def _open_parquet(path: Path, kind: str) -> Any:
    return pq.ParquetWriter(path, SCHEMAS[kind], compression="zstd", compression_level=ZSTD_LEVEL, use_dictionary=_REPEATING[kind] or False)


def _table_of(rows: EventBlock, kind: str) -> Any:
    columns: list[npt.NDArray[Any]] = [rows.event_ts_ns, rows.recv_ts_ns, rows.seq]
    if kind == DEPTH:
        for _, _, level in LEVEL_COLUMNS:
            columns += [np.ascontiguousarray(rows.px_ticks[:, level]), np.ascontiguousarray(rows.qty[:, level])]
    else:
        assert bool((rows.kind == Kind.TRADE).all())
        columns += [np.ascontiguousarray(rows.px_ticks[:, 0]), np.ascontiguousarray(rows.qty[:, 0]), rows.aggressor]
    return pa.table([pa.array(column) for column in columns], schema=SCHEMAS[kind])


def _write_bars(path: Path, event_ts_ns: I64, price_ticks: I64, qty: I64) -> int:
    order = np.argsort(event_ts_ns, kind="stable")  # a no-op unless the times are damaged
    bars = bars_of_trades(event_ts_ns[order], price_ticks[order], qty[order], NS_PER_MIN)
    columns = [
        bars.open_ts_ns,
        bars.open_ticks,
        bars.high_ticks,
        bars.low_ticks,
        bars.close_ticks,
        bars.volume,
        bars.vwap_ticks,
        bars.trade_count,
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_parquet(path, BARS) as parquet:
        parquet.write_table(pa.table([pa.array(column) for column in columns], schema=SCHEMAS[BARS]))
    return len(bars)
