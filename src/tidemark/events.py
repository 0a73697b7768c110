"""Market events as typed structs and as columnar blocks, with a binary and a JSON codec.

A block is what travels (one Kinesis record, one feed message) and what kernels scan: one row per event, in feed order.
Depth rows are full ten-level snapshots; a trade is its own row and comes before the depth row that shows its effect.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tidemark.errors import DecodeError
from tidemark.units import NO_PRICE

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I16 = npt.NDArray[np.int16]
I8 = npt.NDArray[np.int8]

LEVELS = 10
SIDES_LEVELS = 2 * LEVELS  # columns of `px_ticks` and `qty`: bids 0..9, then asks 0..9, best first
EVENTS_PER_BLOCK_MAX = 65_536
SYMBOL_CHARS_MAX = 32


class Kind(IntEnum):
    """What a row of a block is."""

    DEPTH = 0
    TRADE = 1


class Depth(msgspec.Struct, frozen=True, tag="depth", forbid_unknown_fields=True):
    """The book of one symbol after one change: ten levels a side, best first; an empty level is (NO_PRICE, 0)."""

    symbol: str
    seq: int
    event_ts_ns: int
    recv_ts_ns: int
    bid_ticks: tuple[int, ...]
    bid_qty: tuple[int, ...]
    ask_ticks: tuple[int, ...]
    ask_qty: tuple[int, ...]


class Trade(msgspec.Struct, frozen=True, tag="trade", forbid_unknown_fields=True):
    """One print. `aggressor` is +1 buyer, -1 seller, 0 unknown."""

    symbol: str
    seq: int
    event_ts_ns: int
    recv_ts_ns: int
    price_ticks: int
    qty: int
    aggressor: int


Event = Depth | Trade


@dataclass(frozen=True, slots=True)
class EventBlock:
    """`n` events in feed order, columnar.

    Shapes  symbol_i, kind, aggressor (n,); seq, event_ts_ns, recv_ts_ns (n,); px_ticks int64 and qty int32 (n, 20).
    A trade row keeps its price and size in column 0; its other columns are (NO_PRICE, 0).
    `seq` counts per symbol over depth and trades together, without holes.
    """

    symbols: tuple[str, ...]
    symbol_i: I16
    kind: I8
    aggressor: I8
    seq: I64
    event_ts_ns: I64
    recv_ts_ns: I64
    px_ticks: I64
    qty: I32

    def __len__(self) -> int:
        return len(self.seq)

    def __getitem__(self, rows: "slice | npt.NDArray[Any]") -> "EventBlock":
        symbol_i, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty = self.columns()
        return EventBlock(
            self.symbols,
            symbol_i[rows],
            kind[rows],
            aggressor[rows],
            seq[rows],
            event_ts_ns[rows],
            recv_ts_ns[rows],
            px_ticks[rows],
            qty[rows],
        )

    def columns(self) -> tuple[I16, I8, I8, I64, I64, I64, I64, I32]:
        """The arrays in codec order."""
        return (self.symbol_i, self.kind, self.aggressor, self.seq, self.event_ts_ns, self.recv_ts_ns, self.px_ticks, self.qty)

    def __iter__(self) -> Iterator[Event]:
        return iter(events_of(self))


_COLUMN_TYPES: tuple[tuple[str, int], ...] = (
    ("<i2", 1),
    ("i1", 1),
    ("i1", 1),
    ("<i8", 1),
    ("<i8", 1),
    ("<i8", 1),
    ("<i8", SIDES_LEVELS),
    ("<i4", SIDES_LEVELS),
)


def empty_block(symbols: Sequence[str], count: int) -> EventBlock:
    """A block of `count` rows to be filled in: times and seq 0, all levels empty."""
    return EventBlock(
        tuple(symbols),
        np.zeros(count, np.int16),
        np.zeros(count, np.int8),
        np.zeros(count, np.int8),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.full((count, SIDES_LEVELS), NO_PRICE, np.int64),
        np.zeros((count, SIDES_LEVELS), np.int32),
    )


def _block_from(symbols: tuple[str, ...], columns: Sequence[npt.NDArray[Any]]) -> EventBlock:
    symbol_i, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty = columns
    return EventBlock(symbols, symbol_i, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty)


def concat(blocks: Sequence[EventBlock]) -> EventBlock:
    """Blocks over the same symbols, one after the other."""
    assert len({block.symbols for block in blocks}) == 1, "blocks of different symbols cannot be joined"
    columns = zip(*(block.columns() for block in blocks), strict=True)
    return _block_from(blocks[0].symbols, [np.concatenate(parts) for parts in columns])


def block_of(events: Iterable[Event], symbols: Sequence[str]) -> EventBlock:
    """Typed events as one block, order kept. Every symbol must be in `symbols`."""
    rows = list(events)
    index = {symbol: i for i, symbol in enumerate(symbols)}
    block = empty_block(symbols, len(rows))
    for i, event in enumerate(rows):
        block.symbol_i[i] = index[event.symbol]
        block.seq[i], block.event_ts_ns[i], block.recv_ts_ns[i] = event.seq, event.event_ts_ns, event.recv_ts_ns
        if isinstance(event, Depth):
            block.px_ticks[i] = (*event.bid_ticks, *event.ask_ticks)
            block.qty[i] = (*event.bid_qty, *event.ask_qty)
        else:
            block.kind[i], block.aggressor[i] = Kind.TRADE, event.aggressor
            block.px_ticks[i, 0], block.qty[i, 0] = event.price_ticks, event.qty
    return block


def events_of(block: EventBlock) -> list[Event]:
    """Inverse of `block_of`."""
    result: list[Event] = []
    for s, kind, aggressor, seq, event_ts, recv_ts, px, qty in zip(*(c.tolist() for c in block.columns()), strict=True):
        head = (block.symbols[s], seq, event_ts, recv_ts)
        if kind == Kind.DEPTH:
            result.append(Depth(*head, tuple(px[:LEVELS]), tuple(qty[:LEVELS]), tuple(px[LEVELS:]), tuple(qty[LEVELS:])))
        else:
            result.append(Trade(*head, px[0], qty[0], aggressor))
    return result


# Binary codec. Header: magic, version, symbol count, row count, as_of_ns, CRC-32 of all the rest; then the symbols, then the columns.
MAGIC = b"TMK"
CODEC_VERSION = 1
_HEADER = struct.Struct("<3sBHIqI")
_CRC_BYTES = 4
_ROW_BYTES = sum(np.dtype(kind).itemsize * width for kind, width in _COLUMN_TYPES)


def encode_block(block: EventBlock, as_of_ns: int) -> bytes:
    """Bytes of a block. `as_of_ns` says: every event of these symbols up to this venue time has been sent."""
    names = b"".join(bytes([len(raw)]) + raw for raw in (symbol.encode() for symbol in block.symbols))
    body = names + b"".join(
        np.ascontiguousarray(column, dtype=kind).tobytes() for column, (kind, _) in zip(block.columns(), _COLUMN_TYPES, strict=True)
    )
    head = _HEADER.pack(MAGIC, CODEC_VERSION, len(block.symbols), len(block), as_of_ns, 0)[:-_CRC_BYTES]
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(_CRC_BYTES, "little") + body


def decode_block(data: bytes) -> tuple[EventBlock, int]:
    """(block, as_of_ns). Raises DecodeError with a reason code; checks every length before it allocates."""
    if len(data) < _HEADER.size:
        raise DecodeError("TRUNCATED", f"{len(data)} bytes, a header has {_HEADER.size}")
    magic, version, symbol_count, row_count, as_of_ns, crc = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DecodeError("NOT_A_BLOCK", f"starts with {data[:3]!r}, expected {MAGIC!r}")
    if version != CODEC_VERSION:
        raise DecodeError("VERSION", f"codec version {version}, this program reads {CODEC_VERSION}")
    if row_count > EVENTS_PER_BLOCK_MAX:
        raise DecodeError("OVERSIZE", f"{row_count} events, at most {EVENTS_PER_BLOCK_MAX} in a block")
    body = memoryview(data)[_HEADER.size :]
    if zlib.crc32(body, zlib.crc32(data[: _HEADER.size - _CRC_BYTES])) != crc:
        raise DecodeError("CHECKSUM", "the block does not match its CRC-32: truncated or altered")
    symbols, offset = _decode_symbols(body, symbol_count)
    if len(body) - offset != row_count * _ROW_BYTES:
        raise DecodeError("LENGTH", f"{len(body) - offset} bytes of columns, {row_count} events need {row_count * _ROW_BYTES}")
    columns: list[npt.NDArray[Any]] = []
    for kind, width in _COLUMN_TYPES:
        column = np.frombuffer(body, kind, row_count * width, offset)
        offset += column.nbytes
        columns.append(column.reshape(row_count, width) if width > 1 else column)
    block = _block_from(symbols, columns)
    if row_count and not (block.symbol_i.min() >= 0 and block.symbol_i.max() < symbol_count):
        raise DecodeError("SYMBOL_INDEX", "a row names a symbol outside the block's table")
    if row_count and not (block.kind.min() >= 0 and block.kind.max() <= Kind.TRADE):
        raise DecodeError("KIND", "a row is neither depth nor trade")
    return block, as_of_ns


def _decode_symbols(body: memoryview, count: int) -> tuple[tuple[str, ...], int]:
    symbols: list[str] = []
    offset = 0
    for _ in range(count):
        length = body[offset] if offset < len(body) else 0
        raw = bytes(body[offset + 1 : offset + 1 + length])
        if not 0 < length <= SYMBOL_CHARS_MAX or len(raw) != length or not raw.isascii() or not raw.decode("ascii").isprintable():
            raise DecodeError("SYMBOL", f"symbol {len(symbols)} of {count} is not 1 to {SYMBOL_CHARS_MAX} printable ASCII characters")
        symbols.append(raw.decode("ascii"))
        offset += 1 + length
    return tuple(symbols), offset


# JSON codec: one event per document, for logs, quarantine and sample files.
_JSON_DECODER = msgspec.json.Decoder(Depth | Trade)
_JSON_BYTES_MAX = 65_536


def encode_json(event: Event) -> bytes:
    """One event as compact JSON; integers stay exact."""
    return msgspec.json.encode(event)


def decode_json(data: bytes) -> Event:
    """Inverse of `encode_json`. Raises DecodeError; unknown fields, floats for integers and oversize are refused."""
    if len(data) > _JSON_BYTES_MAX:
        raise DecodeError("OVERSIZE", f"{len(data)} bytes, at most {_JSON_BYTES_MAX}")
    try:
        event: Event = _JSON_DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError("JSON", str(error)) from error
    if isinstance(event, Depth) and {len(event.bid_ticks), len(event.bid_qty), len(event.ask_ticks), len(event.ask_qty)} != {LEVELS}:
        raise DecodeError("LEVELS", f"every side needs {LEVELS} prices and sizes")
    return event
