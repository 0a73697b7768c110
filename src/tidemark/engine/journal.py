"""What the engine did, in order, and the file that keeps it.

Records are facts, each with the local time of its decision or arrival; everything reported later is computed from them and from nothing
else. File: a header, then per record its length, CRC-32, the chain hash and the body (msgpack arrays). The chain hash of a record covers
the one before it, so a missing, swapped or altered record shows; the last one names the whole file.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from tidemark.errors import DecodeError

# Records hold no references to each other, so the garbage collector need not look at them (gc=False): a long run has millions.
JOURNAL_VERSION: Final = 1
MAGIC: Final = b"TMJ\x01"
CHAIN_BYTES: Final = 16
RECORD_BYTES_MAX: Final = 1 << 20
_HEAD: Final = struct.Struct("<II")
_FILE_HEAD: Final = struct.Struct("<4sH")


class RunStarted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="run"):
    """Who trades what, from which cash, under which rules."""

    ts_ns: int
    account: str
    strategy: str
    stage: str
    cash_micros: int
    config_hash: str
    instruments: tuple[dict[str, Any], ...]


class SignalSeen(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="signal"):
    """A signal became visible to the engine."""

    ts_ns: int
    signal_id: str
    symbol: str
    side: int
    tier: str
    p_win_ppm: int
    input_ts_ns: int


class Refused(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="refused"):
    """A signal that makes no order: the first rule that failed, with its figure and limit, and the others that did."""

    ts_ns: int
    code: str
    figure: int
    limit: int
    symbol: str
    signal_id: str
    also: tuple[str, ...] = ()


class OrderEvent(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="order"):
    """An order's new state. `detail` is the reason of an exit, a cancel or a reject."""

    ts_ns: int
    cid: str
    state: str
    symbol: str
    side: int
    qty: int
    cum_qty: int
    price_ticks: int
    leg: str
    attempt: int
    signal_id: str
    detail: str = ""


class OrderAnomaly(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="anomaly"):
    """Something the state machine does not allow, or more filled than asked for. Kept out, recorded, to be cleared with the broker."""

    ts_ns: int
    cid: str
    symbol: str
    state: str
    what: str


class Fill(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="fill"):
    """An execution. `exec_ts_ns` is the venue's time, `ts_ns` when we heard of it."""

    ts_ns: int
    exec_id: str
    cid: str
    symbol: str
    side: int
    qty: int
    price_ticks: int
    fee_micros: int
    exec_ts_ns: int
    liquidity: str
    leg: str


class TradeClosed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="trade"):
    """A position from flat to flat. `risk_micros` is what was planned to be lost at the stop, fees and slippage included."""

    ts_ns: int
    symbol: str
    signal_id: str
    tier: str
    side: int
    qty: int
    entry_ticks_qty: int  # sum of price x quantity of the entry fills
    exit_ticks_qty: int
    gross_micros: int
    fees_micros: int
    net_micros: int
    risk_micros: int
    opened_ns: int
    closed_ns: int
    reason: str


class EquityMark(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="equity"):
    """Equity at the last markable books; `is_stale` when a book we hold a position in is unusable now."""

    ts_ns: int
    equity_micros: int
    cash_micros: int
    high_water_micros: int
    drawdown_bps_max: int
    is_stale: bool


class DefectSeen(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="defect"):
    """A symbol's book became unusable (`is_usable` false) or usable again; `code` names the event that did it."""

    ts_ns: int
    symbol: str
    code: str
    is_usable: bool


class Halted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="halt"):
    """No new risk from here: a loss limit was reached, or somebody pulled the kill switch (limit 0)."""

    ts_ns: int
    rule: str
    figure: int
    limit: int


class LimitBreached(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="breach"):
    """After fills of our own decision, a limit is exceeded. Sizing and the collar are there to make this impossible."""

    ts_ns: int
    rule: str
    figure: int
    limit: int
    symbol: str


class TradeDay(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="day"):
    """A trade date (YYYYMMDD) began, with this equity; loss budgets of the day are measured from it."""

    ts_ns: int
    trade_date: int
    equity_micros: int


class DataSeen(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="data"):
    """What the feed of a symbol was like, over the run. `defects` counts events by defect."""

    ts_ns: int
    symbol: str
    events: int
    trades: int
    usable_events: int
    defects: dict[str, int]


