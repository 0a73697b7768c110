"""The fitted micro-price table against a chain whose answer is known, and against its own simulation."""

import numpy as np
import pytest

from tidemark.errors import InputError
from tidemark.events import LEVELS, EventBlock, empty_block
from tidemark.features.microprice import fit_micro_table
from tidemark.features.params import FeatureParams
from tidemark.features.prior import MICRO_BUCKETS, MICRO_SPREADS
from tidemark.units import NS_PER_MS


def books(mid2: np.ndarray, bid_qty: np.ndarray, spread: int = 1) -> EventBlock:
    """Depth rows with these mids (half-ticks, of the spread's parity) and bid sizes out of 100 at the touch."""
    count = len(mid2)
    block = empty_block(["AA"], count)
    block.seq[:] = np.arange(1, count + 1)
    block.event_ts_ns[:] = block.recv_ts_ns[:] = 10**18 + np.arange(count) * NS_PER_MS
    bid = (mid2 - spread) // 2
    block.px_ticks[:, :LEVELS] = bid[:, None] - np.arange(LEVELS)
    block.px_ticks[:, LEVELS:] = bid[:, None] + spread + np.arange(LEVELS)
    block.qty[:] = 1
    block.qty[:, 0], block.qty[:, LEVELS] = bid_qty, 100 - bid_qty
    return block


def market(seed: int, count: int, up_chance: np.ndarray) -> EventBlock:
    """Each step: with 30 % the mid moves one tick, up with the bucket's chance, and a fresh imbalance is drawn; else nothing changes."""
    rng = np.random.default_rng(seed)
    moves = rng.random(count) < 0.3
    fresh = rng.integers(0, MICRO_BUCKETS, count)
    at = np.maximum.accumulate(np.where(moves, np.arange(count), 0))
    bucket = fresh[at]
    before = np.r_[bucket[0], bucket[:-1]]
    step = np.where(moves, np.where(rng.random(count) < up_chance[before], 2, -2), 0)
    return books(20_001 + np.cumsum(step), bucket * 10 + 5)


def test_the_table_is_the_expected_move_of_a_chain_whose_moves_are_independent() -> None:
    """Fresh imbalance after each move: later moves cancel, so the answer is the first move's mean, 2p - 1 ticks."""
    up_chance = 0.5 + 0.04 * (np.arange(MICRO_BUCKETS) - 4.5)
    table = np.array(fit_micro_table([market(1, 200_000, up_chance)]))
    assert table.shape == (MICRO_BUCKETS, MICRO_SPREADS)
    np.testing.assert_allclose(table[:, 0], 2 * up_chance - 1, atol=0.03)
    assert not table[:, 1:].any(), "spreads that never occurred stay at the mid"


def test_the_table_is_antisymmetric_whatever_the_sample() -> None:
    """A market that only rose must not make a table that leans upwards: both sides are counted as one."""
    table = np.array(fit_micro_table([market(2, 5_000, np.full(MICRO_BUCKETS, 0.9))]))
    np.testing.assert_array_equal(table, -table[::-1])


def test_moves_that_follow_moves_are_added_up() -> None:
    """A heavy bid that is always followed by two ups, then an end in balance: two ticks, not the first one's one."""
    cycle_up, cycle_down = [(2, 95), (2, 55), (0, 45)], [(-2, 5), (-2, 45), (0, 55)]
    rows = (cycle_up + cycle_down) * 400
    step, bid_qty = np.array(rows).T
    table = np.array(fit_micro_table([books(20_001 + np.cumsum(step), bid_qty)]))
    assert table[9, 0] > 1.0
    assert table[0, 0] == -table[9, 0]


def test_the_result_is_a_legal_parameter_and_blocks_add_up() -> None:
    """It goes straight into FeatureParams; the order of sessions does not matter."""
    parts = [market(seed, 2_000, np.linspace(0.3, 0.7, MICRO_BUCKETS)) for seed in (3, 4)]
    table = fit_micro_table(parts)
    assert FeatureParams(micro_table=table).schema_hash != FeatureParams().schema_hash
    np.testing.assert_allclose(table, fit_micro_table(parts[::-1]), atol=1e-12)


def test_data_without_books_are_refused() -> None:
    """A table of zeros would look like a result."""
    with pytest.raises(InputError, match="no two consecutive books"):
        fit_micro_table([empty_block(["AA"], 0)])
