"""The latency model of replays: seeded, bounded, skewed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidemark.signals.latency import LATENCY_NS_MAX, LATENCY_NS_MIN, seeded_latency_ns
from tidemark.units import NS_PER_MS


@given(st.integers(), st.text(max_size=50))
def test_every_latency_lies_between_floor_and_cap(seed: int, name: str):
    """120 to 400 ms: under the floor would be a wish, above the cap the execution side refuses anyway."""
    assert LATENCY_NS_MIN == 120 * NS_PER_MS <= seeded_latency_ns(seed, name) < 400 * NS_PER_MS == LATENCY_NS_MAX


def test_the_same_seed_and_id_give_the_same_latency_anywhere():
    """Pinned: a figure that moved would make old replays disagree with new ones."""
    assert [seeded_latency_ns(7, f"ES-{i}-x") for i in range(3)] == [132_534_507, 179_287_974, 172_350_802]


def test_the_tail_is_long_to_the_late_side():
    """Half below 150 ms, a tenth above 180, few beyond 255; the mean above the median."""
    drawn = np.array([seeded_latency_ns(1, str(i)) for i in range(20_000)]) / NS_PER_MS
    assert abs(np.median(drawn) - 150) < 1.5
    assert abs((drawn > 255).mean() - 51 / 1024) < 0.008
    assert drawn.mean() > np.median(drawn)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03
