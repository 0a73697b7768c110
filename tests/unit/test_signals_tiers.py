"""Tiers are earned by trades and lost by default."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from tidemark.errors import InputError
from tidemark.signals.messages import Tier
from tidemark.signals.tiers import Cell, TierGate, TradeRecord, clopper_pearson_low, qualify, score_bin

CELL = Cell("trend", "us_equity_index", 20_000_000_000, "any", 14)


def trades(count: int, win_share: float, *, sessions: int = 60, reward_risk: float = 2.0, seed: int = 0) -> list[TradeRecord]:
    """`count` trades spread over `sessions` and months, with close to `win_share` of wins, evenly mixed."""
    rng = np.random.default_rng(seed)
    won = rng.permutation(np.arange(count) < round(count * win_share))
    return [
        TradeRecord(
            session_i=i % sessions,
            date=f"2026-{1 + (i % sessions) * 6 // sessions:02d}-{1 + i % 28:02d}",
            won=bool(won[i]),
            result_r=reward_risk if won[i] else -1.0,
            reward_risk=reward_risk,
        )
        for i in range(count)
    ]


def earned(records: list[TradeRecord], *, cells: int = 1, now: int = 60, gates: bool = True) -> Tier | None:
    found = qualify(CELL, records, cells_examined=cells, sessions_now=now, gates_passed=gates, data_hash="d" * 64)
    return None if found is None else found.tier


def test_without_evidence_everything_is_untiered():
    """The normal state: no cell qualifies."""
    assert TierGate().tier(CELL) == (Tier.UNTIERED, None)


def test_enough_wins_earn_the_tier_and_the_signal_names_them():
    """86 % of 400 trades bound the win rate above 80 %."""
    found = qualify(CELL, trades(400, 0.86), cells_examined=1, sessions_now=60, gates_passed=True, data_hash="d" * 64)
    assert found is not None
    assert found.tier is Tier.TIER1
    gate = TierGate.from_json(json.loads(json.dumps(TierGate({CELL: found}).to_json())))
    assert gate.tier(CELL) == (Tier.TIER1, found.evidence_id)
    assert gate.tier(replace(CELL, score_bin=13)) == (Tier.UNTIERED, None)


@pytest.mark.parametrize(
    ("win_share", "reward_risk", "tier"),
    [
        (0.86, 2.0, Tier.TIER1),
        (0.86, 1.5, Tier.TIER2),
        (0.77, 2.0, Tier.TIER2),
        (0.67, 1.0, Tier.TIER3),
        (0.86, 0.9, None),
        (0.6, 2.0, None),
    ],
)
def test_win_rate_and_reward_must_both_hold(win_share: float, reward_risk: float, tier: Tier | None):
    """Many small wins are not a better tier; a win rate at the tier's figure is not a bound above it."""
    assert earned(trades(400, win_share, reward_risk=reward_risk)) == tier


def test_each_further_condition_alone_refuses():
    """Too few trades, too few sessions, too old, one lucky month, a gate that fails."""
    good = trades(400, 0.9)
    assert earned(good) is Tier.TIER1
    assert earned(trades(49, 1.0)) is None
    assert earned(trades(400, 0.9, sessions=19)) is None
    assert earned(good, now=59 + 61) is None
    assert earned([replace(one, date="2026-03-01") for one in good]) is None
    assert earned(good, gates=False) is None


def test_looking_at_many_cells_costs_evidence():
    """The best of a thousand worthless cells looks good: the more were looked at, the more a bound must show."""
    close = trades(200, 0.86)
    assert earned(close) is Tier.TIER1
    assert earned(close, cells=1_000) is not Tier.TIER1


def test_wins_that_come_in_lucky_sessions_count_as_sessions():
    """All wins in some sessions and none in others: the session bootstrap sees few independent outcomes, Clopper-Pearson does not."""
    spread = trades(400, 0.85, sessions=20)
    clustered = [replace(one, won=one.session_i >= 3, result_r=2.0 if one.session_i >= 3 else -1.0) for one in spread]
    assert sum(one.won for one in clustered) == sum(one.won for one in spread)
    assert earned(spread) is Tier.TIER1
    assert earned(clustered) is not Tier.TIER1


def test_of_worthless_cells_next_to_none_qualifies():
    """Two hundred cells of coin-like trades, as they would be mined: not one may reach a tier."""
    base = 1 / 3  # first-touch chance of a 2:1 bracket without an edge
    assert [earned(trades(60, base + 0.02 * (i % 7), seed=i), cells=200) for i in range(200)] == [None] * 200


@given(trials=st.integers(1, 400), data=st.data(), alpha=st.sampled_from([0.05, 0.01, 0.0005]))
def test_the_bound_is_clopper_and_pearsons(trials: int, data: st.DataObject, alpha: float):
    """Against the beta quantile of an independent library."""
    wins = data.draw(st.integers(0, trials))
    expected = 0.0 if wins == 0 else beta.ppf(alpha, wins, trials - wins + 1)
    assert clopper_pearson_low(wins, trials, alpha) == pytest.approx(expected, abs=1e-9)


def test_a_table_whose_figures_do_not_earn_its_tiers_is_refused():
    """An edited file must not lift a signal."""
    found = qualify(CELL, trades(400, 0.86), cells_examined=1, sessions_now=60, gates_passed=True, data_hash="d" * 64)
    assert found is not None
    entry = TierGate({CELL: found}).to_json()[0]
    for change in (
        {"bound": 0.79},
        {"trades": 49},
        {"sessions": 5},
        {"expectancy_low_r": 0.0},
        {"tier": "UNTIERED"},
        {"wins": 500},
        {"more": 1},
    ):
        with pytest.raises(InputError):
            TierGate.from_json([{**entry, **change}])
    with pytest.raises(InputError):
        TierGate.from_json({"cells": []})


def test_score_bins_are_twentieths():
    """0 to 19, the upper end included."""
    assert [score_bin(p) for p in (0.0, 0.049, 0.05, 0.7, 1.0)] == [0, 0, 1, 14, 19]
