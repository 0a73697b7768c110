"""Read the canonical data set: whole days at once, or as a stream in feed order with bounded memory.

Feed order is (event time, order of the symbols in the manifest, seq). Nothing is judged here; see `check`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemark.adapters.dataset.bars import Bars, resample, timeframe_ns
from tidemark.adapters.dataset.layout import (
    BARS,
    DEPTH,
    KINDS,
    LEVEL_COLUMNS,
    SCHEMAS,
    Manifest,
    day_of_date,
    partition_folder,
    read_manifest,
)
from tidemark.adapters.dataset.merge import by_event_time, by_seq, merge_sorted, rechunk
from tidemark.adapters.dataset.writer import ROWS_PER_GROUP, write_dataset
from tidemark.adapters.parquet import first_line
from tidemark.errors import InputError, bad_input
from tidemark.events import SIDES_LEVELS, EventBlock, empty_block
from tidemark.instruments import Instrument
from tidemark.units import NO_PRICE

__all__ = ["Dataset", "write_dataset"]


class Dataset:
    """One data set folder. Opening it reads the manifest and compares file sizes; hashes are compared by `data check`."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path) -> "Dataset":
        """Raises InputError when there is no data set, its manifest is damaged, or a file is missing or of another size."""
        root = Path(path)
        manifest = read_manifest(root)
        for name, entry in manifest.files.items():
            size = _file_size(root / name)
            if size != entry.size:
                raise bad_input(
                    str(root / name), "size", f"{size} bytes", f"{entry.size} bytes", "truncated or altered since it was written"
                )
        return cls(root, manifest)

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.manifest.symbols

    @property
    def instruments(self) -> dict[str, Instrument]:
        return self.manifest.instruments

    @property
    def data_hash(self) -> str:
        return self.manifest.data_hash

    @property
    def extra(self) -> dict[str, Any]:
        """What the maker of the data set left in its manifest, such as the truth behind a simulated market."""
        return self.manifest.extra

    def event_count(self, symbol: str | None = None) -> int:
        """Rows of depth and trades, from the manifest."""
        rows: Mapping[str, Mapping[str, int]] = self.manifest.rows if symbol is None else {symbol: self.manifest.rows[self._known(symbol)]}
        return sum(sum(kinds.values()) for kinds in rows.values())

    def dates(self, symbol: str | None = None) -> list[str]:
        """UTC dates, ascending, on which the symbol (or any) has events."""
        symbols = self.symbols if symbol is None else (self._known(symbol),)
        return sorted({date for one in symbols for date in self._dates(one)})

    def block(self, symbols: Sequence[str] | None = None, date: str | None = None) -> EventBlock:
        """All events of some symbols and one date (default: all) in feed order. `block.symbols` keeps the manifest's order."""
        table = self._selected(symbols)
        names = [name for symbol in table for kind in KINDS for name in self._files(kind, symbol, date)]
        rows = sum(self.manifest.files[name].rows for name in names)
        return _gather(empty_block(table, 0), rows, self._feed(symbols, date))

    def iter_blocks(
        self, events_max: int = ROWS_PER_GROUP, *, symbols: Sequence[str] | None = None, date: str | None = None
    ) -> Iterator[EventBlock]:
        """The same events in blocks of exactly `events_max`, but for the last; a few row groups per symbol are in memory."""
        if events_max < 1:
            raise bad_input("data set", "events_max", events_max, "a positive count")
        return rechunk(self._feed(symbols, date), events_max)

    def symbol_blocks(self, symbol: str, date: str | None = None) -> Iterator[EventBlock]:
        """The events of one symbol as stored, merged by seq; blocks of any length over the symbol table `(symbol,)`."""
        return self._symbol_stream(self._known(symbol), (symbol,), date)

    def kind_blocks(self, symbol: str, kind: str) -> Iterator[EventBlock]:
        """Rows of one kind (`depth` or `trades`) of a symbol in stored order."""
        for name in self._files(kind, self._known(symbol), None):
            yield from self._read(name, kind, (symbol,), 0)

    def bars(self, symbol: str, timeframe: str = "1m", date: str | None = None) -> Bars:
        """Stored one-minute bars of a symbol, or longer ones made from them. Raises InputError."""
        step_ns = timeframe_ns(timeframe)
        if step_ns < timeframe_ns("1m"):
            raise bad_input(str(self.root), "timeframe", timeframe, "1m or longer", "make shorter bars from the trades: `bars_of_block`")
        parts = [_read_bars(self.root / name) for name in self._files(BARS, self._known(symbol), date)]
        joined = pa.concat_tables([SCHEMAS[BARS].empty_table(), *parts])
        bars = Bars(*(column.to_numpy() for column in joined.columns))
        return bars if timeframe == "1m" else resample(bars, step_ns)

    def _known(self, symbol: str) -> str:
        if symbol not in self.symbols:
            raise bad_input(str(self.root), "symbol", symbol, f"one of {', '.join(self.symbols)}")
        return symbol

    def _selected(self, symbols: Sequence[str] | None) -> tuple[str, ...]:
        if symbols is None:
            return self.symbols
        wanted = {self._known(symbol) for symbol in symbols}
        return tuple(symbol for symbol in self.symbols if symbol in wanted)

    def _dates(self, symbol: str) -> set[str]:
        return {Path(name).parts[-2].removeprefix("date=") for kind in KINDS for name in self._files(kind, symbol, None)}

    def _files(self, kind: str, symbol: str, date: str | None) -> list[str]:
        if date is None:
            prefix = partition_folder(kind, symbol, 0).parent
            return [name for name in self.manifest.files if Path(name).parents[1] == prefix]
        folder = partition_folder(kind, symbol, day_of_date(date, source=str(self.root)))
        return [name for name in self.manifest.files if Path(name).parent == folder]

    def _feed(self, symbols: Sequence[str] | None, date: str | None) -> Iterator[EventBlock]:
        table = self._selected(symbols)
        return merge_sorted([self._symbol_stream(symbol, table, date) for symbol in table], by_event_time)

    def _symbol_stream(self, symbol: str, table: tuple[str, ...], date: str | None) -> Iterator[EventBlock]:
        index = table.index(symbol)
        for day in sorted(self._dates(symbol)) if date is None else [date]:
            yield from merge_sorted(
                [self._kind_stream(kind, symbol, day, table, index) for kind in KINDS],
                by_seq,
            )

    def _kind_stream(self, kind: str, symbol: str, date: str, table: tuple[str, ...], index: int) -> Iterator[EventBlock]:
        for name in self._files(kind, symbol, date):
            yield from self._read(name, kind, table, index)

    def _read(self, name: str, kind: str, table: tuple[str, ...], symbol_i: int) -> Iterator[EventBlock]:
        rows = 0
        for block in _read_file(self.root / name, kind, table, symbol_i):
            rows += len(block)
            if rows > self.manifest.files[name].rows:
                break
            yield block
        if rows != self.manifest.files[name].rows:
            raise bad_input(str(self.root / name), "rows", rows, f"{self.manifest.files[name].rows} rows, as the manifest says")


