"""The features against a third implementation, and against the future."""

import numpy as np
import pytest

from feature_oracle import oracle_rows
from feature_worlds import SYMBOL, random_events
from tidemark.book.quality import fresh_state, scan_block
from tidemark.events import EventBlock
from tidemark.features.batch import all_rows, grid_rows
from tidemark.features.catalogue import COUNT, GRID_NS, NAMES
from tidemark.features.params import DEFAULT_PARAMS, FeatureParams

FITTED = FeatureParams(
    micro_table=tuple(tuple(0.01 * (10 * spread + bucket) - 0.1 for spread in range(3)) for bucket in range(10)),
    iofi_loadings=(0.3, -0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, -0.05, 0.05),
)


@pytest.mark.parametrize("seed", range(6))
def test_every_column_equals_its_formula(seed: int) -> None:
    """All columns after every event, computed twice by code that shares nothing. Differences allowed: the last digits of a float."""
    block = random_events(seed, 300)
    values, expected = all_rows(block, FITTED), oracle_rows(block, FITTED)
    assert values.shape == (len(block), COUNT)
    for i, row in enumerate(expected):
        if row is None:
            assert np.isnan(values[i]).all(), f"row {i} has no book"
            continue
        assert set(row) == set(NAMES)
        wanted = np.array([row[name] for name in NAMES])
        wrong = ~np.isclose(values[i], wanted, rtol=1e-9, atol=1e-9)
        assert not wrong.any(), [(NAMES[k], values[i, k], wanted[k]) for k in np.flatnonzero(wrong)]


def test_the_random_worlds_reach_every_hard_case() -> None:
    """Else the test above would prove little: no defect anywhere, yet silences, holes, ties, unknown aggressors and large sizes."""
    blocks = [random_events(seed, 300) for seed in range(6)]
    for block in blocks:
        assert not scan_block(block, *fresh_state(1)).any()
    gaps = np.concatenate([np.diff(block.event_ts_ns) for block in blocks])
    assert (gaps >= 900 * 10**9).any()
    assert (gaps == 0).any()
    assert any(((block.kind == 0) & (block.qty[:, 9] == 0)).any() for block in blocks)
    assert any(((block.kind == 1) & (block.aggressor == 0)).any() for block in blocks)
    assert any((block.qty > 8_192).any() for block in blocks)


@pytest.mark.parametrize("keep", [1, 57, 140, 299])
def test_the_future_changes_no_row(keep: int) -> None:
    """Rows of a truncated stream equal the same rows of the whole one to the bit: nothing looks ahead."""
    block = random_events(11, 300)
    whole, part = all_rows(block, DEFAULT_PARAMS), all_rows(block[:keep], DEFAULT_PARAMS)
    np.testing.assert_array_equal(whole[:keep], part)


def test_a_grid_row_is_the_state_after_the_last_event_before_its_grid_time() -> None:
    """g has a row iff an event lies in [g - 250 ms, g) with a book known, and the row is that of the last such event."""
    block = random_events(5, 300)
    rows, every = grid_rows(block, DEFAULT_PARAMS), all_rows(block, DEFAULT_PARAMS)
    grids = (block.event_ts_ns // GRID_NS + 1) * GRID_NS
    expected = {}
    for i, grid in enumerate(grids.tolist()):
        expected[grid] = i
    last = [i for i in expected.values() if not np.isnan(every[i]).any()]
    assert rows.symbol == SYMBOL
    np.testing.assert_array_equal(rows.grid_ts_ns, grids[last])
    np.testing.assert_array_equal(rows.event_ts_ns, block.event_ts_ns[last])
    np.testing.assert_array_equal(rows.recv_ts_ns, block.recv_ts_ns[last])
    np.testing.assert_array_equal(rows.seq, block.seq[last])
    np.testing.assert_array_equal(rows.values, every[last].astype(np.float32))
    assert (rows.event_ts_ns < rows.grid_ts_ns).all()


def test_unusable_events_leave_no_trace() -> None:
    """A crossed book between two good ones is quarantined: the features are those of the stream without it."""
    block = random_events(3, 200)
    crossed = int(np.flatnonzero(block.kind == 0)[50])
    bad = EventBlock(block.symbols, *(column.copy() for column in block.columns()))
    bad.px_ticks[crossed, :10] += 1_000
    keep = np.arange(len(block)) != crossed
    np.testing.assert_array_equal(all_rows(bad, DEFAULT_PARAMS), all_rows(block[keep], DEFAULT_PARAMS))


def test_no_events_make_no_rows() -> None:
    """The smallest input."""
    block = random_events(1, 0)
    assert all_rows(block, DEFAULT_PARAMS).shape == (0, COUNT)
    assert len(grid_rows(block, DEFAULT_PARAMS)) == 0
