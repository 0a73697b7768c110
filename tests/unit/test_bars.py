"""One-minute bars: exact, only after their end, the same however the stream is cut."""

from hypothesis import given
from hypothesis import strategies as st

from tidemark.events import Trade, block_of
from tidemark.features.bars import Bar, BarBuilder
from tidemark.units import NS_PER_MIN, NS_PER_S

START_NS = 1_700_000_000_000_000_000 // NS_PER_MIN * NS_PER_MIN


def trade(second: int, ticks: int, qty: int) -> Trade:
    """A print `second` seconds after the start."""
    return Trade("ES", second + 1, START_NS + second * NS_PER_S, START_NS + second * NS_PER_S, ticks, qty, 1)


def test_a_bar_holds_its_minute_and_appears_only_after_it() -> None:
    """A bar that is visible before its close would be a look into the future."""
    builder = BarBuilder("ES")
    trades = [trade(0, 100, 2), trade(30, 104, 1), trade(59, 99, 3)]
    assert builder.update(block_of(trades, ["ES"]), START_NS + NS_PER_MIN - 1) == []
    assert builder.update(block_of([], ["ES"]), START_NS + NS_PER_MIN) == [Bar("ES", START_NS, 100, 104, 99, 99, 6, 200 + 104 + 297, 3)]
    assert builder.open_bar is None


def test_a_minute_without_a_trade_has_no_bar() -> None:
    """An invented bar would carry an invented price."""
    bars = BarBuilder("ES").update(block_of([trade(0, 100, 1), trade(200, 101, 1)], ["ES"]), START_NS + 10 * NS_PER_MIN)
    assert [(bar.open_ts_ns - START_NS) // NS_PER_MIN for bar in bars] == [0, 3]


@given(steps=st.lists(st.tuples(st.integers(0, 90), st.integers(90, 110), st.integers(1, 9)), max_size=40), cut=st.integers(0, 40))
def test_bars_do_not_depend_on_how_the_stream_is_cut(steps: list[tuple[int, int, int]], cut: int) -> None:
    """Kinesis batches have arbitrary borders."""
    second, trades = 0, []
    for gap, ticks, qty in steps:
        second += gap
        trades.append(trade(second, ticks, qty))
    end_ns = START_NS + (second + 120) * NS_PER_S
    whole = BarBuilder("ES").update(block_of(trades, ["ES"]), end_ns)
    builder = BarBuilder("ES")
    first = builder.update(block_of(trades[:cut], ["ES"]), 0)
    assert first + builder.update(block_of(trades[cut:], ["ES"]), end_ns) == whole
    assert sum(bar.volume for bar in whole) == sum(item.qty for item in trades)
