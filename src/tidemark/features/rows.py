"""Feature rows on the 250 ms grid: what models are trained on and what the stream publishes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.events import I64
from tidemark.features.catalogue import COLUMN, COUNT, GRID_NS

F32 = npt.NDArray[np.float32]

__all__ = ["GRID_NS", "FeatureRows", "concat_rows", "empty_rows"]


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """`n` rows of one symbol, in time order.

    Shapes  grid_ts_ns, event_ts_ns, recv_ts_ns, seq int64 (n,); values float32 (n, COUNT).
    Row i is the state after the last event before grid time `grid_ts_ns[i]`; the other three columns are that event's.
    """

    symbol: str
    grid_ts_ns: I64
    event_ts_ns: I64
    recv_ts_ns: I64
    seq: I64
    values: F32

    def __post_init__(self) -> None:
        assert self.values.shape == (len(self.seq), COUNT)

    def __len__(self) -> int:
        return len(self.seq)

    def __getitem__(self, rows: "slice | npt.NDArray[Any]") -> "FeatureRows":
        return FeatureRows(
            self.symbol, self.grid_ts_ns[rows], self.event_ts_ns[rows], self.recv_ts_ns[rows], self.seq[rows], self.values[rows]
        )

    def column(self, name: str) -> F32:
        """One feature (n,) by its name."""
        return self.values[:, COLUMN[name]]


def empty_rows(symbol: str) -> FeatureRows:
    """No rows."""
    none = np.empty(0, np.int64)
    return FeatureRows(symbol, none, none, none, none, np.empty((0, COUNT), np.float32))


def concat_rows(parts: Sequence[FeatureRows]) -> FeatureRows:
    """Parts of one symbol, one after the other."""
    assert len({part.symbol for part in parts}) == 1, "rows of different symbols cannot be joined"
    joined = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("grid_ts_ns", "event_ts_ns", "recv_ts_ns", "seq", "values")
    )
    return FeatureRows(parts[0].symbol, *joined)
