"""What became of a prediction: when its time has passed, the mid it was about, and whether it was right.

A prediction is about the mean of the mid over its horizon, so that is what it is held against; the mid is known at each
feature row (every 250 ms) and counts until the next. Nothing is settled before an event after the target time has been
seen: until then the market may still be silent.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tidemark.errors import DecodeError
from tidemark.signals.messages import Prediction

PENDING_MAX = 4_096  # per symbol; four a second over a horizon of seconds come nowhere near
STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Matured:
    """The outcome of one prediction. `actual_mid2` mean of twice the mid over the horizon, in ticks; `accuracy_score` is 1
    where the most probable class came, else 0."""

    symbol: str
    model: str
    seq: int
    actual_mid2: float
    accuracy_score: float


class _Path(msgspec.Struct):
    """Mids of one symbol, as far back as they are needed, and the predictions that wait on them (oldest first)."""

    ts_ns: list[int] = []
    mid2: list[int] = []
    pending: list[Prediction] = []


class _State(msgspec.Struct, frozen=True):
    version: int
    paths: dict[str, _Path]


class MaturityTracker:
    """Holds predictions until they can be judged. `horizon_ns` and `threshold_ticks` are those of the model's description."""

    def __init__(self, horizon_ns: int, threshold_ticks: Mapping[str, float]) -> None:
        self._horizon_ns = horizon_ns
        self._threshold_ticks = dict(threshold_ticks)
        self._paths: dict[str, _Path] = {}
        self.dropped = 0  # predictions given up because too many were waiting

    def update(self, symbol: str, event_ts_ns: Sequence[int], mid2: Sequence[int], predictions: Sequence[Prediction]) -> list[Matured]:
        """Take a symbol's next rows and what was predicted from them; return what can now be judged, oldest first.

        Shapes  event_ts_ns and mid2 (n,), ascending; rows at or before the last one taken are repeats and change nothing.
        """
        path = self._paths.setdefault(symbol, _Path([], [], []))
        for ts, mid in zip(event_ts_ns, mid2, strict=True):
            if not path.ts_ns or ts > path.ts_ns[-1]:
                path.ts_ns.append(int(ts))
                path.mid2.append(int(mid))
        waiting = {prediction.seq for prediction in path.pending}
        path.pending.extend(one for one in predictions if one.seq not in waiting)
        matured = self._settle(symbol, path)
        if len(path.pending) > PENDING_MAX:
            self.dropped += len(path.pending) - PENDING_MAX
            del path.pending[: len(path.pending) - PENDING_MAX]
        self._forget(path)
        return matured

    def _settle(self, symbol: str, path: _Path) -> list[Matured]:
        now_ns = path.ts_ns[-1] if path.ts_ns else 0
        done = [one for one in path.pending if one.target_ts_ns < now_ns]
        path.pending = [one for one in path.pending if one.target_ts_ns >= now_ns]
        judged = (self._judge(symbol, path, prediction) for prediction in done)
        return [one for one in judged if one is not None]

    def _judge(self, symbol: str, path: _Path, prediction: Prediction) -> Matured | None:
        base_ns = prediction.target_ts_ns - self._horizon_ns
        base = bisect_right(path.ts_ns, base_ns) - 1
        if base < 0:
            return None  # made before this tracker saw a price
        mean2 = _mean2(path, base, base_ns, prediction.target_ts_ns)
        move_ticks = (mean2 - path.mid2[base]) / 2
        threshold = self._threshold_ticks.get(symbol, 0.0)
        came = 1 if move_ticks > threshold else -1 if move_ticks < -threshold else 0
        return Matured(symbol, prediction.model, prediction.seq, mean2, float(came == prediction.direction))

    def _forget(self, path: _Path) -> None:
        """Drop mids that no waiting or coming prediction can need."""
        if not path.ts_ns:
            return
        oldest_ns = min([one.target_ts_ns for one in path.pending], default=path.ts_ns[-1]) - self._horizon_ns
        keep = max(bisect_right(path.ts_ns, oldest_ns) - 1, 0)
        del path.ts_ns[:keep], path.mid2[:keep]

    def to_bytes(self) -> bytes:
        """The whole state, for a checkpoint."""
        return msgspec.msgpack.encode(_State(STATE_VERSION, self._paths))

    @classmethod
    def from_bytes(cls, data: bytes, horizon_ns: int, threshold_ticks: Mapping[str, float]) -> "MaturityTracker":
        """Inverse of `to_bytes`. Raises DecodeError."""
        try:
            state = msgspec.msgpack.decode(data, type=_State)
        except msgspec.DecodeError as error:
            raise DecodeError("CHECKPOINT", str(error)) from error
        if state.version != STATE_VERSION:
            raise DecodeError("VERSION", f"checkpoint version {state.version}, this program writes {STATE_VERSION}")
        tracker = cls(horizon_ns, threshold_ticks)
        tracker._paths = state.paths
        return tracker


def _mean2(path: _Path, first: int, start_ns: int, end_ns: int) -> float:
    """Time-weighted mean of twice the mid over [start, end); row `first` is in force at its start. Exact: integers to the end."""
    area, at_ns, mid = 0, start_ns, path.mid2[first]
    for i in range(first + 1, len(path.ts_ns)):
        if path.ts_ns[i] >= end_ns:
            break
        area += mid * (path.ts_ns[i] - at_ns)
        at_ns, mid = path.ts_ns[i], path.mid2[i]
    return (area + mid * (end_ns - at_ns)) / (end_ns - start_ns)
