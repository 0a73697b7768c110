"""Labels against a slow, obvious reckoning of the same thing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.jit import plain
from tidemark.models import labels as labels_module
from tidemark.models.brackets import BracketRule, variance_per_s
from tidemark.models.labels import (
    DOWN,
    EXPIRED,
    FLAT,
    STOPPED,
    UP,
    WIN,
    Quotes,
    bracket_outcomes,
    trend_by_events,
    trend_by_time,
    uniqueness,
)


def path(mids2: list[int], spread: int = 1, step_ns: int = 10) -> Quotes:
    """Quotes every `step_ns` with a constant spread; `mids2` are twice the mids, of the spread's parity."""
    mid2 = np.array(mids2, np.int64)
    return Quotes(np.arange(len(mid2)) * step_ns, (mid2 - spread) // 2, (mid2 + spread) // 2)


@st.composite
def quotes(draw: st.DrawFn) -> Quotes:
    n = draw(st.integers(2, 40))
    gaps = draw(st.lists(st.integers(0, 30), min_size=n, max_size=n))
    bids = np.cumsum(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))) + 1_000
    spreads = np.array(draw(st.lists(st.integers(1, 4), min_size=n, max_size=n)))
    return Quotes(np.cumsum(gaps).astype(np.int64), bids.astype(np.int64), (bids + spreads).astype(np.int64))


def mid2_at(q: Quotes, t: int) -> int:
    return int(q.mid2[[i for i, ts in enumerate(q.ts_ns) if ts <= t][-1]])


@settings(max_examples=150, deadline=None)
@given(quotes(), st.integers(-5, 400), st.integers(0, 40), st.integers(1, 60), st.sampled_from([0.0, 0.5, 1.3]))
def test_the_trend_is_the_time_weighted_mean_mid_against_the_mid_one_latency_later(
    q: Quotes, at: int, latency: int, horizon: int, fee: float
):
    """Nanosecond by nanosecond, without integrals: the same move, the same class, the same validity."""
    got = trend_by_time(q, np.array([at]), latency_ns=latency, horizon_ns=horizon, fee_ticks=fee)
    base = at + latency
    assert bool(got.valid[0]) == (base >= q.ts_ns[0] and base + horizon <= q.ts_ns[-1])
    assert got.end_ns[0] == base + horizon
    if not got.valid[0]:
        return
    mean2 = np.mean([mid2_at(q, t) for t in range(base, base + horizon)])
    move = (mean2 - mid2_at(q, base)) / 2
    i = int(q.at(np.array([base]))[0])
    threshold = (q.ask_ticks[i] - q.bid_ticks[i]) / 2 + fee
    assert got.move_ticks[0] == pytest.approx(move, abs=1e-9)
    assert (
        got.y[0] == (UP if move > threshold + 1e-12 else DOWN if move < -threshold - 1e-12 else FLAT) or abs(abs(move) - threshold) < 1e-9
    )


def test_the_label_by_events_averages_the_next_mids():
    """FI-2010's definition, from a base that can be traded."""
    q = path([2001, 2001, 2005, 2009, 2013, 2013])
    got = trend_by_events(q, np.array([10]), latency_ns=0, horizon_events=2, fee_ticks=0.0)
    assert got.move_ticks[0] == ((2005 + 2009) / 2 - 2001) / 2
    assert got.y[0] == UP
    assert got.end_ns[0] == 30
    assert not trend_by_events(q, np.array([40]), latency_ns=0, horizon_events=2, fee_ticks=0.0).valid[0]


def test_a_label_knows_nothing_before_its_latency_has_passed():
    """What happens between the decision and the first possible fill is neither gain nor loss."""
    early = path([2001, 2101, 2101, 2101, 2101])
    assert trend_by_time(early, np.array([0]), latency_ns=10, horizon_ns=20, fee_ticks=0.0).y[0] == FLAT
    assert trend_by_time(early, np.array([0]), latency_ns=0, horizon_ns=20, fee_ticks=0.0).y[0] == UP


