"""Features of one symbol as its events come, resumable from one byte string at any point."""

import zlib
from typing import Any

import msgspec
import numpy as np

from tidemark.errors import DecodeError
from tidemark.events import EventBlock
from tidemark.features.driver import fresh_state, kernel_constants, take_grid
from tidemark.features.layout import LAST_SEQ, LAST_TS, LATE, STATE_FLOATS, STATE_INTS
from tidemark.features.params import FeatureParams
from tidemark.features.rows import FeatureRows
from tidemark.jit import JIT_ENABLED

STATE_VERSION = 2


class _Saved(msgspec.Struct, frozen=True):
    version: int
    schema: str
    symbol: str
    seq: int
    ts_ns: int
    crc: int
    ints: bytes
    floats: bytes


class FeatureStream:
    """Takes blocks of usable events of one symbol, in order; where the stream is cut changes nothing."""

    def __init__(self, symbol: str, params: FeatureParams) -> None:
        self.symbol = symbol
        self._schema = params.schema_hash
        self._constants = kernel_constants(params.constants())
        self._ints, self._floats = fresh_state()

    @property
    def last_seq(self) -> int:
        """Number of the last event taken; 0 before the first."""
        return int(self._ints[LAST_SEQ])

    @property
    def late_count(self) -> int:
        """Events that came for a row already out: the sender's `as_of_ns` was not true."""
        return int(self._ints[LATE])

    def update(self, block: EventBlock, as_of_ns: int) -> FeatureRows:
        """Take a block; returns the rows whose grid time is at or before `as_of_ns`, or that a later event closed."""
        assert block.symbols == (self.symbol,), "a block of this symbol alone"
        return take_grid(self.symbol, self._ints, self._floats, self._constants, block, as_of_ns)

    def to_bytes(self) -> bytes:
        """The whole state."""
        ints, floats = np.asarray(self._ints, np.int64), np.asarray(self._floats, np.float64)
        head = (STATE_VERSION, self._schema, self.symbol, int(ints[LAST_SEQ]), int(ints[LAST_TS]))
        numbers = (ints.tobytes(), floats.tobytes())
        return msgspec.msgpack.encode(_Saved(*head, _checksum(self.symbol, *numbers), *numbers))

    @classmethod
    def from_bytes(cls, data: bytes, params: FeatureParams) -> "FeatureStream":
        """Inverse of `to_bytes`. Raises DecodeError for damage, another version or another schema."""
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DecodeError("CHECKPOINT", str(error)) from error
        if saved.version != STATE_VERSION:
            raise DecodeError("VERSION", f"feature state version {saved.version}, this program writes {STATE_VERSION}")
        if saved.schema != params.schema_hash:
            raise DecodeError("SCHEMA", f"feature state of schema {saved.schema[:8]}, this program computes {params.schema_hash[:8]}")
        if len(saved.ints) != 8 * STATE_INTS or len(saved.floats) != 8 * STATE_FLOATS:
            raise DecodeError("LENGTH", "feature state of another size")
        if saved.crc != _checksum(saved.symbol, saved.ints, saved.floats):
            raise DecodeError("CHECKSUM", "feature state does not match its CRC-32: altered")
        stream = cls(saved.symbol, params)
        stream._ints, stream._floats = _state(saved)
        return stream


def _checksum(symbol: str, ints: bytes, floats: bytes) -> int:
    return zlib.crc32(floats, zlib.crc32(ints, zlib.crc32(symbol.encode())))


def _state(saved: _Saved) -> tuple[Any, Any]:
    ints, floats = np.frombuffer(saved.ints, np.int64).copy(), np.frombuffer(saved.floats, np.float64).copy()
    return (ints, floats) if JIT_ENABLED else (ints.tolist(), floats.tolist())
