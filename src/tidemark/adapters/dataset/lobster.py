"""LOBSTER's pairs of CSV files (NASDAQ): one line of messages and one of the book after it per event, without headers.

Source: lobsterdata.com, "Output file structure". Times are seconds after midnight in New York, prices 1/10000 USD.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from tidemark.adapters.dataset.faults import FaultLog, Reason, RowMarks
from tidemark.adapters.dataset.messages import price_codes
from tidemark.adapters.dataset.numbers import from_text
from tidemark.adapters.dataset.readers import Chunk, CsvFile
from tidemark.adapters.dataset.rows import Made, Mask, Records, Rows, assemble, interleave
from tidemark.errors import bad_input
from tidemark.events import I8, I64, LEVELS, SIDES_LEVELS
from tidemark.instruments import Instrument
from tidemark.units import NO_PRICE, NS_PER_DAY, NS_PER_S

NEW_YORK = "America/New_York"
PRICE_UNITS_PER_USD = 10_000
DUMMY_PRICE = 9_999_999_999  # of an empty ask level; an empty bid level has its negative
SUBMISSION, PARTIAL_CANCEL, DELETION, VISIBLE, HIDDEN, CROSS, HALT = 1, 2, 3, 4, 5, 6, 7
HIDDEN_SIDE_UNTIL = date(2014, 7, 14)  # from then on NASDAQ reports every hidden execution as one of a buy order (ITCH, message P)
MESSAGE_COLUMNS = ("time", "type", "order_id", "size", "price", "direction")
_NAME = re.compile(r"(?P<symbol>.+)_(?P<date>\d{4}-\d{2}-\d{2})_\d+_\d+_(?P<kind>message|orderbook)_(?P<levels>\d+)\.csv(\.gz)?")
OFF_TICK_NOTE = "hidden or cross executions between two ticks, left out"
HALT_NOTE = "trading halts and resumptions"


@dataclass(frozen=True, slots=True)
class Pair:
    """A message file with its order-book file, and what the vendor's name says about them."""

    message: Path
    orderbook: Path
    symbol: str | None
    day: date


def find_pairs(paths: Sequence[Path], day: date | None) -> list[Pair]:
    """Files (either one of a pair, or both) as pairs, by date. Raises InputError for one without its partner or without a date."""
    pairs: dict[Path, Pair] = {}
    for path in paths:
        if "message" not in path.name and "orderbook" not in path.name:
            raise bad_input(path.name, "file name", path.name, "a name with 'message' or 'orderbook' in it")
        message = path.with_name(path.name.replace("orderbook", "message"))
        orderbook = path.with_name(path.name.replace("message", "orderbook"))
        for one in (message, orderbook):
            if not one.is_file():
                raise bad_input(str(one), "file", "nothing", "both files of a pair, message and orderbook")
        named = _NAME.fullmatch(message.name)
        pairs[message] = Pair(
            message, orderbook, named["symbol"] if named else None, _day(message.name, named["date"] if named else None, day)
        )
    return sorted(pairs.values(), key=lambda pair: (pair.day, pair.message))


def _day(name: str, named: str | None, given: date | None) -> date:
    if named is None and given is None:
        raise bad_input(name, "--date", "nothing", "a date", "the file's name is not SYMBOL_YYYY-MM-DD_START_END_message_LEVELS.csv")
    if named is None:
        assert given is not None
        return given
    try:
        of_name = date.fromisoformat(named)
    except ValueError:
        raise bad_input(name, "file name", named, "a date YYYY-MM-DD") from None
    if given is not None and given != of_name:
        raise bad_input(name, "--date", given.isoformat(), f"{named}, as the file's name says")
    return of_name