@settings(max_examples=150, deadline=None)
@given(
    quotes(), st.integers(0, 300), st.sampled_from([1, -1]), st.integers(1, 6), st.integers(1, 6), st.integers(0, 20), st.integers(1, 80)
)
def test_a_bracket_ends_as_a_walk_along_the_quotes_says(q: Quotes, at: int, side: int, stop: int, target: int, latency: int, horizon: int):
    """A buyer pays the ask and sells at the bid; the first barrier met decides, and a stop slips to the quote that triggered it."""
    got = bracket_outcomes(q, np.array([at]), side, np.array([stop]), np.array([target]), latency_ns=latency, horizon_ns=horizon)
    seen = [i for i, ts in enumerate(q.ts_ns) if ts <= at + latency]
    expiry = at + latency + horizon
    assert bool(got.valid[0]) == (bool(seen) and expiry <= q.ts_ns[-1])
    if not got.valid[0]:
        return
    i = seen[-1]
    entry = q.ask_ticks[i] if side > 0 else q.bid_ticks[i]

    def gain(j: int) -> int:
        return int(q.bid_ticks[j] - entry if side > 0 else entry - q.ask_ticks[j])

    expected = (EXPIRED, gain(max(j for j, ts in enumerate(q.ts_ns) if ts <= expiry)), expiry)
    for j in range(i + 1, len(q.ts_ns)):
        if q.ts_ns[j] > expiry:
            break
        if gain(j) <= -stop:
            expected = (STOPPED, gain(j), int(q.ts_ns[j]))
            break
        if gain(j) >= target:
            expected = (WIN, target, int(q.ts_ns[j]))
            break
    assert (got.outcome[0], got.pnl_ticks[0], got.end_ns[0]) == expected


def test_the_compiled_walk_and_the_plain_one_agree(monkeypatch: pytest.MonkeyPatch):
    """One definition, compiled or not."""
    rng = np.random.default_rng(0)
    bids = np.cumsum(rng.integers(-2, 3, 500)) + 1_000
    q = Quotes(np.cumsum(rng.integers(1, 20, 500)), bids, bids + rng.integers(1, 3, 500))
    at = np.arange(0, 4_000, 37)
    arguments = (q, at, 1, np.full(len(at), 4), np.full(len(at), 6))
    compiled = bracket_outcomes(*arguments, latency_ns=7, horizon_ns=300)
    monkeypatch.setattr(labels_module, "_walk_brackets", plain(labels_module._walk_brackets))
    uncompiled = bracket_outcomes(*arguments, latency_ns=7, horizon_ns=300)
    for name in ("outcome", "pnl_ticks", "end_ns", "valid"):
        assert np.array_equal(getattr(compiled, name), getattr(uncompiled, name))
    assert {WIN, STOPPED, EXPIRED} <= set(compiled.outcome[compiled.valid].tolist())


def test_overlapping_labels_share_their_weight():
    """Ten labels of one move count about as one; labels that do not meet count whole."""
    alone = uniqueness(np.arange(0, 100, 10), np.arange(0, 100, 10) + 5)
    assert np.allclose(alone, 1.0)
    crowd = uniqueness(np.arange(10), np.full(10, 50))
    assert crowd.sum() < 3.5
    assert (crowd <= 1.0).all()
    assert (crowd > 0.0).all()


def test_bracket_distances_follow_volatility_between_their_bounds():
    """Wilder markets and wider spreads get wider stops, never nearer than the floor, and the reward keeps its ratio."""
    rule = BracketRule(sigma_mult=1.0, reward_risk=2.0, horizon_ns=4_000_000_000)
    stop, target = rule.distances(np.array([0.0, 4.0, 100.0, 1e15, 0.0]), np.array([1.0, 1.0, 1.0, 1.0, 30.0]))
    assert stop.tolist() == [4, 4, 20, 100_000, 60]
    assert target.tolist() == [8, 8, 40, 100_000, 120]


def test_variance_is_the_windows_mean_per_second():
    """`rv_10s` is a sum over ten seconds."""
    assert variance_per_s(np.array([[10.0, 30.0]], np.float32)).tolist() == [2.0]
