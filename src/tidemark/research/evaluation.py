"""How good are these probabilities, and are they better than what anybody could have said?

One protocol for every model: figures with intervals from a bootstrap over sessions (never over rows, whose labels
overlap), gains over baselines on the same rows, Holm's correction over the baselines of one claim, and a verdict that
is only `beats` when the lower bound is above zero against all of them. Where a set has one day only, blocks of five
minutes take the place of sessions and the verdict is `n/a`: a benchmark, not evidence.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from tidemark.errors import InputError
from tidemark.units import NS_PER_MIN

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

DRAWS = 2_000
LEVEL = 0.95
SESSIONS_MIN = 10  # fewer effective sessions give no verdict
ECE_BINS = 15
PROBABILITY_MIN = 1e-12  # a zero on what happened would make every mean infinite
BLOCK_NS = 5 * NS_PER_MIN  # block of the bootstrap within a single day


class Verdict(StrEnum):
    """Outcome of a claim against its baselines."""

    BEATS = "beats"
    DOES_NOT_BEAT = "does not beat"
    NOT_APPLICABLE = "n/a"


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Log-loss saved against one baseline, in nats per row; `p_holm` is one-sided and corrected over the claim."""

    baseline: str
    gain: Interval
    p_value: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A model against all its baselines on the same rows."""

    comparisons: tuple[Comparison, ...]
    sessions: int
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Plain form for reports."""
        comparisons = [finite(asdict(entry)) for entry in self.comparisons]
        return {"verdict": self.verdict.value, "sessions": self.sessions, "comparisons": comparisons}


@dataclass(frozen=True, slots=True)
class ProbabilityReport:
    """Scores of class probabilities. `brier_skill` is against the climatology of the very rows that are scored."""

    log_loss: Interval
    brier: Interval
    brier_skill: float
    ece: Interval
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    rows: int
    sessions: int
    class_share: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain form for reports."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain


