"""How far away a stop and a target stand: one rule for the labels a model is calibrated on and for the orders it proposes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidemark.errors import bad_input
from tidemark.units import NS_PER_S

STOP_SPREADS_MIN = 2.0  # an entry stands one spread in the red at once; a stop nearer than that is an exit. Chosen: twice
STOP_TICKS_MIN = 4  # nearer stops sit inside the noise of the touch. Chosen: four times a one-tick spread
TICKS_MAX = 100_000
RV_WINDOW_S = 10  # what the input `rv_10s` sums over
VARIANCE_MIN = 0.05  # ticks² per second: an asleep market must not make every tick a jump
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BracketRule:
    """Stop `sigma_mult` x the volatility expected over the bracket's life, target `reward_risk` x the stop.

    The defaults let nine of ten brackets end at a barrier and not by expiry, so that P(target before stop) says nearly
    all about what a bracket earns; wider ones expire more often and are worth more than that chance tells.
    """

    sigma_mult: float = 0.5
    reward_risk: float = 1.5
    horizon_ns: int = 20 * NS_PER_S
    stop_ticks_min: int = STOP_TICKS_MIN
    stop_spreads_min: float = STOP_SPREADS_MIN

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma_mult <= 100.0:
            raise bad_input("bracket", "sigma_mult", self.sigma_mult, "a factor above 0, at most 100")
        if not 0.0 < self.reward_risk <= 100.0:
            raise bad_input("bracket", "reward_risk", self.reward_risk, "a ratio above 0, at most 100")
        if not 0.0 <= self.stop_spreads_min <= 100.0:
            raise bad_input("bracket", "stop_spreads_min", self.stop_spreads_min, "spreads from 0 to 100")
        if self.horizon_ns <= 0 or self.stop_ticks_min <= 0:
            raise bad_input("bracket", "horizon_ns or stop_ticks_min", min(self.horizon_ns, self.stop_ticks_min), "a positive integer")

    def distances(self, variance_ticks2_per_s: F64, spread_ticks: F64) -> tuple[I64, I64]:
        """(stop, target) distances in whole ticks for each recent variance of the mid and present spread, all (n,).

        Both are rounded half up and bounded; a variance of zero (a market that did not move) gives the smallest stop.
        """
        sigma = np.sqrt(np.maximum(variance_ticks2_per_s, 0.0) * (self.horizon_ns / NS_PER_S))
        wanted = np.floor(np.maximum(self.sigma_mult * sigma, self.stop_spreads_min * spread_ticks) + 0.5)
        stop = np.clip(wanted, self.stop_ticks_min, TICKS_MAX).astype(np.int64)
        target = np.clip(np.floor(self.reward_risk * stop + 0.5), 1, TICKS_MAX).astype(np.int64)
        return stop, target


def variance_per_s(windows_rv: F32) -> F64:
    """Variance of the mid in ticks² per second: the mean of `rv_10s` over each window, (n, rows) → (n,).

    The mean over the window is what makes it steady; one `rv_10s` alone has a relative error near a half.
    """
    return np.asarray(windows_rv.astype(np.float64).mean(axis=-1) / RV_WINDOW_S)
