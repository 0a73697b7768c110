"""The book model held against its baselines on the test part: the figures that go into a model's card.

Two claims, because two things can be foreseen. Whether the mid will move at all follows the market's activity, which any
clock can tell in any market; which way it moves is the edge. The first claim is on all three classes, the second only on
rows that moved and only on up against down. An edge is claimed when both hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.errors import bad_input
from tidemark.models.baselines import BaselineData, fit_baselines
from tidemark.models.config import LabelConfig
from tidemark.models.datasets import EventSource, Split, WindowSet, build_windows, load_sessions, split_at, split_windows
from tidemark.models.labels import DOWN, FLAT, UP
from tidemark.models.mirror import mirror
from tidemark.models.predictor import LobPredictor
from tidemark.models.scaler import fit_scaler
from tidemark.models.training import Trained
from tidemark.models.trend import scaled_inputs
from tidemark.research.evaluation import (
    PROBABILITY_MIN,
    Claim,
    ProbabilityReport,
    Verdict,
    compare,
    log_loss_rows,
    probability_report,
    time_blocks,
)

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

CLAIM_BASELINES = ("B0 climatology", "B1 persistence", "B2 logistic", "B3 boosting")  # B4 is reported, not claimed against


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Probabilities on the same test rows. `model` and each of `others` (n, 3); y, session (n,)."""

    y: I64
    session: I64
    independent: bool
    model: F64
    others: Mapping[str, F64]


@dataclass(frozen=True, slots=True)
class LobEvaluation:
    """Figures of one model on one test part. Log-losses in nats per row; `direction_*` on rows that moved."""

    model: ProbabilityReport
    log_loss: Mapping[str, float]
    direction_loss: Mapping[str, float]
    trend: Claim
    direction: Claim
    moved_rows: int

    @property
    def verdict(self) -> Verdict:
        """BEATS when both claims do."""
        both = (self.trend.verdict, self.direction.verdict)
        if Verdict.NOT_APPLICABLE in both:
            return Verdict.NOT_APPLICABLE
        return Verdict.BEATS if both == (Verdict.BEATS, Verdict.BEATS) else Verdict.DOES_NOT_BEAT

    def to_json(self) -> dict[str, Any]:
        """Plain form for metrics.json."""
        return {
            "verdict": self.verdict.value,
            "model": self.model.to_json(),
            "log_loss": dict(self.log_loss),
            "direction_loss": dict(self.direction_loss),
            "trend": self.trend.to_json(),
            "direction": self.direction.to_json(),
            "moved_rows": self.moved_rows,
        }


def forecasts_on_test(trained: Trained, *, seed: int = 0) -> Forecasts:
    """The model and all baselines on the test rows of its own run."""
    rows = trained.split.test
    primary = trained.config.labels.primary_i
    data = BaselineData(trained.z, trained.windows, trained.split, primary)
    others = {name: forecast(rows) for name, forecast in fit_baselines(data, seed).items()}
    session, independent = sessions_of_test(trained.windows, trained.split)
    return Forecasts(trained.windows.y[primary, rows], session, independent, trained.forecast(rows), others)


def sessions_of_test(windows: WindowSet, split: Split) -> tuple[I64, bool]:
    """(group of each test row, whether the groups are sessions): five-minute blocks where there is one session only."""
    session = windows.session_i[split.test]
    if len(np.unique(session)) > 1:
        return session, True
    return time_blocks(windows.decision_ns[split.test]), False


