"""Made-up but sound events of one symbol, for warming up and timing kernels. Not a market: market/ has the simulator."""

from typing import Final

import numpy as np

from tidemark.events import LEVELS, EventBlock, Kind, empty_block
from tidemark.units import NS_PER_MS

SYMBOL: Final = "SYNTH"
START_NS: Final = 1_700_000_000_000_000_000
GAP_NS_MEAN: Final = 5 * NS_PER_MS
"""200 events a second: a busy index future. Decides how often a window opens a slot, hence the cost of an event."""
_RECV_DELAY_NS: Final = NS_PER_MS
_TRADE_FRAC: Final = 0.1
_MOVE_FRAC: Final = 0.05  # of the events move the book by a tick
_PRICE_TICKS: Final = 20_000
_QTY_MAX: Final = 400


def synthetic_block(count: int, *, seed: int = 1, gap_ns_mean: int = GAP_NS_MEAN) -> EventBlock:
    """`count` events (the first is a book) with exponential gaps: a random walk of prices, one size changed per event, 10 % trades."""
    rng = np.random.default_rng(seed)
    block = empty_block([SYMBOL], count)
    block.seq[:] = np.arange(1, count + 1)
    block.event_ts_ns[:] = START_NS + np.cumsum(rng.exponential(gap_ns_mean, count).astype(np.int64))
    block.recv_ts_ns[:] = block.event_ts_ns + _RECV_DELAY_NS
    is_trade = rng.random(count) < _TRADE_FRAC
    is_trade[:1] = False
    bid = _PRICE_TICKS + np.cumsum(np.where(rng.random(count) < _MOVE_FRAC, rng.choice([-1, 1], count), 0))
    spread = 1 + (rng.random(count) < _MOVE_FRAC)
    steps = np.arange(LEVELS)
    block.px_ticks[:, :LEVELS] = bid[:, None] - steps
    block.px_ticks[:, LEVELS:] = (bid + spread)[:, None] + steps
    block.qty[:] = _changing_sizes(rng, count)
    trades = np.flatnonzero(is_trade)
    buys = rng.random(len(trades)) < 0.5
    block.kind[trades] = Kind.TRADE
    block.aggressor[trades] = np.where(buys, 1, -1)
    price, size = np.where(buys, bid[trades] + spread[trades], bid[trades]), rng.integers(1, 20, len(trades))
    none = empty_block([SYMBOL], len(trades))
    none.px_ticks[:, 0], none.qty[:, 0] = price, size
    block.px_ticks[trades], block.qty[trades] = none.px_ticks, none.qty
    return block


def _changing_sizes(rng: np.random.Generator, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Sizes (count, 20) in which one level changes per row."""
    sizes = np.empty((count, 2 * LEVELS), np.int64)
    level, value = rng.integers(0, 2 * LEVELS, count), rng.integers(1, _QTY_MAX, count)
    for column in range(2 * LEVELS):
        last = np.maximum.accumulate(np.where(level == column, np.arange(count), -1))
        sizes[:, column] = np.where(last >= 0, value[last], 50 + column)
    return sizes
