"""The little arithmetic that a report does itself: intervals of shares, reliability, and thinning of long curves."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tidemark.reporting.rundata import Columns, RunData, column, rows_of
from tidemark.units import NS_PER_S, PPM_PER_ONE

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Z95: Final = 1.959964
TRADES_PER_BIN: Final = 20
BINS_MAX: Final = 10
POINTS_MAX: Final = 2_000
OUTCOME_GAP_NS_MAX: Final = NS_PER_S  # a mid this long after the target time is not its outcome


@dataclass(frozen=True, slots=True)
class Reliability:
    """Claimed against measured, bin by bin, in rising order of the claim. Intervals are None where rows are not independent."""

    claimed: F64
    measured: F64
    low: F64 | None
    high: F64 | None
    n: I64


def wilson(wins: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share. Source: Wilson (1927), JASA 22."""
    share, spread = wins / n, Z95 * Z95 / n
    centre = (share + spread / 2.0) / (1.0 + spread)
    half = Z95 * math.sqrt(share * (1.0 - share) / n + spread / (4.0 * n)) / (1.0 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def win_reliability(run: RunData) -> Reliability | None:
    """P(win) of the signals that were traded against the share of trades with a net gain; None without any such trade."""
    claimed = dict(zip(column(run.signals, "signal_id"), column(run.signals, "p_win_ppm"), strict=True))
    pairs = [
        (claimed[name] / PPM_PER_ONE, net > 0)
        for name, net in zip(column(run.trades, "signal_id"), column(run.trades, "net_micros"), strict=True)
        if 0 < claimed.get(name, 0) < PPM_PER_ONE
    ]
    if not pairs:
        return None
    p, won = (np.asarray(side, np.float64) for side in zip(*pairs, strict=True))
    bins = _bins(p, max(1, min(BINS_MAX, len(p) // TRADES_PER_BIN)))
    bounds = [wilson(int(won[rows].sum()), len(rows)) for rows in bins]
    low, high = (np.asarray(side) for side in zip(*bounds, strict=True))
    return Reliability(_means(p, bins), _means(won, bins), low, high, np.asarray([len(rows) for rows in bins]))


def move_reliability(predictions: Columns | None) -> Reliability | None:
    """Expected against realised move of the mid, in ticks, at the predictions' own horizon; None without an outcome.

    The outcome of a prediction is the mid of the symbol's first later prediction at or after its target time.
    """
    if not predictions or not rows_of(predictions):
        return None
    symbols = column(predictions, "symbol")
    parts = [_moves(predictions, np.flatnonzero(symbols == name)) for name in np.unique(symbols)]
    expected, realised = (np.concatenate(side) for side in zip(*parts, strict=True))
    if not len(expected):
        return None
    bins = _bins(expected, max(1, min(BINS_MAX, len(expected) // TRADES_PER_BIN)))
    return Reliability(_means(expected, bins), _means(realised, bins), None, None, np.asarray([len(rows) for rows in bins]))


def thin(ts_ns: I64, values: F64, points_max: int = POINTS_MAX) -> npt.NDArray[np.int64]:
    """Rows that draw the same curve: the first, last, lowest and highest of each of equally long stretches."""
    n = len(ts_ns)
    if n <= points_max:
        return np.arange(n)
    kept: set[int] = set()
    for rows in np.array_split(np.arange(n), points_max // 4):
        kept |= {int(rows[0]), int(rows[-1]), int(rows[values[rows].argmin()]), int(rows[values[rows].argmax()])}
    return np.asarray(sorted(kept))


def _moves(predictions: Columns, rows: npt.NDArray[np.intp]) -> tuple[F64, F64]:
    at = column(predictions, "input_ts_ns")[rows].astype(np.int64)
    rows = rows[np.argsort(at, kind="stable")]
    at = np.sort(at, kind="stable")
    target = column(predictions, "target_ts_ns")[rows].astype(np.int64)
    mid2 = column(predictions, "mid2")[rows].astype(np.int64)
    later = np.searchsorted(at, target, side="left")
    known = later < len(at)
    later = np.minimum(later, len(at) - 1)
    known &= at[later] - target <= OUTCOME_GAP_NS_MAX
    expected = column(predictions, "expected_ticks")[rows].astype(np.float64)
    return expected[known], ((mid2[later] - mid2) / 2.0)[known]


def _bins(values: F64, bins: int) -> list[npt.NDArray[np.int64]]:
    return np.array_split(np.argsort(values, kind="stable").astype(np.int64), bins)


def _means(values: F64, bins: list[npt.NDArray[np.int64]]) -> F64:
    return np.asarray([values[rows].mean() for rows in bins])