def _gather(pattern: EventBlock, rows: int, blocks: Iterator[EventBlock]) -> EventBlock:
    """All blocks in one, filled in place: joining them at the end would hold every event twice."""
    columns = [np.empty((rows, *column.shape[1:]), column.dtype) for column in pattern.columns()]
    filled = 0
    for block in blocks:
        for whole, part in zip(columns, block.columns(), strict=True):
            whole[filled : filled + len(block)] = part
        filled += len(block)
    symbol_i, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty = columns
    return EventBlock(pattern.symbols, symbol_i, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty)


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise bad_input(str(path), "file", error.strerror, "a file that the manifest names") from error


def _read_file(path: Path, kind: str, table: tuple[str, ...], symbol_i: int) -> Iterator[EventBlock]:
    """Blocks of one file, at most a row group each. Raises InputError when the file is damaged or has other columns."""
    try:
        with pq.ParquetFile(path) as file:
            _require_schema(path, file.schema_arrow, kind)
            for batch in file.iter_batches(ROWS_PER_GROUP):
                yield _block_of(path, batch, kind, table, symbol_i)
    except InputError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise bad_input(str(path), "content", first_line(error), "a readable Parquet file", "truncated or damaged") from error


def _require_schema(path: Path, schema: Any, kind: str) -> None:
    for wanted in SCHEMAS[kind]:
        index = schema.get_field_index(wanted.name)
        found = schema.field(index).type if index >= 0 else "nothing"
        if found != wanted.type:
            raise bad_input(str(path), wanted.name, str(found), f"a column of {wanted.type}")


def _block_of(path: Path, batch: Any, kind: str, table: tuple[str, ...], symbol_i: int) -> EventBlock:
    for name in SCHEMAS[kind].names:
        if batch.column(name).null_count:
            raise bad_input(str(path), name, "null", "a value in every row")
    count = batch.num_rows
    columns = {name: batch.column(name).to_numpy() for name in SCHEMAS[kind].names}
    block = EventBlock(
        table,
        np.full(count, symbol_i, np.int16),
        np.full(count, KINDS[kind], np.int8),
        np.zeros(count, np.int8) if kind == DEPTH else columns["aggressor"],
        columns["seq"],
        columns["ts_event_ns"],
        columns["ts_recv_ns"],
        np.empty((count, SIDES_LEVELS), np.int64),
        np.empty((count, SIDES_LEVELS), np.int32),
    )
    if kind == DEPTH:
        for px, sz, level in LEVEL_COLUMNS:
            block.px_ticks[:, level] = columns[px]
            block.qty[:, level] = columns[sz]
    else:
        block.px_ticks[:, 0], block.px_ticks[:, 1:] = columns["px"], NO_PRICE
        block.qty[:, 0], block.qty[:, 1:] = columns["sz"], 0
    return block


def _read_bars(path: Path) -> Any:
    try:
        with pq.ParquetFile(path) as file:
            _require_schema(path, file.schema_arrow, BARS)
            return file.read(columns=SCHEMAS[BARS].names)
    except (OSError, pa.ArrowException) as error:
        raise bad_input(str(path), "content", first_line(error), "a readable Parquet file", "truncated or damaged") from error
