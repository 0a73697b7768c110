"""Figures with honest intervals: they cover, they do not call luck an edge, and they find what is there."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from tidemark.errors import InputError
from tidemark.research.evaluation import (
    Verdict,
    brier_rows,
    compare,
    ece,
    holm,
    log_loss_rows,
    probability_report,
    resampling,
    time_blocks,
)
from tidemark.research.lob_evaluation import Forecasts, direction_loss_rows, evaluate

SESSIONS, ROWS = 12, 40


def sessions() -> np.ndarray:
    return np.repeat(np.arange(SESSIONS), ROWS)


def test_figures_agree_with_an_independent_library():
    """scikit-learn computes the same log-loss, balanced accuracy and macro-F1."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet([2, 3, 1], SESSIONS * ROWS)
    y = np.array([rng.choice(3, p=row) for row in p])
    report = probability_report(p, y, sessions())
    assert report.log_loss.value == pytest.approx(log_loss(y, p))
    assert report.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(y, p.argmax(axis=1)))
    assert report.macro_f1.value == pytest.approx(f1_score(y, p.argmax(axis=1), average="macro"))
    assert report.brier.value == pytest.approx(((p - np.eye(3)[y]) ** 2).sum(axis=1).mean())
    assert brier_rows(p, y).mean() == pytest.approx(report.brier.value)
    assert report.log_loss.low < report.log_loss.value < report.log_loss.high


def test_calibration_error_is_near_zero_for_true_probabilities_and_not_for_boasts():
    """Forecasts drawn from the truth are calibrated; the same forecasts sharpened are not."""
    rng = np.random.default_rng(1)
    p = rng.dirichlet([2, 2, 2], 30_000)
    y = (rng.random((len(p), 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    assert ece(p, y) < 0.012
    assert ece(sharp, y) > 0.1
    report = probability_report(sharp, y, np.arange(len(y)) // 1_000)
    assert report.ece.low <= report.ece.value <= report.ece.high
    assert report.ece.low > 0.1


def test_worthless_gains_are_called_gains_in_about_one_case_in_forty():
    """The one-sided level is 2.5 %, with twelve sessions and rows that move together; of 1,000 nothings 10 to 45 may pass."""
    rng = np.random.default_rng(2)
    session = sessions()
    passed = 0
    for i in range(1_000):
        noise = rng.normal(size=SESSIONS)[session] + rng.normal(size=len(session))
        passed += compare(np.zeros(len(session)), {"B0": noise}, session, seed=i).verdict is Verdict.BEATS
    assert 10 <= passed <= 45


def test_a_gain_must_hold_against_every_baseline():
    """Better than three and equal to the fourth is not better."""
    rng = np.random.default_rng(3)
    session = sessions()
    loss = rng.random(len(session))
    worse = {name: loss + 0.05 + 0.01 * rng.normal(size=len(session)) for name in ("B0", "B1", "B2")}
    assert compare(loss, worse, session).verdict is Verdict.BEATS
    equal = {**worse, "B3": loss + 0.01 * rng.normal(size=len(session))}
    claim = compare(loss, equal, session)
    assert claim.verdict is Verdict.DOES_NOT_BEAT
    assert [entry.gain.low > 0 for entry in claim.comparisons] == [True, True, True, False]


def test_few_sessions_and_single_days_get_no_verdict():
    """Nine sessions, or blocks of one day, are a benchmark and not evidence."""
    session = np.repeat(np.arange(9), ROWS)
    loss = np.zeros(len(session))
    assert compare(loss, {"B0": loss + 1}, session).verdict is Verdict.NOT_APPLICABLE
    many = sessions()
    noise = np.random.default_rng(0).normal(1, 0.01, len(many))
    assert compare(np.zeros(len(many)), {"B0": noise}, many, sessions_independent=False).verdict is Verdict.NOT_APPLICABLE


def test_holm_steps_down():
    """The worked example of the definition: 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_resamples_keep_their_size_and_neighbours_come_together():
    """The stationary bootstrap draws runs: sessions side by side are drawn together more often than distant ones."""
    draws = resampling(20, seed=1)
    assert (draws.counts.sum(axis=1) == 20).all()
    near = np.mean([np.corrcoef(draws.counts[:, i], draws.counts[:, (i + 1) % 20])[0, 1] for i in range(20)])
    far = np.mean([np.corrcoef(draws.counts[:, i], draws.counts[:, (i + 10) % 20])[0, 1] for i in range(20)])
    assert near > far + 0.2


def test_intervals_cover_the_truth_as_often_as_they_say():
    """95 % intervals of a mean over twelve sessions miss in about 5 % of cases."""
    rng = np.random.default_rng(4)
    draws = resampling(SESSIONS, seed=0)
    missed = 0
    for _ in range(1_000):
        values = rng.normal(size=SESSIONS)
        bounds = draws.interval(float(values.mean()), draws.counts @ values / SESSIONS)
        missed += not bounds.low <= 0.0 <= bounds.high
    assert 30 <= missed <= 75


def test_no_rows_or_no_distribution_is_an_input_error():
    """A figure of nothing is not zero."""
    with pytest.raises(InputError):
        compare(np.zeros(0), {}, np.zeros(0, np.int64))
    with pytest.raises(InputError):
        compare(np.zeros(3), {"B0": np.zeros(2)}, np.zeros(3, np.int64))
    with pytest.raises(InputError):
        probability_report(np.array([[0.5, 0.4, 0.2]]), np.array([0]), np.array([0]))
    with pytest.raises(InputError):
        probability_report(np.full((1, 3), np.nan), np.array([0]), np.array([0]))


def test_blocks_of_a_day_are_five_minutes():
    """Within a day, rows of five minutes resemble each other."""
    ts = np.array([0, 299, 300, 601]) * 1_000_000_000 + 7
    assert time_blocks(ts).tolist() == [0, 0, 1, 2]


def forecasts(direction: float, activity: float, seed: int = 0) -> Forecasts:
    """A model that knows `direction` and `activity` of what is coming, beside baselines that know neither."""
    rng = np.random.default_rng(seed)
    n = SESSIONS * 400
    session = np.repeat(np.arange(SESSIONS), 400)
    signal, busy = rng.normal(size=n), rng.normal(size=n)
    logits = np.stack([-direction * signal, 0.3 - activity * busy, direction * signal], axis=1)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    jitter = rng.dirichlet([200, 240, 200], (4, n))
    names = ("B0 climatology", "B1 persistence", "B2 logistic", "B3 boosting")
    return Forecasts(y, session, True, p, dict(zip(names, jitter, strict=True)))


def test_knowing_that_it_will_move_is_not_knowing_where_to():
    """Activity can be foreseen in any market, a null one included: without direction there is no edge to claim."""
    restless = evaluate(forecasts(direction=0.0, activity=0.6))
    assert restless.trend.verdict is Verdict.BEATS
    assert restless.direction.verdict is Verdict.DOES_NOT_BEAT
    assert restless.verdict is Verdict.DOES_NOT_BEAT
    edge = evaluate(forecasts(direction=0.5, activity=0.0))
    assert edge.verdict is Verdict.BEATS


def test_direction_is_scored_on_moves_alone():
    """A fair coin costs ln 2 whatever it says about flat."""
    p = np.array([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6]])
    assert direction_loss_rows(p, np.array([2, 2])).tolist() == pytest.approx([np.log(2), -np.log(2 / 3)])
    assert log_loss_rows(p, np.array([2, 2]))[0] == pytest.approx(-np.log(0.1))
