"""What travels on the features and signals streams, and what the signal path writes down.

Feature batches are binary (msgpack: a quarter of JSON's size and exact float32); signals are JSON, because people and
other programs read them. Decoding checks types, bounds and lengths before anything is used; whether the numbers make
sense for an instrument is the reader's business. A batch is published even when it is empty: `as_of_ns` is the
watermark that a lock-step replay waits on and the heartbeat that tells "nothing to say" from "gone".
"""

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tidemark.errors import DecodeError
from tidemark.events import SYMBOL_CHARS_MAX
from tidemark.units import INT64_MAX, Side

F32 = npt.NDArray[np.float32]

ROWS_PER_BATCH_MAX = 4_096  # 17 minutes of grid rows of one symbol; a longer catch-up comes in several batches
SIGNALS_PER_BATCH_MAX = 256
BATCH_BYTES_MAX = 1_048_576  # one Kinesis record: service quota
HASH_CHARS = 8
ID_CHARS_MAX = 96

TimeNs = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
SeqNo = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=SYMBOL_CHARS_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARS_MAX)]
Frac = Annotated[float, msgspec.Meta(ge=0, le=1)]
DistanceTicks = Annotated[int, msgspec.Meta(gt=0, le=1_000_000)]


class Tier(StrEnum):
    """Confidence class that a signal may claim; only evidence lifts it above UNTIERED (see `signals.tiers`)."""

    TIER1 = "TIER1"
    TIER2 = "TIER2"
    TIER3 = "TIER3"
    UNTIERED = "UNTIERED"


class FeatureBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Grid rows of one symbol, oldest first: every row whose grid time is at or before `as_of_ns` has been sent.

    Shapes  grid_ts_ns, event_ts_ns, recv_ts_ns, seq: `rows` entries each; values: float32 little-endian, row-major,
            `rows` x the feature catalogue's COUNT. `names_hash` is the first 8 characters of the catalogue's hash.
    """

    symbol: Symbol
    as_of_ns: TimeNs
    names_hash: Annotated[str, msgspec.Meta(min_length=HASH_CHARS, max_length=HASH_CHARS)]
    grid_ts_ns: list[TimeNs]
    event_ts_ns: list[TimeNs]
    recv_ts_ns: list[TimeNs]
    seq: list[SeqNo]
    values: bytes
    rows: Annotated[int, msgspec.Meta(ge=0, le=ROWS_PER_BATCH_MAX)]
    sent_ts_ns: TimeNs


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proposed bracket entry. Distances are from the entry's fill price, in ticks, always positive.

    `expectancy_micros` is per contract, after spread, fees and slippage; `mid2` is twice the mid in ticks at the newest
    input. `evidence_id` names the tier cell that lifted it, or null.
    """

    signal_id: Name
    symbol: Symbol
    side: Side
    tier: Tier
    p_win: Frac
    expectancy_micros: int
    stop_ticks: DistanceTicks
    target_ticks: DistanceTicks
    horizon_ns: Annotated[int, msgspec.Meta(gt=0, le=INT64_MAX)]
    input_ts_ns: TimeNs
    created_ts_ns: TimeNs
    model: Name
    model_version: Name
    mid2: int
    evidence_id: Name | None = None


class SignalBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signals that one feature batch led to, usually none."""

    symbol: Symbol
    as_of_ns: TimeNs
    signals: Annotated[list[Signal], msgspec.Meta(max_length=SIGNALS_PER_BATCH_MAX)]
    sent_ts_ns: TimeNs


class Prediction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer of a model, as it is stored: the class probabilities and what they claim about the mid.

    `expected_ticks` is the expected change of the mid until `target_ts_ns`, against `mid2` at the newest input.
    """

    symbol: Symbol
    model: Name
    model_version: Name
    seq: SeqNo
    input_ts_ns: TimeNs
    target_ts_ns: TimeNs
    mid2: int
    p_down: Frac
    p_flat: Frac
    p_up: Frac
    p_win_long: Frac
    p_win_short: Frac
    expected_ticks: float

    @property
    def direction(self) -> int:
        """-1, 0 or +1: the most probable class; a tie with flat is flat, a tie of up and down is flat."""
        if self.p_up > self.p_flat and self.p_up > self.p_down:
            return 1
        return -1 if self.p_down > self.p_flat and self.p_down > self.p_up else 0

    @property
    def confidence(self) -> float:
        """Probability of `direction`."""
        return {1: self.p_up, 0: self.p_flat, -1: self.p_down}[self.direction]


_FEATURES_DECODER = msgspec.msgpack.Decoder(FeatureBatch)
_SIGNALS_DECODER = msgspec.json.Decoder(SignalBatch)
_SIGNAL_DECODER = msgspec.json.Decoder(Signal)
_MSGPACK_ENCODER = msgspec.msgpack.Encoder()
_JSON_ENCODER = msgspec.json.Encoder()

T = TypeVar("T")


def encode_features(batch: FeatureBatch) -> bytes:
    """Bytes for the features stream."""
    return _MSGPACK_ENCODER.encode(batch)


def decode_features(data: bytes) -> FeatureBatch:
    """Inverse of `encode_features`. Raises DecodeError; the columns' lengths agree with `rows` in what it returns."""
    batch = _decode(_FEATURES_DECODER, data)
    lengths = {len(batch.grid_ts_ns), len(batch.event_ts_ns), len(batch.recv_ts_ns), len(batch.seq)}
    if lengths != {batch.rows}:
        raise DecodeError("LENGTH", f"columns of {sorted(lengths)} entries, the batch says {batch.rows} rows")
    row_bytes = len(batch.values) // batch.rows if batch.rows else 0
    if row_bytes * batch.rows != len(batch.values) or row_bytes % 4 or (batch.rows and not row_bytes):
        raise DecodeError("LENGTH", f"{len(batch.values)} bytes of values do not hold {batch.rows} rows of float32")
    return batch


def batch_values(batch: FeatureBatch, columns: int) -> F32:
    """`values` as float32 (rows, columns). Raises DecodeError when the catalogue has another width or a value is NaN."""
    if len(batch.values) != batch.rows * columns * 4:
        raise DecodeError("SCHEMA", f"{len(batch.values)} bytes of values are not {batch.rows} rows of {columns} features")
    matrix = np.frombuffer(batch.values, "<f4").reshape(batch.rows, columns)
    if not np.isfinite(matrix).all():
        raise DecodeError("NAN", "a feature value is not finite")
    return matrix


def encode_signals(batch: SignalBatch) -> bytes:
    """JSON for the signals stream."""
    return _JSON_ENCODER.encode(batch)


def decode_signals(data: bytes) -> SignalBatch:
    """Inverse of `encode_signals`. Raises DecodeError; every signal is of the batch's symbol in what it returns."""
    batch = _decode(_SIGNALS_DECODER, data)
    for signal in batch.signals:
        if signal.symbol != batch.symbol:
            raise DecodeError("SYMBOL", f"signal {signal.signal_id} is of {signal.symbol}, its batch of {batch.symbol}")
    return batch


def encode_signal(signal: Signal) -> bytes:
    """One signal as JSON."""
    return _JSON_ENCODER.encode(signal)


def decode_signal(data: bytes) -> Signal:
    """Inverse of `encode_signal`. Raises DecodeError."""
    return _decode(_SIGNAL_DECODER, data)


def _decode(decoder: "msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T]", data: bytes) -> T:
    if len(data) > BATCH_BYTES_MAX:
        raise DecodeError("OVERSIZE", f"{len(data)} bytes, at most {BATCH_BYTES_MAX}")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError("MESSAGE", str(error)) from error
