"""Invariants of every simulated block, whatever the choices."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.market import MarketConfig, simulate
from tidemark.market.config import MARKETS, SYMBOLS
from tidemark.market.timeline import GRID_US

configs = st.builds(
    MarketConfig,
    market=st.sampled_from(MARKETS),
    symbols=st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True).map(tuple),
    minutes=st.integers(1, 3),
    sessions=st.integers(1, 2),
    seed=st.integers(0, 2**63 - 1),
    rate=st.floats(0.05, 4.0),
)


@settings(max_examples=30, deadline=None)
@given(configs)
def test_every_simulated_block_is_a_clean_feed(config: MarketConfig) -> None:
    """Books uncrossed and filled, levels ordered, seq without holes over sessions, times in order, trades at the touch they hit."""
    last_seq = dict.fromkeys(config.symbols, 0)
    last_ts = 0
    for _, block in simulate(config).sessions:
        check_feed_order(block)
        assert block.event_ts_ns[0] >= last_ts
        last_ts = int(block.event_ts_ns[-1])
        for index, symbol in enumerate(config.symbols):
            rows = block[block.symbol_i == index]
            np.testing.assert_array_equal(rows.seq, last_seq[symbol] + 1 + np.arange(len(rows)))
            last_seq[symbol] = int(rows.seq[-1])
            assert (np.diff(rows.event_ts_ns) > 0).all()
            check_books(rows[rows.kind == Kind.DEPTH])
            check_trades(rows)


def check_feed_order(block: EventBlock) -> None:
    order = np.lexsort((block.seq, block.symbol_i, block.event_ts_ns))
    np.testing.assert_array_equal(order, np.arange(len(block)))
    latency = block.recv_ts_ns - block.event_ts_ns
    assert (np.diff(block.recv_ts_ns) >= 0).all()
    assert latency.min() > 0
    assert latency.max() <= 100_000_000


def check_books(books: EventBlock) -> None:
    bid, ask = books.px_ticks[:, :LEVELS], books.px_ticks[:, LEVELS:]
    assert (np.diff(bid, axis=1) < 0).all()
    assert (np.diff(ask, axis=1) > 0).all()
    assert (ask[:, 0] > bid[:, 0]).all()
    assert (books.qty > 0).all()
    assert (books.aggressor == 0).all()


def check_trades(rows: EventBlock) -> None:
    """A trade prints at the touch of the book before it, for no more than was shown; its effect is the next row, in one grid cell."""
    at = np.flatnonzero(rows.kind == Kind.TRADE)
    if not len(at):
        return
    before, after = at - 1, at + 1
    assert (rows.kind[before] == Kind.DEPTH).all()
    assert (rows.kind[after] == Kind.DEPTH).all()
    bought = rows.aggressor[at] == 1
    assert (bought | (rows.aggressor[at] == -1)).all()
    touch = np.where(bought, LEVELS, 0)
    np.testing.assert_array_equal(rows.px_ticks[at, 0], rows.px_ticks[before, touch])
    assert (rows.qty[at, 0] > 0).all()
    assert (rows.qty[at, 0] <= rows.qty[before, touch]).all()
    consumed = np.where(bought, rows.px_ticks[after, touch] > rows.px_ticks[at, 0], rows.px_ticks[after, touch] < rows.px_ticks[at, 0])
    reduced = rows.qty[after, touch] == rows.qty[before, touch] - rows.qty[at, 0]
    assert (consumed | reduced).all()
    np.testing.assert_array_equal(rows.event_ts_ns[at] // (GRID_US * 1_000), rows.event_ts_ns[after] // (GRID_US * 1_000))