def finite(value: Any) -> Any:
    """`value` with None for every number that is not finite: an interval from too few sessions has no ends, and JSON no infinity."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def log_loss_rows(p: F64, y: I64) -> F64:
    """-ln p(what happened) per row. Shapes: p (n, classes), y (n,) class numbers; returns (n,) nats."""
    return -np.log(np.maximum(p[np.arange(len(y)), y], PROBABILITY_MIN))


def brier_rows(p: F64, y: I64) -> F64:
    """Squared distance to the one-hot outcome, summed over classes; 0..2. Source: Brier (1950)."""
    hot = np.zeros_like(p)
    hot[np.arange(len(y)), y] = 1.0
    return np.asarray(((p - hot) ** 2).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Resampling:
    """Bootstrap draws over sessions and what they are short of.

    Shapes  counts (draws, sessions): how often each session occurs in each resample; every row sums to `sessions`.
    `variance_frac` is the share of the true variance that resamples of n independent sessions show.
    """

    counts: F64
    sessions: int
    variance_frac: float

    def interval(self, value: float, resampled: F64) -> Interval:
        """Bounds of a figure: Student's t around it, with the bootstrap's standard error corrected for few sessions.

        Plain percentiles of 10 sessions would call 4 to 6 % of nothings a gain instead of 2.5 %.
        """
        error = self._error(resampled)
        if not np.isfinite(error):
            return Interval(value, float("-inf"), float("inf"))
        half = float(stats.t.ppf(0.5 + LEVEL / 2.0, self.sessions - 1)) * error
        return Interval(value, value - half, value + half)

    def one_sided_p(self, value: float, resampled: F64) -> float:
        """Level of a test of "no gain" against "gain"; 1 where nothing varies and nothing is gained."""
        error = self._error(resampled)
        if not np.isfinite(error) or (error == 0.0 and value <= 0.0):
            return 1.0
        return float(stats.t.sf(value / error, self.sessions - 1)) if error else 0.0

    def _error(self, resampled: F64) -> float:
        if self.sessions < 2 or self.variance_frac <= 0.0:
            return float("inf")
        return float(resampled.std() / np.sqrt(self.variance_frac))


def resampling(sessions: int, *, draws: int = DRAWS, seed: int = 0) -> Resampling:
    """The stationary bootstrap over sessions: blocks of geometric length with mean sessions^(1/3), wrapped around, so that
    neighbouring sessions that resemble each other are drawn together. Source: Politis & Romano (1994), JASA 89.

    `variance_frac` follows from E[autocovariance] = -variance / n at every lag of n independent values.
    """
    rng = np.random.default_rng(seed)
    block = max(1.0, sessions ** (1.0 / 3.0))
    current = rng.integers(0, sessions, draws)
    counts = np.zeros((draws, sessions))
    every = np.arange(draws)
    for _ in range(sessions):
        counts[every, current] += 1.0
        restart = rng.random(draws) < 1.0 / block
        current = np.where(restart, rng.integers(0, sessions, draws), (current + 1) % sessions)
    return Resampling(counts, sessions, 1.0 - (2.0 * block - 1.0) / sessions)


def holm(p_values: list[float]) -> list[float]:
    """Step-down corrected p-values in the order given. Source: Holm (1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = running
    return corrected


def time_blocks(ts_ns: I64, block_ns: int = BLOCK_NS) -> I64:
    """Block number of each row of a single day, for the bootstrap."""
    return np.asarray((ts_ns - ts_ns.min()) // block_ns, np.int64)


def compare(
    model_loss: F64, baseline_losses: Mapping[str, F64], session: I64, *, seed: int = 0, sessions_independent: bool = True
) -> Claim:
    """Does the model save log-loss against every baseline, on the same rows, by a margin that resampled sessions keep?

    Shapes  all (n,); `session` numbers the session of each row. `sessions_independent=False` (blocks of one day) gives
            the figures and the verdict `n/a`.
    Raises  InputError when there is no row or a length differs.
    """
    if not len(model_loss) or any(len(loss) != len(model_loss) for loss in (*baseline_losses.values(), session)):
        raise InputError("evaluation: rows: the model, its baselines and the sessions must cover the same rows, at least one")
    names, member = np.unique(session, return_inverse=True)
    count = len(names)
    draws = resampling(count, seed=seed)
    rows = np.bincount(member, minlength=count).astype(float)
    gains: list[tuple[str, Interval, float]] = []
    for name, loss in baseline_losses.items():
        saved = np.bincount(member, loss - model_loss, minlength=count)
        mean = float(saved.sum() / rows.sum())
        resampled = (draws.counts @ saved) / (draws.counts @ rows)
        gains.append((name, draws.interval(mean, resampled), draws.one_sided_p(mean, resampled)))
    corrected = holm([p for _, _, p in gains])
    comparisons = tuple(Comparison(name, gain, p, fixed) for (name, gain, p), fixed in zip(gains, corrected, strict=True))
    return Claim(comparisons, count, _verdict(comparisons, count, sessions_independent))


def _verdict(comparisons: tuple[Comparison, ...], sessions: int, sessions_independent: bool) -> Verdict:
    if not sessions_independent or sessions < SESSIONS_MIN:
        return Verdict.NOT_APPLICABLE
    level = (1.0 - LEVEL) / 2.0
    clear = all(entry.gain.low > 0.0 and entry.p_holm <= level for entry in comparisons)
    return Verdict.BEATS if clear else Verdict.DOES_NOT_BEAT


def probability_report(p: F64, y: I64, session: I64, *, seed: int = 0) -> ProbabilityReport:
    """Every figure of one set of class probabilities, with intervals by session.

    Shapes  p (n, classes) rows summing to one, y (n,) class numbers, session (n,).
    Raises  InputError on no rows or on rows that are no distribution.
    """
    if not len(y) or not np.isfinite(p).all() or np.abs(p.sum(axis=1) - 1.0).max() > 1e-6 or p.min() < 0.0:
        raise InputError("evaluation: probabilities: every row must be a distribution, and there must be a row")
    names, member = np.unique(session, return_inverse=True)
    count, classes = len(names), p.shape[1]
    draws = resampling(count, seed=seed)
    rows = np.bincount(member, minlength=count).astype(float)

    def mean_interval(per_row: F64) -> Interval:
        sums = np.bincount(member, per_row, minlength=count)
        return draws.interval(float(per_row.mean()), (draws.counts @ sums) / (draws.counts @ rows))

    def share_interval(value: float, resampled: F64) -> Interval:
        bounds = draws.interval(value, resampled)  # a share of one; with two or three sessions t reaches beyond
        return Interval(value, max(0.0, bounds.low), min(1.0, bounds.high))

    predicted = p.argmax(axis=1)
    cell = (member * classes + y) * classes + predicted
    confusion = np.bincount(cell, minlength=count * classes * classes).reshape(count, classes, classes).astype(float)
    resampled = np.einsum("ds,sij->dij", draws.counts, confusion)
    total = confusion.sum(axis=0, keepdims=True)
    share = np.bincount(y, minlength=classes) / len(y)
    brier = brier_rows(p, y)
    return ProbabilityReport(
        log_loss=mean_interval(log_loss_rows(p, y)),
        brier=mean_interval(brier),
        brier_skill=float(1.0 - brier.mean() / max(1.0 - float((share**2).sum()), PROBABILITY_MIN)),
        ece=_ece_interval(p, y, member, draws),
        accuracy=mean_interval((predicted == y).astype(float)),
        balanced_accuracy=share_interval(float(_balanced(total)[0]), _balanced(resampled)),
        macro_f1=share_interval(float(_macro_f1(total)[0]), _macro_f1(resampled)),
        rows=len(y),
        sessions=count,
        class_share=tuple(float(value) for value in share),
    )


def ece(p: F64, y: I64, bins: int = ECE_BINS) -> float:
    """Expected calibration error of the top class, equal-mass bins. Source: Guo et al. (2017); Naeini et al. (2015)."""
    sums = _bin_sums(p, y, np.zeros(len(y), np.int64), 1, bins)
    return float(_ece_from_sums(sums)[0])


def _bin_sums(p: F64, y: I64, member: I64, sessions: int, bins: int) -> F64:
    """(sessions, bins, 2): rows and (correct - confidence) summed, per session and confidence bin."""
    confidence = p.max(axis=1)
    correct = (p.argmax(axis=1) == y).astype(float)
    rank = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
    bin_of = rank * bins // len(y)
    cell = member * bins + bin_of
    rows = np.bincount(cell, minlength=sessions * bins)
    excess = np.bincount(cell, correct - confidence, minlength=sessions * bins)
    return np.asarray(np.stack([rows, excess], axis=-1).reshape(sessions, bins, 2), np.float64)


def _ece_from_sums(sums: F64) -> F64:
    """(k,) errors from (k, bins, 2) sums."""
    return np.asarray(np.abs(sums[..., 1]).sum(axis=-1) / sums[..., 0].sum(axis=-1))


def _ece_interval(p: F64, y: I64, member: I64, draws: Resampling) -> Interval:
    """Percentiles, not t: an error is not negative, and resampling adds to it, so the bounds are moved by that excess."""
    sums = _bin_sums(p, y, member, draws.sessions, ECE_BINS)
    value = float(_ece_from_sums(sums.sum(axis=0, keepdims=True))[0])
    resampled = _ece_from_sums(np.einsum("ds,sbk->dbk", draws.counts, sums))
    low, high = np.quantile(resampled, [0.5 - LEVEL / 2.0, 0.5 + LEVEL / 2.0]) - (resampled.mean() - value)
    return Interval(value, max(0.0, float(low)), float(high))


def _balanced(confusion: F64) -> F64:
    """Mean recall over the classes that occur, per matrix of (k, true, predicted)."""
    truth = confusion.sum(axis=2)
    recall = np.divide(np.diagonal(confusion, axis1=1, axis2=2), truth, out=np.zeros_like(truth), where=truth > 0)
    return np.asarray(recall.sum(axis=1) / np.maximum((truth > 0).sum(axis=1), 1))


def _macro_f1(confusion: F64) -> F64:
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    claimed_or_true = confusion.sum(axis=1) + confusion.sum(axis=2)
    f1 = np.divide(2.0 * hit, claimed_or_true, out=np.zeros_like(claimed_or_true), where=claimed_or_true > 0)
    return np.asarray(f1.sum(axis=1) / np.maximum((claimed_or_true > 0).sum(axis=1), 1))