class RunFinished(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="end"):
    """The engine stopped, after it had flattened what it could."""

    ts_ns: int
    equity_micros: int
    cash_micros: int
    drawdown_bps_max: int


JournalRecord = (
    RunStarted
    | SignalSeen
    | Refused
    | OrderEvent
    | OrderAnomaly
    | Fill
    | TradeClosed
    | EquityMark
    | DefectSeen
    | Halted
    | LimitBreached
    | TradeDay
    | DataSeen
    | RunFinished
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(JournalRecord)


def encode_record(record: JournalRecord) -> bytes:
    """Body of one record."""
    return _ENCODER.encode(record)


def decode_record(body: bytes) -> JournalRecord:
    """Inverse of `encode_record`. Raises DecodeError on an unknown kind or a field of the wrong type."""
    try:
        record: JournalRecord = _DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise DecodeError("RECORD", str(error)) from error
    return record


def next_chain(chain: bytes, body: bytes) -> bytes:
    """Hash of everything up to and including `body`."""
    return hashlib.blake2b(chain + body, digest_size=CHAIN_BYTES).digest()


FIRST_CHAIN: Final = bytes(CHAIN_BYTES)


class JournalWriter:
    """Turns records into the bytes of a journal file; where they go is the caller's business. Appending is all it can do."""

    def __init__(self, chain: bytes = FIRST_CHAIN) -> None:
        self.chain = chain
        self.is_new = chain == FIRST_CHAIN

    def encode(self, records: Iterable[JournalRecord]) -> bytes:
        """The records' bytes, with the file's header before the first."""
        parts = [_FILE_HEAD.pack(MAGIC, JOURNAL_VERSION)] if self.is_new else []
        self.is_new = False
        for record in records:
            body = encode_record(record)
            assert len(body) <= RECORD_BYTES_MAX, "a record is small"
            self.chain = next_chain(self.chain, body)
            parts += (_HEAD.pack(len(body), zlib.crc32(body)), self.chain, body)
        return b"".join(parts)


def encode_journal(records: Sequence[JournalRecord]) -> bytes:
    """A whole journal file."""
    return JournalWriter().encode(records)


def read_journal(data: bytes, *, source: str = "journal") -> Iterator[JournalRecord]:
    """The records of a file, verified one by one. Raises DecodeError that names the record and what is wrong with it.

    A file that ends inside a record was cut off in writing: what came before it is whole, and the error says TORN.
    """
    if len(data) < _FILE_HEAD.size:
        raise DecodeError("TRUNCATED", f"{source}: {len(data)} bytes, a journal starts with {_FILE_HEAD.size}")
    magic, version = _FILE_HEAD.unpack_from(data)
    if magic != MAGIC:
        raise DecodeError("NOT_A_JOURNAL", f"{source}: starts with {magic!r}")
    if version > JOURNAL_VERSION:
        raise DecodeError("VERSION", f"{source}: journal version {version}, this program reads up to {JOURNAL_VERSION}")
    offset, number, chain = _FILE_HEAD.size, 0, FIRST_CHAIN
    view = memoryview(data)
    while offset < len(view):
        body, stated = _cut_record(view, offset, number, source)
        chain = next_chain(chain, body)
        if chain != stated:
            raise DecodeError("CHAIN", f"{source}: record {number} does not follow the one before it")
        yield decode_record(body)
        offset += _HEAD.size + CHAIN_BYTES + len(body)
        number += 1


def _cut_record(view: memoryview, offset: int, number: int, source: str) -> tuple[bytes, bytes]:
    start = offset + _HEAD.size + CHAIN_BYTES
    if start > len(view):
        raise DecodeError("TORN", f"{source}: record {number} at byte {offset} has no whole header")
    length, crc = _HEAD.unpack_from(view, offset)
    if length > RECORD_BYTES_MAX:
        raise DecodeError("LENGTH", f"{source}: record {number} claims {length} bytes")
    body = bytes(view[start : start + length])
    if len(body) != length:
        raise DecodeError("TORN", f"{source}: record {number} at byte {offset} has {len(body)} of {length} bytes")
    if zlib.crc32(body) != crc:
        raise DecodeError("CHECKSUM", f"{source}: record {number} does not match its CRC-32")
    return body, bytes(view[offset + _HEAD.size : start])
