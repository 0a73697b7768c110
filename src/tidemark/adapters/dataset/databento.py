"""Databento's DBN files (.dbn, .dbn.zst) of schemas mbo, mbp-10, mbp-1, tbbo and trades as events of one instrument."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.adapters.dataset.dbn_file import SCHEMAS, DbnFile
from tidemark.adapters.dataset.faults import FaultLog, Reason, RowMarks
from tidemark.adapters.dataset.messages import letter_codes, mark_prices, mark_words, price_codes, snapshot_rows
from tidemark.adapters.dataset.numbers import from_integers
from tidemark.adapters.dataset.order_book import ACTIONS, SIDES, Messages, OrderBook
from tidemark.adapters.dataset.rows import Records, Rows, assemble
from tidemark.adapters.dataset.times import EARLIEST_NS
from tidemark.book.quality import TS_NS_MAX
from tidemark.calendar import MONTH_CODES
from tidemark.errors import bad_input
from tidemark.events import I8, I64, LEVELS, SIDES_LEVELS
from tidemark.instruments import Instrument
from tidemark.units import INT64_MAX, NO_PRICE

UNITS_PER_ONE = 10**9  # fixed-point prices
UNDEFINED_PRICE = INT64_MAX


class DbnSource:
    """One DBN file. `raw_symbol` names the contract where the file holds several. Raises InputError for a file without the instrument."""

    def __init__(self, path: Path, instrument: Instrument, raw_symbol: str | None = None) -> None:
        self.file = DbnFile(path)
        self.name = path.name
        self.symbol = instrument.symbol
        self.unit = instrument.tick_size * UNITS_PER_ONE
        if self.unit.denominator != 1:
            raise bad_input(self.name, "--tick-size", str(instrument.tick_size), "a multiple of 1e-9, the format's price unit")
        self.has_depth = self.file.schema in ("mbo", "mbp-10", "mbp-1")
        self.has_trades = True
        self.is_canonical = False
        mappings = self.file.metadata.mappings
        self.raw_symbol = choose_symbol(sorted(mappings), instrument.symbol, raw_symbol, self.name)
        self.instrument_ids = self._ids(mappings.get(self.raw_symbol, []))

    def rows(self, log: FaultLog) -> Iterator[Rows]:
        """Events of the chosen instrument. A file is a stream of its own: its book starts empty."""
        book = OrderBook()
        for lines, structs in self._chosen(log):
            good, messages, px_ticks, sizes = self._messages(structs, lines, log)
            records = Records(
                lines=lines[good],
                event_ts_ns=structs["ts_event"][good].astype(np.int64),
                recv_ts_ns=structs["ts_recv"][good].astype(np.int64),
                seq=np.zeros(len(good), np.int64),
                text=lambda row, structs=structs, good=good: _record_text(structs[good[row]]),  # type: ignore[misc]
            )
            if self.file.schema == "mbo":
                made = book.apply(messages)
            else:
                made = snapshot_rows(messages, px_ticks, sizes, log, has_depth=self.has_depth)
            yield assemble(self.symbol, made, records, log, self.name)
        for note, count in book.notes.items():
            log.note(note, count)

    def _chosen(self, log: FaultLog) -> Iterator[tuple[I64, npt.NDArray[Any]]]:
        """(record numbers, records) of the instrument."""
        publishers: set[int] = set()
        instruments: set[int] = set()
        for lines, records, other_types in self.file.batches():
            log.note("records of other types, left out", other_types)
            chosen = (
                np.isin(records["instrument_id"], list(self.instrument_ids)) if self.instrument_ids else np.ones(len(records), np.bool_)
            )
            log.note("records of other instruments, left out", int((~chosen).sum()))
            publishers |= set(np.unique(records["publisher_id"][chosen]).tolist())
            instruments |= set(np.unique(records["instrument_id"][chosen]).tolist())
            if len(publishers) > 1:
                raise bad_input(
                    self.name, "publisher_id", sorted(publishers), "records of one venue", "books of several venues are not merged"
                )
            if len(instruments) > 1:
                raise bad_input(self.name, "instrument_id", sorted(instruments), "one instrument", "the metadata do not say which is which")
            if chosen.any():
                yield lines[chosen], records[chosen]

    def _messages(self, structs: npt.NDArray[Any], lines: I64, log: FaultLog) -> tuple[I64, Messages, I64, I64]:
        """(indices of records without a fault; of those: what they say, prices and sizes of the book after them)."""
        marks = RowMarks(len(structs))
        action, side = letter_codes(structs["action"], ACTIONS), letter_codes(structs["side"], SIDES)
        mark_words(marks, action, side)
        for field in ("ts_event", "ts_recv"):
            times = structs[field].astype(np.int64)  # an undefined time is -1 here
            marks.mark(field, np.where((times < EARLIEST_NS) | (times > TS_NS_MAX), Reason.TIME_UNIT, Reason.OK).astype(np.int8))
        price_ticks, codes = self._ticks(structs["price"])
        mark_prices(marks, "price", action, price_ticks, codes)
        px_ticks, sizes = self._levels(structs, marks)
        marks.refuse(log, self.name, lines, lambda row, name: str(structs[name][row]), lambda row: _record_text(structs[row]))
        messages = Messages(
            action=action,
            side=side,
            flags=structs["flags"].astype(np.int64),
            price_ticks=price_ticks,
            qty=structs["size"].astype(np.int64),
            order_id=structs["order_id"].astype(np.int64) if self.file.schema == "mbo" else np.zeros(len(structs), np.int64),
        )
        good = np.flatnonzero(marks.reason == Reason.OK)
        return good, messages[good], px_ticks[good], sizes[good]

    def _ticks(self, prices: I64) -> tuple[I64, I8]:
        defined = prices != UNDEFINED_PRICE
        ticks, codes = from_integers(np.where(defined, prices, 0), self.unit)
        return ticks, np.where(defined, codes, Reason.EMPTY_CELL).astype(np.int8)

    def _levels(self, records: npt.NDArray[Any], marks: RowMarks) -> tuple[I64, I64]:
        px_ticks = np.full((len(records), SIDES_LEVELS), NO_PRICE, np.int64)
        sizes = np.zeros((len(records), SIDES_LEVELS), np.int64)
        for first, side in ((0, "bid"), (LEVELS, "ask")):
            for level in range(SCHEMAS[self.file.schema][2]):
                prices, level_sizes = records["levels"][f"{side}_px"][:, level], records["levels"][f"{side}_sz"][:, level]
                ticks, codes = self._ticks(prices)
                empty = codes == Reason.EMPTY_CELL
                marks.mark("levels", np.where(empty, Reason.OK, price_codes(ticks, codes)).astype(np.int8))
                px_ticks[:, first + level] = np.where(empty, NO_PRICE, ticks)
                sizes[:, first + level] = level_sizes
        return px_ticks, sizes

    def _ids(self, intervals: list[dict[str, Any]]) -> set[int]:
        ids = {int(interval["symbol"]) for interval in intervals if interval["symbol"]}
        if len(ids) > 1:
            raise bad_input(
                self.name, "instrument_id", sorted(ids), f"one contract behind {self.raw_symbol}", "import each contract by itself"
            )
        return ids


def choose_symbol(names: list[str], symbol: str, raw_symbol: str | None, source: str) -> str | None:
    """Which of a file's symbols is meant by `symbol`: itself, one of its delivery months (ESH4) or its continuous form (ES.c.0).

    None when the file names none. Raises InputError when none or several fit.
    """
    if raw_symbol is not None:
        if names and raw_symbol not in names:
            raise bad_input(source, "--raw-symbol", raw_symbol, f"one of {', '.join(names)}")
        return raw_symbol
    fitting = [name for name in names if is_contract_of(name, symbol)]
    if len(fitting) > 1:
        raise bad_input(source, "--symbol", symbol, f"--raw-symbol with one of {', '.join(fitting)}")
    if names and not fitting:
        raise bad_input(
            source, "--symbol", symbol, f"an instrument of the file: {', '.join(names[:10])}", "--raw-symbol says it is another's name"
        )
    return fitting[0] if fitting else None


def is_contract_of(name: str, symbol: str) -> bool:
    """Whether a vendor's name is `symbol`, one of its delivery months, or its continuous or parent form."""
    return re.fullmatch(rf"{re.escape(symbol)}([{MONTH_CODES}]\d{{1,2}}|\.(c|n|v)\.\d+|\.FUT)?", name) is not None


def _record_text(record: Any) -> str:
    return str({name: record[name].tolist() for name in record.dtype.names})
