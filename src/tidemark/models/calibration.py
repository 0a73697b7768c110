"""From scores to probabilities that may be believed, and from those to the chance of a bracket.

Fitted on the validation part, never on training rows: a temperature and a bias (no more: the part is small), and a map
from the direction score to P(target before stop). If the validation part does not show that the direction score helps,
its scale is zero and the model says what the base rates say: a market with nothing to predict must get no opinion.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.errors import bad_input
from tidemark.models.forward import softmax

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

ISOTONIC_ROWS_MIN = 2_000  # effective rows; a step function fitted to fewer follows noise
KNOTS_MAX = 32
EVIDENCE_Z_MIN = 2.0  # one-sided 2.3 %
SCALE_MAX = 10.0
_DOWN, _FLAT, _UP = 0, 1, 2


@dataclass(frozen=True, slots=True)
class HorizonCalibration:
    """logits = (-odd x o, even x e + bias, odd x o) for DOWN, FLAT, UP of a window's odd and even scores o, e."""

    odd: float
    even: float
    bias: float

    def probabilities(self, scores: F64) -> F64:
        """(..., 2) scores as (..., 3) probabilities."""
        direction = self.odd * scores[..., 0]
        return softmax(np.stack([-direction, self.even * scores[..., 1] + self.bias, direction], axis=-1))


