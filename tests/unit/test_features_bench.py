"""The benchmark measures the real scans; its figures are only as good as its events."""

import numpy as np

from tidemark.book.quality import fresh_state, scan_block
from tidemark.events import Kind
from tidemark.features.bench import bench_scan, bench_step
from tidemark.features.synthetic import synthetic_block


def test_the_made_up_events_are_sound_and_busy() -> None:
    """A damaged stream would be scanned by another, quicker way; one without trades or moves would flatter the state update."""
    block = synthetic_block(5_000)
    assert not scan_block(block, *fresh_state(1)).any()
    assert 0.05 < np.mean(block.kind == Kind.TRADE) < 0.15
    books = block.px_ticks[block.kind == Kind.DEPTH]
    assert 0.05 < np.mean((np.diff(books, axis=0) != 0).any(axis=1)) < 0.3


def test_the_figures_add_up_and_stay_far_from_absurd() -> None:
    """Bounds a hundred times the usual figure: they catch a scan that fell out of compilation, not a busy machine."""
    scan, step = bench_scan(20_480), bench_step(8_192)
    assert 0 < scan["quality_ns"] < scan["production_ns"] < 600_000
    assert abs(scan["production_ns"] - scan["quality_ns"] - scan["grid_ns"]) < 0.2
    assert scan["production_best_ns"] <= scan["production_ns"]
    assert 0 < step["loop_ns"] < step["step_ns"] < 200_000
