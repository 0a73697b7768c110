"""Probabilities that mean what they say, and silence where the validation part shows no edge."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.errors import InputError
from tidemark.models.calibration import (
    Calibration,
    HorizonCalibration,
    WinMap,
    direction_evidence,
    fit_horizon,
    fit_win_map,
    mean_loss_frac,
)


def world(n: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores whose true log-odds are 1 / `scale` of what they say, outcomes drawn from them, and blocks of 20."""
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((n, 2))
    p = HorizonCalibration(1.0, 1.0, 0.3).probabilities(true)
    y = (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    return true * scale, y, np.arange(n) // 20


def test_overconfident_scores_are_cooled_to_the_truth():
    """A network three times too sure gets a third of its say, and the bias comes back."""
    scores, y, block = world(20_000, scale=3.0)
    fitted, z = fit_horizon(scores, y, block)
    assert fitted.odd == pytest.approx(1 / 3, abs=0.02)
    assert fitted.even == pytest.approx(1 / 3, abs=0.02)
    assert fitted.bias == pytest.approx(0.3, abs=0.05)
    assert z > 10


def test_scores_without_any_edge_get_no_direction():
    """On twenty worlds of noise the direction is switched off in nearly all, and then up and down are exactly alike."""
    off = 0
    for seed in range(20):
        scores, _, block = world(2_000, scale=1.0, seed=seed)
        y = np.random.default_rng(seed + 100).integers(0, 3, len(scores))
        fitted, _ = fit_horizon(scores, y, block)
        off += fitted.odd == 0.0
        p = fitted.probabilities(scores)
        assert fitted.odd > 0.0 or np.array_equal(p[:, 0], p[:, 2])
    assert off >= 18


def test_evidence_counts_blocks_not_rows():
    """A thousand copies of one moment are one observation."""
    scores, y, _ = world(200, scale=1.0)
    fitted = HorizonCalibration(1.0, 1.0, 0.3)
    once = direction_evidence(fitted, scores, y, np.arange(200))
    copied = direction_evidence(fitted, np.repeat(scores, 10, axis=0), np.repeat(y, 10), np.repeat(np.arange(200), 10))
    assert copied == pytest.approx(once, rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([50, 6_000]), st.floats(-2, 2))
def test_a_win_map_never_falls_and_never_leaves_zero_to_one(seed: int, n: int, slope: float):
    """A better score must not mean a worse chance, even where noise says so; both forms of the map keep that."""
    rng = np.random.default_rng(seed)
    score = rng.standard_normal(n)
    won = rng.random(n) < 1 / (1 + np.exp(-slope * score))
    fitted = fit_win_map(score, won, np.ones(n))
    assert fitted.kind == ("isotonic" if n >= 2_000 else "logistic")
    p = np.array([fitted(value) for value in np.linspace(-10, 10, 101)])
    assert (np.diff(p) >= 0).all()
    assert 0 <= p.min() <= p.max() <= 1


def test_a_win_map_learns_the_chance():
    """With plenty of brackets the map is within two points of the truth where the brackets are."""
    rng = np.random.default_rng(3)
    score = rng.standard_normal(40_000)
    truth = 1 / (1 + np.exp(-(score - 0.4)))
    fitted = fit_win_map(score, rng.random(40_000) < truth, np.ones(40_000))
    for value in (-1.0, 0.0, 1.0):
        assert fitted(value) == pytest.approx(1 / (1 + np.exp(-(value - 0.4))), abs=0.03)


def test_without_a_score_every_bracket_has_the_base_rate():
    """A model without an opinion must not prefer a side."""
    fitted = fit_win_map(np.zeros(500), np.arange(500) < 150, np.ones(500))
    assert fitted(-3.0) == fitted(3.0) == pytest.approx(0.3)


def test_losses_are_measured_in_stops():
    """A stop that slips loses more than one; an expiry in profit less than none."""
    pnl, stop, won = np.array([-5, -4, 2, 8]), np.array([4, 4, 4, 4]), np.array([False, False, False, True])
    assert mean_loss_frac(pnl, stop, won, np.ones(4)) == pytest.approx((5 + 4 - 2) / 4 / 3)
    assert mean_loss_frac(pnl, stop, np.ones(4, bool), np.ones(4)) == 1.0


GOOD = Calibration((HorizonCalibration(1.0, 0.5, 0.1),), (3.0,), WinMap("logistic", (-1.0, 1.0), (0.2, 0.7)), 0.9, 1.1)


def test_a_calibration_survives_its_file():
    """JSON keeps every digit."""
    assert Calibration.from_json(json.loads(json.dumps(GOOD.to_json()))) == GOOD


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("win", "p"), [0.7, 0.2]),
        (("win", "p"), [0.2, 1.2]),
        (("win", "x"), [1.0, 1.0]),
        (("win", "x"), [0.0]),
        (("loss_frac",), float("nan")),
        (("loss_frac",), "1"),
        (("horizons",), []),
        (("horizons",), [{"odd": 1.0}]),
    ],
)
def test_a_calibration_that_cannot_be_true_is_refused(path: tuple[str, ...], value: object):
    """A map that falls, a chance above one, a NaN: each would size orders wrongly in silence."""
    spec = json.loads(json.dumps(GOOD.to_json()))
    at = spec
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    if value == "1":
        assert Calibration.from_json(spec).loss_frac == 1.0  # text of a number is a number here; anything else is not
        return
    with pytest.raises(InputError):
        Calibration.from_json(spec)
