"""Features of recorded events at once: training, backtests, research. The same kernels and loop as the stream, so equal to the bit."""

import numpy as np

from tidemark.book.columns import kernel_columns, list_columns
from tidemark.book.quality import fresh_state as fresh_quality
from tidemark.book.quality import is_usable, scan_block
from tidemark.events import EventBlock
from tidemark.features.arith import F64
from tidemark.features.catalogue import COUNT
from tidemark.features.driver import fresh_state, kernel_constants, scan_all, take_grid
from tidemark.features.params import FeatureParams
from tidemark.features.rows import FeatureRows
from tidemark.jit import JIT_ENABLED
from tidemark.units import INT64_MAX


def usable_events(block: EventBlock) -> EventBlock:
    """Events of a block of one symbol that features may use; what a stream processor would pass on."""
    last_seq, last_ts_ns = fresh_quality(len(block.symbols), joined_midway=True)
    usable = is_usable(scan_block(block, last_seq, last_ts_ns))
    return block if bool(usable.all()) else block[usable]


def grid_rows(block: EventBlock, params: FeatureParams) -> FeatureRows:
    """All grid rows of one symbol's events, the last one included (nothing comes after them)."""
    assert len(block.symbols) == 1, "a block of one symbol"
    ints, floats = fresh_state()
    return take_grid(block.symbols[0], ints, floats, kernel_constants(params.constants()), usable_events(block), INT64_MAX)


def all_rows(block: EventBlock, params: FeatureParams) -> F64:
    """Every column after every usable event, (n, COUNT); NaN while there is no book yet."""
    assert len(block.symbols) == 1, "a block of one symbol"
    events = usable_events(block)
    ints, floats = fresh_state()
    constants = kernel_constants(params.constants())
    if JIT_ENABLED:
        values = np.full((len(events), COUNT), np.nan)
        scan_all(ints, floats, constants, kernel_columns(events), values)
        return values
    rows = [[float("nan")] * COUNT for _ in range(len(events))]
    scan_all(ints, floats, constants, list_columns(events), rows)
    return np.array(rows, np.float64).reshape(len(events), COUNT)
