"""The loop around `step` and `emit` that both drivers share: events of one symbol in, grid rows out.

A grid row is due when the first event of a later grid step comes, or when time (`as_of_ns`) has passed its end; it shows the state
before that event. An event for a row that is already out still enters the state and is counted, and makes no second row.
"""

from typing import Any

import numpy as np

from tidemark.book.columns import kernel_columns, list_columns
from tidemark.events import EventBlock
from tidemark.features.arith import F64
from tidemark.features.catalogue import COUNT, GRID_NS
from tidemark.features.kernels import emit, step
from tidemark.features.layout import EMITTED, HAS_BOOK, LAST_RECV, LAST_SEQ, LAST_TS, LATE, PENDING, STATE_FLOATS, STATE_INTS
from tidemark.features.rows import FeatureRows
from tidemark.jit import JIT_ENABLED, scan_kernel


@scan_kernel
def put_row(ints: Any, floats: Any, constants: Any, heads: Any, values: Any, row: int) -> int:
    """Write the pending row as number `row`; returns the number of the next one. Without a book there is nothing to show."""
    made = 0
    if ints[HAS_BOOK] != 0:
        heads[row][0] = ints[PENDING]
        heads[row][1] = ints[LAST_TS]
        heads[row][2] = ints[LAST_RECV]
        heads[row][3] = ints[LAST_SEQ]
        emit(ints, floats, constants, values[row])
        made = 1
    ints[EMITTED] = ints[PENDING]
    ints[PENDING] = 0
    return row + made


@scan_kernel
def scan_grid(ints: Any, floats: Any, constants: Any, columns: Any, as_of_ns: int, heads: Any, values: Any) -> int:
    """Take all events of `columns` (codec order); rows go to `heads` (n, 4) and `values` (n, COUNT). Returns how many."""
    _, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty = columns
    row = 0
    for i in range(len(seq)):
        ts = event_ts_ns[i]
        grid = (ts // GRID_NS + 1) * GRID_NS
        if ints[PENDING] != 0 and grid > ints[PENDING]:
            row = put_row(ints, floats, constants, heads, values, row)
        step(ints, floats, constants, kind[i], aggressor[i], ts, px_ticks[i], qty[i])
        ints[LAST_RECV] = recv_ts_ns[i]
        ints[LAST_SEQ] = seq[i]
        if grid > ints[EMITTED]:
            ints[PENDING] = grid
        else:
            ints[LATE] += 1
    if ints[PENDING] != 0 and ints[PENDING] <= as_of_ns:
        row = put_row(ints, floats, constants, heads, values, row)
    return row


@scan_kernel
def scan_all(ints: Any, floats: Any, constants: Any, columns: Any, values: Any) -> None:
    """Take all events and write every column after each; a row without a book keeps what `values` held."""
    _, kind, aggressor, _, event_ts_ns, _, px_ticks, qty = columns
    for i in range(len(event_ts_ns)):
        step(ints, floats, constants, kind[i], aggressor[i], event_ts_ns[i], px_ticks[i], qty[i])
        if ints[HAS_BOOK] != 0:
            emit(ints, floats, constants, values[i])


def fresh_state() -> tuple[Any, Any]:
    """(ints, floats) before the first event: arrays for compiled kernels, lists for plain ones."""
    if JIT_ENABLED:
        return np.zeros(STATE_INTS, np.int64), np.zeros(STATE_FLOATS, np.float64)
    return [0] * STATE_INTS, [0.0] * STATE_FLOATS


def kernel_constants(constants: F64) -> Any:
    """Constants in the form that the kernels' form wants."""
    return constants if JIT_ENABLED else constants.tolist()


def take_grid(symbol: str, ints: Any, floats: Any, constants: Any, block: EventBlock, as_of_ns: int) -> FeatureRows:
    """Advance the state over a block of one symbol and return the rows that fell due."""
    steps = block.event_ts_ns // GRID_NS
    rows_max = int(np.count_nonzero(np.diff(steps))) + 2
    if JIT_ENABLED:
        heads, values = np.zeros((rows_max, 4), np.int64), np.zeros((rows_max, COUNT), np.float64)
        count = scan_grid(ints, floats, constants, kernel_columns(block), as_of_ns, heads, values)
    else:
        head_lists, value_lists = [[0] * 4 for _ in range(rows_max)], [[0.0] * COUNT for _ in range(rows_max)]
        count = scan_grid(ints, floats, constants, list_columns(block), as_of_ns, head_lists, value_lists)
        heads, values = np.array(head_lists, np.int64), np.array(value_lists, np.float64)
    grid, event_ts, recv_ts, seq = (np.ascontiguousarray(heads[:count, i]) for i in range(4))
    return FeatureRows(symbol, grid, event_ts, recv_ts, seq, values[:count].astype(np.float32))
