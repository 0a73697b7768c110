"""What an event costs: `python -m tidemark.features.bench` prints both figures as JSON.

CPU time of this process, so that a busy machine's waiting does not count (its shared caches and cores still do); medians over blocks.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from tidemark.book.columns import kernel_columns, list_columns
from tidemark.book.quality import fresh_state as fresh_quality
from tidemark.book.quality import scan_block
from tidemark.events import EventBlock
from tidemark.features.catalogue import COUNT
from tidemark.features.driver import fresh_state, kernel_constants, scan_all, take_grid
from tidemark.features.kernels import step
from tidemark.features.layout import HAS_BOOK
from tidemark.features.params import DEFAULT_PARAMS
from tidemark.features.synthetic import SYMBOL, synthetic_block
from tidemark.jit import JIT_ENABLED

SCAN_EVENTS: Final = 2_000_000
STEP_EVENTS: Final = 100_000
_BLOCK_EVENTS: Final = 4_096
"""Events at a time: what a stream carries in some seconds; their output stays in the cache, as a reader right behind would find it."""


def bench_scan(events: int = SCAN_EVENTS) -> dict[str, float]:
    """Nanoseconds per event of the scans over about `events` events.

    quality_ns   the validator
    grid_ns      state update and the columns of the grid rows: what training, backtests and the stream do
    every_ns     state update and all COUNT columns after every event: what research may do
    production_ns, all_columns_ns   the validator together with either
    *_best_ns    the same of the quickest tenth of blocks: nearer to what an idle machine takes, where another load shares the core
    """
    assert events >= _BLOCK_EVENTS
    constants = kernel_constants(DEFAULT_PARAMS.constants())
    quality_state, grid_state, every_state = fresh_quality(1), fresh_state(), fresh_state()
    values = np.empty((_BLOCK_EVENTS, COUNT)) if JIT_ENABLED else [[0.0] * COUNT for _ in range(_BLOCK_EVENTS)]
    names = ("quality", "grid", "every")
    times: dict[str, list[float]] = {name: [] for name in names}
    for block in _blocks(events):
        columns = kernel_columns(block) if JIT_ENABLED else list_columns(block)
        times["quality"].append(_timed(lambda b=block: scan_block(b, *quality_state), len(block)))  # type: ignore[misc]
        times["grid"].append(_timed(lambda b=block: take_grid(SYMBOL, *grid_state, constants, b, 0), len(block)))  # type: ignore[misc]
        times["every"].append(_timed(lambda c=columns: scan_all(*every_state, constants, c, values), len(block)))  # type: ignore[misc]
    assert every_state[0][HAS_BOOK]
    result: dict[str, float] = {}
    for suffix, figure in (("_ns", statistics.median), ("_best_ns", _quick)):
        quality, grid, every = (figure(times[name][1:]) for name in names)  # the first block compiles
        sums = {"quality": quality, "grid": grid, "every": every, "production": quality + grid, "all_columns": quality + every}
        result.update({name + suffix: round(value, 1) for name, value in sums.items()})
    return {"columns": COUNT, "events": events, **result}


def bench_step(events: int = STEP_EVENTS) -> dict[str, float]:
    """Nanoseconds per event of `step` called from Python for each of `events` events, its arguments at hand; and of the bare loop."""
    constants = kernel_constants(DEFAULT_PARAMS.constants())
    ints, floats = fresh_state()
    step_ns, loop_ns = [], []
    for block in _blocks(events):
        rows = list(zip(block.kind.tolist(), block.aggressor.tolist(), block.event_ts_ns.tolist(), *_rows(block), strict=True))

        def take(rows: list[tuple[int, int, int, object, object]] = rows) -> None:
            for kind, aggressor, ts, px_ticks, qty in rows:
                step(ints, floats, constants, kind, aggressor, ts, px_ticks, qty)

        def loop(rows: list[tuple[int, int, int, object, object]] = rows) -> None:
            for _kind, _aggressor, _ts, _px_ticks, _qty in rows:
                pass

        step_ns.append(_timed(take, len(block)))
        loop_ns.append(_timed(loop, len(block)))
    return {"events": events, "step_ns": round(statistics.median(step_ns[1:]), 1), "loop_ns": round(statistics.median(loop_ns[1:]), 1)}


def _rows(block: EventBlock) -> tuple[list[object], list[object]]:
    if JIT_ENABLED:
        return list(block.px_ticks), list(block.qty)
    return block.px_ticks.tolist(), block.qty.tolist()


def _blocks(events: int) -> Iterator[EventBlock]:
    """Consecutive blocks with at least `events` events in all: one made-up stretch, repeated later and later."""
    stretch = synthetic_block(min(events, 16 * _BLOCK_EVENTS) // _BLOCK_EVENTS * _BLOCK_EVENTS)
    span_ns = int(stretch.event_ts_ns[-1] - stretch.event_ts_ns[0])
    for start in range(0, events, len(stretch)):
        shift_ns = span_ns * (start // len(stretch))
        times = {name: getattr(stretch, name) + shift_ns for name in ("event_ts_ns", "recv_ts_ns")}
        moved = replace(stretch, seq=stretch.seq + start, **times)
        for first in range(0, min(len(moved), events - start), _BLOCK_EVENTS):
            yield moved[first : first + _BLOCK_EVENTS]


def _quick(times_ns: list[float]) -> float:
    return sorted(times_ns)[len(times_ns) // 10]


def _timed(call: Callable[[], object], events: int) -> float:
    """Nanoseconds of CPU time per event."""
    start = time.process_time_ns()
    call()
    return (time.process_time_ns() - start) / events


if __name__ == "__main__":
    few = not JIT_ENABLED
    figures = {
        "compiled": JIT_ENABLED,
        "scan": bench_scan(20_480 if few else SCAN_EVENTS),
        "step": bench_step(20_480 if few else STEP_EVENTS),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