def midnight_ns(day: date) -> int:
    """UTC nanoseconds of the day's midnight in New York, in the offset that holds during the session (clocks change at night)."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(NEW_YORK))
    return (int(noon.timestamp()) - 12 * 3600) * NS_PER_S


class LobsterSource:
    """One pair. Raises InputError when the files are not LOBSTER's or are of another instrument."""

    has_depth = True
    has_trades = True
    is_canonical = False

    def __init__(self, pair: Pair, instrument: Instrument) -> None:
        if pair.symbol is not None and pair.symbol != instrument.symbol:
            raise bad_input(pair.message.name, "--symbol", instrument.symbol, f"{pair.symbol}, as the file's name says")
        self.pair = pair
        self.name = pair.message.name
        self.symbol = instrument.symbol
        self.unit = instrument.tick_size * PRICE_UNITS_PER_USD
        self.midnight_ns = midnight_ns(pair.day)
        self.levels = self._book_levels()
        self.messages = CsvFile(pair.message, self._message_names())
        sides = ("ask_px", "ask_sz", "bid_px", "bid_sz")
        self.books = CsvFile(pair.orderbook, [f"{side}_{level:02d}" for level in range(self.levels) for side in sides])

    def rows(self, log: FaultLog) -> Iterator[Rows]:
        """Events of the pair, read in step."""
        books = self.books.chunks(log)
        for chunk in self.messages.chunks(log):
            book = next(books, None)
            if book is None or len(book) != len(chunk):
                self._refuse_lengths(int(chunk.lines[0]), len(chunk), 0 if book is None else len(book))
            assert book is not None
            yield self._events(chunk, book, log)
        if extra := next(books, None):
            self._refuse_lengths(int(extra.lines[0]), 0, len(extra))

    def _events(self, chunk: Chunk, book: Chunk, log: FaultLog) -> Rows:
        marks = RowMarks(len(chunk))
        marks.mark("row", np.where(chunk.ragged | book.ragged, Reason.RAGGED_ROW, Reason.OK).astype(np.int8))
        since_midnight = self._numbers(chunk, "time", marks, Fraction(1, NS_PER_S))
        marks.mark("time", np.where((since_midnight < 0) | (since_midnight >= NS_PER_DAY), Reason.TIME_UNIT, Reason.OK).astype(np.int8))
        kind, qty, direction = (self._numbers(chunk, name, marks) for name in ("type", "size", "direction"))
        price_ticks, codes = from_text(chunk.columns["price"], self.unit)
        said = MessageColumns(kind, qty, direction, price_ticks, price_codes(price_ticks, codes))
        said.mark(marks, ("type", "direction", "price"))
        px_ticks, sizes = self._book(book, marks)

        def cell(row: int, name: str) -> str:
            return (chunk if name in chunk.columns else book).cell(row, name)

        def text(row: int) -> str:
            return f"{chunk.text(row)} | {book.text(row)}"

        marks.refuse(log, self.name, chunk.lines, cell, text)
        good = np.flatnonzero(marks.reason == Reason.OK)
        event_ts_ns = self.midnight_ns + since_midnight[good]
        records = Records(
            lines=chunk.lines[good],
            event_ts_ns=event_ts_ns,
            recv_ts_ns=event_ts_ns,
            seq=np.zeros(len(good), np.int64),
            text=lambda row: text(int(good[row])),
        )
        made = message_rows(said[good], px_ticks[good], sizes[good], log, hidden_side_known=self.pair.day < HIDDEN_SIDE_UNTIL)
        return assemble(self.symbol, made, records, log, self.name)

    def _numbers(self, chunk: Chunk, name: str, marks: RowMarks, unit: Fraction = Fraction(1)) -> I64:
        values, codes = from_text(chunk.columns[name], unit)
        marks.mark(name, codes)
        return values

    def _book(self, chunk: Chunk, marks: RowMarks) -> tuple[I64, I64]:
        px_ticks, sizes = np.full((len(chunk), SIDES_LEVELS), NO_PRICE, np.int64), np.zeros((len(chunk), SIDES_LEVELS), np.int64)
        for first, side in ((0, "bid"), (LEVELS, "ask")):
            for level in range(min(self.levels, LEVELS)):
                name = f"{side}_px_{level:02d}"
                raw, codes = from_text(chunk.columns[name], Fraction(1))
                empty = (np.abs(raw) == DUMMY_PRICE) & (codes == Reason.OK)
                ticks, grid = from_text(chunk.columns[name], self.unit)
                marks.mark(name, np.where(empty, Reason.OK, price_codes(ticks, grid)).astype(np.int8))
                px_ticks[:, first + level] = np.where(empty, NO_PRICE, ticks)
                sizes[:, first + level] = self._numbers(chunk, f"{side}_sz_{level:02d}", marks)
        return px_ticks, sizes

    def _message_names(self) -> list[str]:
        cells = CsvFile(self.pair.message, MESSAGE_COLUMNS).first_row()
        if len(cells) not in (len(MESSAGE_COLUMNS), len(MESSAGE_COLUMNS) + 1):
            raise bad_input(f"{self.name}:1", "row", f"{len(cells)} cells", "time, type, order id, size, price, direction")
        if cells[0].strip() and not cells[0].strip()[0].isdigit():
            raise bad_input(f"{self.name}:1", "time", cells[0], "seconds after midnight", "LOBSTER's files have no header line")
        seconds, _, _ = cells[0].partition(".")
        if seconds.isdigit() and int(seconds) >= NS_PER_DAY // NS_PER_S:
            raise bad_input(f"{self.name}:1", "time", cells[0], "seconds after midnight", "not milliseconds, not a date")
        return [*MESSAGE_COLUMNS, "participant"][: len(cells)]

    def _book_levels(self) -> int:
        cells = CsvFile(self.pair.orderbook, MESSAGE_COLUMNS).first_row()
        named = _NAME.fullmatch(self.pair.orderbook.name)
        expected = f"{4 * int(named['levels'])} cells, as the file's name says" if named else "four cells for each level"
        if len(cells) % 4 or (named and len(cells) != 4 * int(named["levels"])):
            raise bad_input(f"{self.pair.orderbook.name}:1", "row", f"{len(cells)} cells", expected)
        return len(cells) // 4

    def _refuse_lengths(self, line: int, message_rows: int, book_rows: int) -> None:
        got = f"{line - 1 + message_rows} rows, the order book {line - 1 + book_rows}" if message_rows != book_rows else "another length"
        raise bad_input(self.name, "rows", got, "as many messages as books", "one of the files is truncated")


