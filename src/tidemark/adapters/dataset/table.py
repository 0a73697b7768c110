"""Tables, CSV or Parquet, in one of the documented layouts as events of one instrument."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemark.adapters.dataset.databento import is_contract_of
from tidemark.adapters.dataset.faults import FaultLog, Reason, RowMarks
from tidemark.adapters.dataset.layouts import Layout, Shape, detect
from tidemark.adapters.dataset.lobster import HIDDEN_SIDE_UNTIL, MessageColumns, message_rows, midnight_ns
from tidemark.adapters.dataset.messages import UNKNOWN, mark_prices, mark_words, price_codes, snapshot_rows
from tidemark.adapters.dataset.numbers import from_column
from tidemark.adapters.dataset.order_book import ACTIONS, SIDES, TRADE, Messages, OrderBook
from tidemark.adapters.dataset.readers import Chunk, CsvFile, ParquetFile
from tidemark.adapters.dataset.rows import Made, Records, Rows, assemble, interleave
from tidemark.adapters.dataset.times import from_time_column, likely_unit, time_unit_ns
from tidemark.errors import bad_input
from tidemark.events import I8, I64, LEVELS, SIDES_LEVELS
from tidemark.instruments import Instrument
from tidemark.units import NO_PRICE, to_decimal

WHOLE = Fraction(1)
AGGRESSOR_WORDS: dict[str, int] = {
    **dict.fromkeys(("B", "b", "buy", "BUY", "Buy", "1", "+1"), 1),
    **dict.fromkeys(("A", "S", "s", "sell", "SELL", "Sell", "-1"), -1),
    **dict.fromkeys(("N", "", "0", "unknown"), 0),
}
_NO_AGGRESSOR = -128


@dataclass(slots=True)
class _State:
    """What a source remembers from one portion to the next."""

    book: OrderBook = field(default_factory=OrderBook)
    highest_id: int | None = None
    last_row: "tuple[I64, I64, I64] | None" = None  # times (2,), prices (20,), sizes (20,) of the last plain book row
    first: bool = True


class TableSource:
    """One table of one instrument. Raises InputError when its columns are of no documented layout."""

    def __init__(
        self, file: CsvFile | ParquetFile, instrument: Instrument, *, time_unit: str | None = None, raw_symbol: str | None = None
    ) -> None:
        self.file = file
        self.name = file.source
        self.layout: Layout = detect(file.names, self.name)
        self.symbol = instrument.symbol
        self.raw_symbol = raw_symbol
        self.time_unit_ns = time_unit_ns(time_unit or self.layout.time_unit)
        self.is_canonical = self.layout.is_canonical
        self.has_depth = self.layout.shape is not Shape.TRADES
        self.has_trades = self.layout.shape in (Shape.TRADES, Shape.LOBSTER, Shape.ORDERS)
        self.price_unit = WHOLE if self.is_canonical else instrument.tick_size
        self.size_unit = WHOLE if self.is_canonical else Fraction(instrument.qty_step)

    @classmethod
    def open(cls, path: Path, format_name: str, instrument: Instrument, *, time_unit: str | None, raw_symbol: str | None) -> "TableSource":
        """A table of format `csv` or `parquet`."""
        file = CsvFile(path) if format_name == "csv" else ParquetFile(path)
        return cls(file, instrument, time_unit=time_unit, raw_symbol=raw_symbol)

    def rows(self, log: FaultLog) -> Iterator[Rows]:
        """Its events. Raises InputError when there is no row at all, or when the times are in another unit."""
        state = _State()
        for chunk in self.file.chunks(log):
            yield self._events(chunk, state, log)
            state.first = False
        if state.first:
            raise bad_input(self.name, "rows", 0, "at least one row below the column names")
        for note, count in state.book.notes.items():
            log.note(note, count)

    def _events(self, chunk: Chunk, state: _State, log: FaultLog) -> Rows:
        marks = RowMarks(len(chunk))
        marks.mark("row", np.where(chunk.ragged, Reason.RAGGED_ROW, Reason.OK).astype(np.int8))
        times = self._times(chunk, marks, state)
        self._mark_symbol(chunk, marks)
        px_ticks, sizes = self._levels(chunk, marks)
        said = self._said(chunk, marks)
        seq = self._ids(chunk, marks, state)
        if self.layout.shape is Shape.BOOK and self.layout.id is None:
            self._mark_repeats(times, px_ticks, sizes, marks, state)
        marks.refuse(log, self.name, chunk.lines, chunk.cell, chunk.text)
        good = np.flatnonzero(marks.reason == Reason.OK)
        records = Records(
            lines=chunk.lines[good],
            event_ts_ns=times[0][good],
            recv_ts_ns=times[1][good],
            seq=seq[good] if self.is_canonical else np.zeros(len(good), np.int64),
            text=lambda row: chunk.text(int(good[row])),
        )
        made = self._made(said, good, px_ticks[good], sizes[good], times[0], state, log)
        return assemble(self.symbol, made, records, log, self.name)

    def _made(self, said: "_Said", good: I64, px_ticks: I64, sizes: I64, event_ts_ns: I64, state: _State, log: FaultLog) -> Made:
        match self.layout.shape, said:
            case Shape.LOBSTER, MessageColumns():
                known = not len(good) or int(event_ts_ns[good[0]]) < midnight_ns(HIDDEN_SIDE_UNTIL)
                return message_rows(said[good], px_ticks, sizes, log, hidden_side_known=known)
            case Shape.MBP, Messages():
                self.has_trades |= bool((said.action[good] == TRADE).any())
                return snapshot_rows(said[good], px_ticks, sizes, log, has_depth=True)
            case Shape.ORDERS, Messages():
                return state.book.apply(said[good])
            case Shape.TRADES, _Prints():
                everything = np.ones(len(good), np.bool_)
                return interleave(everything, said.price_ticks[good], said.qty[good], said.aggressor[good], ~everything, px_ticks, sizes)
            case _:
                no = np.zeros(len(good), np.int64)
                return interleave(no > 0, no, no, no.astype(np.int8), no == 0, px_ticks, sizes)

    def _times(self, chunk: Chunk, marks: RowMarks, state: _State) -> I64:
        """Event and receive times (2, n); a file without receive times was received when it happened."""
        both = []
        for name in (self.layout.event_time, self.layout.recv_time or self.layout.event_time):
            values, codes = from_time_column(chunk.columns[name], self.time_unit_ns)
            codes = np.where(chunk.ragged, Reason.OK, codes).astype(np.int8)
            first = int(np.argmin(chunk.ragged))
            if state.first and codes[first] == Reason.TIME_UNIT:
                self._refuse_unit(chunk, first, name)
            marks.mark(name, codes)
            both.append(values)
        return np.stack(both)

    def _refuse_unit(self, chunk: Chunk, row: int, name: str) -> None:
        """A first time that makes sense in exactly one other unit says that the whole file is in that unit."""
        raw = to_decimal(chunk.cell(row, name), source=self.name, field=name) if chunk.cell(row, name).strip("-").isdigit() else None
        unit = likely_unit(int(raw)) if raw is not None else None
        hint = f"--time-unit {unit} reads it so" if unit else "--time-unit names the unit of integer times"
        expected = f"a time from 1990 to 2116 in units of {self.time_unit_ns} ns"
        raise bad_input(f"{self.name}:{chunk.lines[row]}", name, chunk.cell(row, name), expected, hint)

    def _mark_symbol(self, chunk: Chunk, marks: RowMarks) -> None:
        if self.layout.symbol is None:
            return

        def code_of(name: str) -> Reason:
            ours = name in (self.symbol, self.raw_symbol) or is_contract_of(name, self.symbol)
            return Reason.OK if ours else Reason.WRONG_SYMBOL

        marks.mark(self.layout.symbol, _words(chunk.columns[self.layout.symbol], code_of))

    def _levels(self, chunk: Chunk, marks: RowMarks) -> tuple[I64, I64]:
        px_ticks, sizes = np.full((len(chunk), SIDES_LEVELS), NO_PRICE, np.int64), np.zeros((len(chunk), SIDES_LEVELS), np.int64)
        for first, columns in ((0, self.layout.bids), (LEVELS, self.layout.asks)):
            for level, (price, size) in enumerate(columns):
                ticks, codes = self._price(chunk, price)
                qty, size_codes = self._size(chunk, size)
                empty = ((codes == Reason.EMPTY_CELL) | ((codes == Reason.OK) & (ticks == NO_PRICE))) & (qty == 0)
                blank = empty & (size_codes == Reason.EMPTY_CELL)
                marks.mark(price, np.where(empty, Reason.OK, price_codes(ticks, codes)).astype(np.int8))
                marks.mark(size, np.where(blank, Reason.OK, size_codes).astype(np.int8))
                px_ticks[:, first + level] = np.where(empty, NO_PRICE, ticks)
                sizes[:, first + level] = qty
        return px_ticks, sizes

    def _said(self, chunk: Chunk, marks: RowMarks) -> "_Said":
        """What the row says beside the book."""
        names = self.layout.columns
        match self.layout.shape:
            case Shape.LOBSTER:
                kind, direction = (self._whole(chunk, names[role], marks) for role in ("type", "direction"))
                qty = self._marked_size(chunk, names["size"], marks)
                ticks, codes = self._price(chunk, names["price"])
                columns = MessageColumns(kind, qty, direction, ticks, price_codes(ticks, codes))
                columns.mark(marks, (names["type"], names["direction"], names["price"]))
                return columns
            case Shape.MBP | Shape.ORDERS:
                return self._messages(chunk, marks)
            case Shape.TRADES:
                ticks, codes = self._price(chunk, names["price"])
                marks.mark(names["price"], price_codes(ticks, codes))
                qty = self._marked_size(chunk, names["size"], marks)
                aggressor = _words(chunk.columns[names["aggressor"]], lambda word: AGGRESSOR_WORDS.get(word, _NO_AGGRESSOR))
                unknown = aggressor == _NO_AGGRESSOR
                marks.mark(names["aggressor"], np.where(unknown, Reason.UNKNOWN_WORD, Reason.OK).astype(np.int8))
                return _Prints(ticks, qty, aggressor)
            case _:
                return None

    def _messages(self, chunk: Chunk, marks: RowMarks) -> Messages:
        names = self.layout.columns
        action = _words(chunk.columns[names["action"]], lambda word: ACTIONS.get(word, UNKNOWN))
        side = _words(chunk.columns[names["side"]], lambda word: SIDES.get(word, UNKNOWN))
        mark_words(marks, action, side)
        ticks, codes = self._price(chunk, names["price"])
        mark_prices(marks, names["price"], action, ticks, codes)
        return Messages(
            action=action,
            side=side,
            flags=self._whole(chunk, names["flags"], marks),
            price_ticks=ticks,
            qty=self._marked_size(chunk, names["size"], marks),
            order_id=self._whole(chunk, names["order_id"], marks) if "order_id" in names else np.zeros(len(chunk), np.int64),
        )

    def _ids(self, chunk: Chunk, marks: RowMarks, state: _State) -> I64:
        """Values of the id column; rows that repeat an id or fall back are marked. Ids that are no integers are not looked at."""
        name = self.layout.id
        if name is None or (not self.is_canonical and not _is_integer(chunk.columns[name])):
            return np.zeros(len(chunk), np.int64)
        ids = self._whole(chunk, name, marks)
        good = np.flatnonzero(marks.reason == Reason.OK)
        if not len(good):
            return ids
        floor = ids[good[0]] - 1 if state.highest_id is None else state.highest_id
        before = np.maximum.accumulate(np.concatenate([[floor], ids[good]]))
        codes = np.zeros(len(chunk), np.int8)
        codes[good] = np.where(
            ids[good] > before[:-1], Reason.OK, np.where(ids[good] == before[:-1], Reason.DUPLICATE_ID, Reason.ID_BACKWARDS)
        )
        marks.mark(name, codes)
        state.highest_id = int(before[-1])
        return ids

    def _mark_repeats(self, times: I64, px_ticks: I64, sizes: I64, marks: RowMarks, state: _State) -> None:
        """A book row equal to the one before in everything, times included, was written twice."""
        last = state.last_row or (times[:, 0] - 1, px_ticks[0], sizes[0])
        same = np.ones(times.shape[1], np.bool_)
        for before, column in zip(last, (times.T, px_ticks, sizes), strict=True):
            same &= (np.vstack([before[None], column[:-1]]) == column).all(axis=1)
        marks.mark("row", np.where(same, Reason.DUPLICATE_ROW, Reason.OK).astype(np.int8))
        state.last_row = (times[:, -1], px_ticks[-1], sizes[-1])

    def _price(self, chunk: Chunk, name: str) -> tuple[I64, I8]:
        return from_column(chunk.columns[name], self.price_unit)

    def _size(self, chunk: Chunk, name: str) -> tuple[I64, I8]:
        values, codes = from_column(chunk.columns[name], self.size_unit)
        return values, np.where(codes == Reason.OFF_GRID, Reason.OFF_STEP, codes).astype(np.int8)

    def _marked_size(self, chunk: Chunk, name: str, marks: RowMarks) -> I64:
        values, codes = self._size(chunk, name)
        marks.mark(name, codes)
        return values

    def _whole(self, chunk: Chunk, name: str, marks: RowMarks) -> I64:
        values, codes = from_column(chunk.columns[name], WHOLE)
        marks.mark(name, codes)
        return values


@dataclass(frozen=True, slots=True)
class _Prints:
    price_ticks: I64
    qty: I64
    aggressor: I8


_Said = MessageColumns | Messages | _Prints | None


def _words(column: Any, code_of: Callable[[str], int]) -> I8:
    """Codes of the words of a column of any type; each different word is looked up once."""
    encoded = pc.fill_null(column.cast(pa.string()), "").dictionary_encode()
    codes = np.array([code_of(word.strip()) for word in encoded.dictionary.to_pylist()], np.int8)
    return codes[encoded.indices.to_numpy()] if len(codes) else np.zeros(len(column), np.int8)


def _is_integer(column: Any) -> bool:
    """Whether a column holds integers, by its type or, for text, by its first cell."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return bool(len(column)) and str(column[0].as_py() or "").strip().isdigit()
    return bool(pa.types.is_integer(column.type))
