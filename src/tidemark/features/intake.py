"""One symbol's way from raw events to what may be stored: validated, de-duplicated, featurised, in bars.

Pure and resumable: the whole state is one byte string, so any process may go on where another stopped. A repeated or late
event (its seq is not above the last one taken) changes nothing.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from tidemark.book.quality import Defect, fresh_state, is_usable, scan_block
from tidemark.errors import DecodeError
from tidemark.events import EventBlock
from tidemark.features.bars import Bar, BarBuilder
from tidemark.features.params import FeatureParams
from tidemark.features.rows import FeatureRows
from tidemark.features.stream import FeatureStream

STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What one block of one symbol led to. `reasons` has the defect of each quarantined event, in order."""

    accepted: EventBlock
    quarantined: EventBlock
    reasons: tuple[Defect, ...]
    duplicates: int
    rows: FeatureRows
    bars: list[Bar]


class _State(msgspec.Struct, frozen=True):
    version: int
    symbol: str
    last_seq: int
    last_ts_ns: int
    features: bytes
    open_bar: Bar | None
    counts: dict[str, int]


class SymbolIntake:
    """Takes one symbol's blocks in stream order. `counts` holds, for all time, how many events met which fate."""

    def __init__(self, symbol: str, params: FeatureParams, *, joined_midway: bool = True) -> None:
        self.symbol = symbol
        self._params = params
        self._last_seq, self._last_ts_ns = fresh_state(1, joined_midway=joined_midway)
        self._features = FeatureStream(symbol, params)
        self._bars = BarBuilder(symbol)
        self.counts: dict[str, int] = {}

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event taken; -1 before the first."""
        return int(self._last_seq[0])

    def take(self, block: EventBlock, as_of_ns: int) -> Taken:
        """Take events of this symbol; `as_of_ns` promises that every event up to that venue time has come."""
        assert block.symbols == (self.symbol,), "a block of one symbol, this one"
        codes = scan_block(block, self._last_seq, self._last_ts_ns)
        duplicate = codes == Defect.SEQ_DUPLICATE
        usable = is_usable(codes)
        refused = ~usable & ~duplicate
        accepted = block if bool(usable.all()) else block[usable]
        taken = Taken(
            accepted=accepted,
            quarantined=block[refused],
            reasons=tuple(Defect(code) for code in codes[refused].tolist()),
            duplicates=int(np.count_nonzero(duplicate)),
            rows=self._features.update(accepted, as_of_ns),
            bars=self._bars.update(accepted, as_of_ns),
        )
        self._count(taken)
        return taken

    def _count(self, taken: Taken) -> None:
        for name, count in (("accepted", len(taken.accepted)), ("duplicate", taken.duplicates)):
            if count:
                self.counts[name] = self.counts.get(name, 0) + count
        for reason in taken.reasons:
            self.counts[reason.name] = self.counts.get(reason.name, 0) + 1

    def to_bytes(self) -> bytes:
        """The whole state, for a checkpoint."""
        return msgspec.msgpack.encode(
            _State(
                STATE_VERSION,
                self.symbol,
                int(self._last_seq[0]),
                int(self._last_ts_ns[0]),
                self._features.to_bytes(),
                self._bars.open_bar,
                self.counts,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes, params: FeatureParams) -> "SymbolIntake":
        """Inverse of `to_bytes`. Raises DecodeError when the state is damaged, of another version or of another schema."""
        try:
            state = msgspec.msgpack.decode(data, type=_State)
        except msgspec.DecodeError as error:
            raise DecodeError("CHECKPOINT", str(error)) from error
        if state.version != STATE_VERSION:
            raise DecodeError("VERSION", f"checkpoint version {state.version}, this program writes {STATE_VERSION}")
        intake = cls(state.symbol, params)
        intake._last_seq[0], intake._last_ts_ns[0] = state.last_seq, state.last_ts_ns
        intake._features = FeatureStream.from_bytes(state.features, params)
        intake._bars = BarBuilder(state.symbol, state.open_bar)
        intake.counts = dict(state.counts)
        return intake