def evaluate(forecasts: Forecasts, *, seed: int = 0) -> LobEvaluation:
    """All figures and both claims."""
    y = forecasts.y
    everyone = {"model": forecasts.model, **forecasts.others}
    losses = {name: log_loss_rows(p, y) for name, p in everyone.items()}
    moved = np.flatnonzero(y != FLAT)
    directions = {name: direction_loss_rows(p[moved], y[moved]) for name, p in everyone.items()}
    claimed = [name for name in forecasts.others if name in CLAIM_BASELINES]
    independent = forecasts.independent

    def claim(loss: Mapping[str, F64], session: I64) -> Claim:
        return compare(loss["model"], {name: loss[name] for name in claimed}, session, seed=seed, sessions_independent=independent)

    direction = claim(directions, forecasts.session[moved]) if len(moved) else Claim((), 0, Verdict.NOT_APPLICABLE)
    if direction.verdict is Verdict.BEATS and not claims_direction(forecasts.model):
        direction = replace(direction, verdict=Verdict.DOES_NOT_BEAT)  # a fair coin may be luckier than the others; it is no edge
    return LobEvaluation(
        model=probability_report(forecasts.model, y, forecasts.session, seed=seed),
        log_loss={name: float(loss.mean()) for name, loss in losses.items()},
        direction_loss={name: float(loss.mean()) if len(moved) else 0.0 for name, loss in directions.items()},
        trend=claim(losses, forecasts.session),
        direction=direction,
        moved_rows=len(moved),
    )


def claims_direction(p: F64) -> bool:
    """Whether any forecast prefers up to down or down to up."""
    return bool((np.abs(p[:, UP] - p[:, DOWN]) > 1e-9).any())


def direction_loss_rows(p: F64, y: I64) -> F64:
    """-ln P(the way it went, given that it moved) per row; y holds only UP and DOWN. A fair coin costs ln 2."""
    both = np.maximum(p[:, UP] + p[:, DOWN], PROBABILITY_MIN)
    return -np.log(np.maximum(p[np.arange(len(y)), y] / both, PROBABILITY_MIN))


def forecasts_of_saved(predictor: LobPredictor, source: EventSource, symbols: Sequence[str] | None, *, seed: int) -> Forecasts:
    """A saved model on a data set, from `trained_until_ns` on; baselines are fitted on what lies before.

    Raises InputError when the model knows none of the symbols, or when nothing lies after its training.
    """
    described = predictor.description
    wanted = [symbol for symbol in (symbols or list(source.instruments)) if symbol in described.symbols]
    if not wanted:
        raise bad_input("model", "symbols", ", ".join(source.instruments), f"any of {', '.join(described.symbols)}")
    labels = LabelConfig(horizons=described.horizons_ns, primary_i=described.primary_i, latency_ns=described.latency_ns)
    windows = build_windows(list(load_sessions(source, wanted)), labels, described.bracket, described.window_rows)
    split = _split_after(windows, described.trained_until_ns)
    scaler = fit_scaler(
        {s: windows.x[split.train][windows.symbol_i[split.train] == i] for i, s in enumerate(windows.symbols)}, *mirror(described.names)
    )
    data = BaselineData(scaled_inputs(windows, scaler), windows, split, described.primary_i)
    others = {name: forecast(split.test) for name, forecast in fit_baselines(data, seed).items()}
    symbol_of = [described.symbols.index(symbol) for symbol in windows.symbols]
    scores = np.stack([predictor.scores(windows.windows(np.array([i]))[0], symbol_of[windows.symbol_i[i]]) for i in split.test])
    session, independent = sessions_of_test(windows, split)
    y = windows.y[described.primary_i, split.test]
    return Forecasts(y, session, independent, predictor.probabilities(scores), others)


def _split_after(windows: WindowSet, trained_until_ns: int) -> Split:
    """Test on everything after the model's training; where nothing is before it, baselines train on the first half of what is after."""
    before = windows.decision_ns < trained_until_ns
    if before.all():
        raise bad_input("data set", "time", "everything is from before the end of the model's training", "sessions after it")
    if before.any():
        earlier = np.sort(windows.decision_ns[before])
        return split_at(windows, int(earlier[8 * len(earlier) // 10]), trained_until_ns)
    return split_windows(windows, valid_frac=0.1, test_frac=0.5)