@dataclass(frozen=True, slots=True)
class MessageColumns:
    """LOBSTER's message columns, arrays of (n,). `direction` is that of the limit order, so the aggressor's is the other one."""

    kind: I64
    qty: I64
    direction: I64
    price_ticks: I64
    price_code: I8

    def __getitem__(self, rows: I64) -> "MessageColumns":
        return MessageColumns(self.kind[rows], self.qty[rows], self.direction[rows], self.price_ticks[rows], self.price_code[rows])

    @property
    def between_ticks(self) -> Mask:
        """Prints inside the spread's grid, such as midpoint executions: true, but no price of the data set."""
        hidden: Mask = ((self.kind == HIDDEN) | (self.kind == CROSS)) & (self.price_code == Reason.OFF_TICK)
        return hidden

    def mark(self, marks: RowMarks, fields: tuple[str, str, str]) -> None:
        """Mark unknown types and directions, and prices that an event needs and that are none."""
        known = (self.kind >= SUBMISSION) & (self.kind <= HALT)
        marks.mark(fields[0], np.where(known, Reason.OK, Reason.UNKNOWN_WORD).astype(np.int8))
        marks.mark(fields[1], np.where(np.abs(self.direction) == 1, Reason.OK, Reason.UNKNOWN_WORD).astype(np.int8))
        needed = (self.kind >= VISIBLE) & (self.kind <= CROSS) & ~self.between_ticks
        marks.mark(fields[2], np.where(needed, self.price_code, Reason.OK).astype(np.int8))


def message_rows(said: MessageColumns, px_ticks: I64, sizes: I64, log: FaultLog, *, hidden_side_known: bool) -> Made:
    """A depth row for every message, before it a trade for every execution. A cross has no aggressor; a halt changes nothing."""
    log.note(OFF_TICK_NOTE, int(said.between_ticks.sum()))
    log.note(HALT_NOTE, int((said.kind == HALT).sum()))
    is_trade = (said.kind >= VISIBLE) & (said.kind <= CROSS) & ~said.between_ticks
    known = (said.kind == VISIBLE) | ((said.kind == HIDDEN) & hidden_side_known)
    aggressor = np.where(known, -said.direction, 0).astype(np.int8)
    is_depth = np.ones(len(is_trade), np.bool_)
    return interleave(is_trade, said.price_ticks, said.qty, aggressor, is_depth, px_ticks, sizes)
