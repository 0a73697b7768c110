"""Windows at their bounds, by hand-made streams whose sums can be seen."""

import numpy as np
import pytest

from feature_worlds import SYMBOL
from tidemark.events import LEVELS, Depth, Event, EventBlock, Trade, block_of
from tidemark.features.batch import all_rows
from tidemark.features.catalogue import COLUMN, SILENCE_NS, SLOTS
from tidemark.features.params import DEFAULT_PARAMS
from tidemark.units import NS_PER_S

SLOT_300S = 300 * NS_PER_S // SLOTS
T0 = 1_700_000_000 * NS_PER_S // SLOT_300S * SLOT_300S
"""A slot of every window begins here: the longest slot is a whole number of each other one but that of 10 s."""


def book(seq: int, ts_ns: int, bid_qty: int = 10, *, bid: int = 100, ask: int = 101) -> Depth:
    bids, asks = tuple(bid - j for j in range(LEVELS)), tuple(ask + j for j in range(LEVELS))
    return Depth(SYMBOL, seq, ts_ns, ts_ns, bids, (bid_qty, *[10] * 9), asks, (10,) * LEVELS)


def trade(seq: int, ts_ns: int, qty: int, aggressor: int, price: int = 101) -> Trade:
    return Trade(SYMBOL, seq, ts_ns, ts_ns, price, qty, aggressor)


def blocks(*events: Event) -> EventBlock:
    return block_of(events, [SYMBOL])


def last(name: str, *events: Event) -> float:
    return float(all_rows(blocks(*events), DEFAULT_PARAMS)[-1, COLUMN[name]])


@pytest.mark.parametrize("seconds", [1, 5, 30, 300])
def test_a_window_holds_its_slot_and_the_63_before_and_not_one_nanosecond_more(seconds: int) -> None:
    """A flow in the last nanosecond of a slot leaves 63 slot lengths and a nanosecond later, never earlier, never after W."""
    slot = seconds * NS_PER_S // SLOTS
    flow_at = T0 + slot - 1
    head = (book(1, T0), book(2, flow_at, 17))
    leaves_at = T0 + SLOTS * slot
    assert last(f"ofi_{seconds}s", *head) == 7
    assert last(f"ofi_{seconds}s", *head, book(3, leaves_at - 1, 17)) == 7
    assert last(f"ofi_{seconds}s", *head, book(3, leaves_at, 17)) == 0
    assert leaves_at - flow_at <= seconds * NS_PER_S


@pytest.mark.parametrize("seconds", [1, 5, 30, 300])
def test_a_window_is_never_longer_than_its_name(seconds: int) -> None:
    """A trade in the first nanosecond of its slot stays for all but one slot's length at least, and is gone at W."""
    slot = seconds * NS_PER_S // SLOTS
    head = (book(1, T0 - 1), trade(2, T0, 4, -1))
    assert last(f"tfi_{seconds}s", *head, book(3, T0 + 63 * slot)) == -1
    assert last(f"tfi_{seconds}s", *head, book(3, T0 + seconds * NS_PER_S - 1)) == -1
    assert last(f"tfi_{seconds}s", *head, book(3, T0 + seconds * NS_PER_S)) == 0


def test_a_full_ring_of_slots_still_sums_exactly() -> None:
    """One event in each of 200 slots: the ring of 64 entries turns three times; the sum is always that of the last 64."""
    slot = NS_PER_S // SLOTS
    events = [book(1, T0 - slot, 1), *(book(k + 2, T0 + k * slot, k + 2) for k in range(200))]  # each adds one contract to the bid
    column = all_rows(blocks(*events), DEFAULT_PARAMS)[:, COLUMN["ofi_1s"]]
    np.testing.assert_array_equal(column, np.minimum(np.arange(201), 64))


def test_the_window_of_100_depth_events_counts_events() -> None:
    """Time does not matter, trades do not count, the first book has no flow."""
    events: list[Event] = [book(1, T0, 1)]
    for k in range(150):
        events += [book(2 * k + 2, T0 + k, k + 2), trade(2 * k + 3, T0 + k, 1, 1)]
    column = all_rows(blocks(*events), DEFAULT_PARAMS)[::2, COLUMN["ofi_100ev"]]
    np.testing.assert_array_equal(column, np.minimum(np.arange(151), 100))


def test_realised_variance_forgets_after_ten_seconds() -> None:
    """A move of two ticks is 4 ticks^2 for ten seconds."""
    head = (book(1, T0), book(2, T0 + 1, bid=102, ask=103))
    assert last("rv_10s", *head) == 4
    assert last("rv_10s", *head, book(3, T0 + 10 * NS_PER_S - 1, bid=102, ask=103)) == 4
    assert last("rv_10s", *head, book(3, T0 + 10 * NS_PER_S, bid=102, ask=103)) == 0


def test_after_a_long_silence_the_next_book_is_a_first_book() -> None:
    """What happened over a night is neither flow nor volatility; one nanosecond less is still one session."""
    for gap, flow in ((SILENCE_NS - 1, 7.0), (SILENCE_NS, 0.0)):
        assert last("ofi_1s", book(1, T0), book(2, T0 + gap, 17)) == flow
    rows = all_rows(blocks(book(1, T0), trade(2, T0 + SILENCE_NS, 1, 1)), DEFAULT_PARAMS)
    assert np.isnan(rows[1]).all(), "a trade alone does not bring the old book back"


def test_an_unflagged_trade_is_signed_by_the_quote_then_by_the_tick() -> None:
    """Above the mid bought, below sold, at the mid the direction of the last price change (Lee & Ready 1991)."""
    wide = book(1, T0, ask=102)
    assert last("tfi_1s", wide, trade(2, T0, 3, 0, 102)) == 1
    assert last("tfi_1s", wide, trade(2, T0, 3, 0, 100)) == -1
    assert last("tfi_1s", wide, trade(2, T0, 3, 0, 101)) == 0, "nothing to go by"
    assert last("tfi_1s", wide, trade(2, T0, 1, 1, 100), trade(3, T0, 3, 0, 101)) == 1, "an uptick"
    assert last("tfi_1s", wide, trade(2, T0, 1, -1, 102), trade(3, T0, 1, 0, 101), trade(4, T0, 1, 0, 101)) == -1, (
        "zero ticks keep the sign"
    )


def test_a_deeper_empty_level_is_one_tick_beyond_the_one_before() -> None:
    """A model sees a book that goes on with nothing in it, not a price of -2^63."""
    thin = book(1, T0)
    thin = Depth(SYMBOL, 1, T0, T0, (100, 97, *[-(2**63)] * 8), (5, 6, *[0] * 8), thin.ask_ticks, thin.ask_qty)
    row = all_rows(blocks(thin), DEFAULT_PARAMS)[0]
    assert [row[COLUMN[f"lob_bid_px_{i}"]] for i in range(4)] == [0.5, 3.5, 4.5, 5.5]
    assert row[COLUMN["lob_bid_qty_2"]] == 0