@dataclass(frozen=True, slots=True)
class WinMap:
    """P(bracket wins) from the direction score s (log-odds of up against down, towards the bracket's side).

    Non-decreasing and piecewise linear through (x, p), flat beyond the ends. A logistic curve is stored as its knots.
    """

    kind: str
    x: tuple[float, ...]
    p: tuple[float, ...]

    def __call__(self, score: float) -> float:
        return float(np.interp(score, self.x, self.p))


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that stands between scores and answers. `evidence_z` is the direction's evidence on the validation part, per horizon.

    `loss_frac` mean loss of brackets that did not win, in stops; `move_per_sd` mean size of a move that passed its
    threshold, in sd of the recent variance over the primary horizon.
    """

    horizons: tuple[HorizonCalibration, ...]
    evidence_z: tuple[float, ...]
    win: WinMap
    loss_frac: float
    move_per_sd: float

    def to_json(self) -> dict[str, Any]:
        """Plain form."""
        return asdict(self)

    @classmethod
    def from_json(cls, spec: Any, source: str = "calibration.json") -> "Calibration":
        """Inverse of `to_json`. Raises InputError for anything that is not one."""
        try:
            win = WinMap(str(spec["win"]["kind"]), tuple(map(float, spec["win"]["x"])), tuple(map(float, spec["win"]["p"])))
            horizons = tuple(HorizonCalibration(float(h["odd"]), float(h["even"]), float(h["bias"])) for h in spec["horizons"])
            result = cls(horizons, tuple(map(float, spec["evidence_z"])), win, float(spec["loss_frac"]), float(spec["move_per_sd"]))
        except (KeyError, TypeError, ValueError) as error:
            raise bad_input(source, "fields", str(error), "a calibration") from error
        flat = [*win.x, *win.p, result.loss_frac, result.move_per_sd, *(value for h in horizons for value in (h.odd, h.even, h.bias))]
        if not np.isfinite(flat).all() or len(win.x) != len(win.p) or len(win.x) < 2 or not horizons:
            raise bad_input(source, "numbers", "not finite, or too few", "finite numbers")
        if min(win.p) < 0.0 or max(win.p) > 1.0 or (np.diff(win.x) <= 0).any() or (np.diff(win.p) < 0).any():
            raise bad_input(source, "win", win.p, "rising knots with probabilities in [0, 1]")
        return result


def fit_horizon(scores: F64, y: I64, block: I64) -> tuple[HorizonCalibration, float]:
    """(calibration, evidence of the direction) of one horizon on validation rows.

    Shapes  scores (n, 2), y (n,), block (n,): rows of one block (a minute of all symbols) move together.
    The evidence is the mean gain of the direction score over "up or down alike", on rows that moved, in standard errors
    over blocks. Below EVIDENCE_Z_MIN the direction is switched off and the rest fitted without it.
    """
    fitted = _fit_scales(scores, y, with_direction=True)
    z = direction_evidence(fitted, scores, y, block)
    return (fitted, z) if z >= EVIDENCE_Z_MIN else (_fit_scales(scores, y, with_direction=False), z)


def direction_evidence(fitted: HorizonCalibration, scores: F64, y: I64, block: I64) -> float:
    """Gain per moved row of the direction over a fair coin, in standard errors over blocks; 0 when there is nothing to say."""
    moved = y != _FLAT
    if not moved.any() or fitted.odd == 0.0:
        return 0.0
    towards = 2.0 * fitted.odd * scores[moved, 0] * np.where(y[moved] == _UP, 1.0, -1.0)
    gain = np.log(2.0) - np.logaddexp(0.0, -towards)
    _, member = np.unique(block[moved], return_inverse=True)
    sums = np.bincount(member, gain)
    if len(sums) < 2:
        return 0.0
    rows = np.bincount(member)
    mean = sums.sum() / rows.sum()
    error = np.sqrt(((sums - mean * rows) ** 2).sum() * len(sums) / (len(sums) - 1)) / rows.sum()
    return float(mean / error) if error > 0 else 0.0


def _fit_scales(scores: F64, y: I64, *, with_direction: bool) -> HorizonCalibration:
    """Maximum likelihood of (odd, even, bias) with odd, even in [0, SCALE_MAX] and a weak pull to (1, 1)."""
    from scipy.optimize import minimize  # training only; serving has no scipy

    def loss(theta: F64) -> tuple[float, F64]:
        odd, even, bias = theta if with_direction else (0.0, *theta)
        p = HorizonCalibration(odd, even, bias).probabilities(scores)
        hit = np.zeros_like(p)
        hit[np.arange(len(y)), y] = 1.0
        miss = p - hit
        pull = 1.0 / len(y)
        value = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-300)).mean() + 0.5 * pull * ((odd - 1) ** 2 + (even - 1) ** 2)
        gradient = np.array(
            [
                (scores[:, 0] * (miss[:, _UP] - miss[:, _DOWN])).mean() + pull * (odd - 1),
                (scores[:, 1] * miss[:, _FLAT]).mean() + pull * (even - 1),
                miss[:, _FLAT].mean(),
            ]
        )
        return float(value), gradient if with_direction else gradient[1:]

    start = np.array([1.0, 1.0, 0.0])
    bounds = [(0.0, SCALE_MAX), (0.0, SCALE_MAX), (-20.0, 20.0)]
    skip = 0 if with_direction else 1
    theta = minimize(loss, start[skip:], jac=True, bounds=bounds[skip:], method="L-BFGS-B").x
    return HorizonCalibration(*map(float, theta)) if with_direction else HorizonCalibration(0.0, float(theta[0]), float(theta[1]))


def fit_win_map(score: F64, won: npt.NDArray[np.bool_], weight: F64) -> WinMap:
    """Non-decreasing map from the score towards a bracket's side to its chance to win.

    Shapes  all (n,); `weight` is each bracket's uniqueness, so that overlapping brackets do not pass for many.
    Isotonic with ISOTONIC_ROWS_MIN effective rows or more, else logistic with a slope of at least zero.
    """
    base = float(np.average(won, weights=weight)) if weight.sum() > 0 else 0.0
    if not len(score) or score.max() - score.min() < 1e-9:
        return WinMap("constant", (-1.0, 1.0), (base, base))
    if weight.sum() >= ISOTONIC_ROWS_MIN:
        return _isotonic(score, won, weight)
    from scipy.optimize import minimize

    def loss(theta: F64) -> float:
        signed = np.where(won, 1.0, -1.0) * (theta[0] + theta[1] * score)
        return float((weight * np.logaddexp(0.0, -signed)).sum() / weight.sum() + 1e-6 * theta[1] ** 2)

    clipped = min(max(base, 1e-3), 1.0 - 1e-3)
    start = np.array([np.log(clipped / (1.0 - clipped)), 0.5])
    a, b = minimize(loss, start, bounds=[(-10.0, 10.0), (0.0, 10.0)], method="L-BFGS-B").x
    x = np.linspace(score.min(), score.max(), KNOTS_MAX)
    return WinMap("logistic", tuple(x.tolist()), tuple((1.0 / (1.0 + np.exp(-(a + b * x)))).tolist()))


def _isotonic(score: F64, won: npt.NDArray[np.bool_], weight: F64) -> WinMap:
    """Pool adjacent violators over KNOTS_MAX equal-mass bins. Source: Zadrozny & Elkan (2002)."""
    order = np.argsort(score, kind="stable")
    mass = np.cumsum(weight[order])
    bin_of = np.minimum((mass / mass[-1] * KNOTS_MAX).astype(np.int64), KNOTS_MAX - 1)
    total = np.bincount(bin_of, weight[order], KNOTS_MAX)
    kept = total > 0
    x = (np.bincount(bin_of, (weight * score)[order], KNOTS_MAX)[kept] / total[kept]).tolist()
    pooled: list[list[float]] = []  # [wins, weight, bins]
    for wins, size in zip(np.bincount(bin_of, (weight * won)[order], KNOTS_MAX)[kept].tolist(), total[kept].tolist(), strict=True):
        pooled.append([wins, size, 1.0])
        while len(pooled) > 1 and pooled[-2][0] / pooled[-2][1] >= pooled[-1][0] / pooled[-1][1]:
            last = pooled.pop()
            pooled[-1] = [a + b for a, b in zip(pooled[-1], last, strict=True)]
    p = [wins / size for wins, size, bins in pooled for _ in range(int(bins))]
    points = [(at, value) for i, (at, value) in enumerate(zip(x, p, strict=True)) if i == 0 or at > x[i - 1]]
    return WinMap("isotonic", tuple(at for at, _ in points), tuple(value for _, value in points))


def mean_loss_frac(pnl_ticks: I64, stop_ticks: I64, won: npt.NDArray[np.bool_], weight: F64) -> float:
    """Mean loss, in stops, of brackets that did not win: 1 for a clean stop, more with slip, less (or a gain) at expiry."""
    lost = ~won
    if not (weight * lost).sum() > 0:
        return 1.0
    return float(np.average(-pnl_ticks[lost] / stop_ticks[lost], weights=weight[lost]))


def blocks_of(decision_ns: Sequence[int] | I64, block_ns: int) -> I64:
    """Block number of each decision, the same for all symbols."""
    return np.asarray(decision_ns, np.int64) // block_ns
