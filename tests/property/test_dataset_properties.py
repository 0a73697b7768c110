"""Merging, exact numbers and the order book hold for any input, not only for the ones we thought of."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.adapters.dataset import order_book
from tidemark.adapters.dataset.faults import Reason
from tidemark.adapters.dataset.merge import by_event_time, merge_sorted, rechunk
from tidemark.adapters.dataset.numbers import from_floats, from_text
from tidemark.adapters.dataset.order_book import ADD, ASK, BID, CANCEL, CLEAR, FLAG_LAST, MODIFY, TRADE, Messages, OrderBook
from tidemark.events import EventBlock, Kind, concat, empty_block
from tidemark.jit import plain
from tidemark.units import NO_PRICE

SYMBOLS = ("A", "B", "C")
UNITS = st.sampled_from(
    [Fraction(1), Fraction(1, 4), Fraction(1, 64), Fraction(1, 100), Fraction(5, 1000), Fraction(1, 10**8), Fraction(25)]
)


def block_of_times(symbol_i: int, times: list[int]) -> EventBlock:
    """Events of one symbol at given times; seq says their order."""
    block = empty_block(SYMBOLS, len(times))
    block.symbol_i[:] = symbol_i
    block.event_ts_ns[:] = times
    block.seq[:] = np.arange(1, len(times) + 1)
    return block


@given(
    times=st.lists(st.lists(st.integers(0, 30), max_size=25).map(sorted), min_size=3, max_size=3),
    cuts=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    rows_max=st.integers(1, 9),
)
@settings(deadline=None)
def test_merging_is_sorting_however_the_streams_are_cut(times: list[list[int]], cuts: list[int], rows_max: int) -> None:
    """Feed order: time, then symbol, then seq; the cut of the files must not show."""
    streams = [block_of_times(i, column) for i, column in enumerate(times)]
    portions = [[s[start : start + cut] for start in range(0, len(s), cut)] for s, cut in zip(streams, cuts, strict=True)]
    merged = [empty_block(SYMBOLS, 0), *rechunk(merge_sorted(portions, by_event_time), rows_max)]
    whole = concat(merged)
    expected = sorted((ts, i, seq) for i, column in enumerate(times) for seq, ts in enumerate(column, 1))
    assert list(zip(whole.event_ts_ns.tolist(), whole.symbol_i.tolist(), whole.seq.tolist(), strict=True)) == expected
    assert all(len(part) == rows_max for part in merged[1:-1])


@given(times=st.lists(st.lists(st.integers(0, 30), max_size=20), min_size=3, max_size=3), cut=st.integers(1, 5))
@settings(deadline=None)
def test_a_stream_out_of_order_keeps_its_own_order(times: list[list[int]], cut: int) -> None:
    """Damage is passed on as it is, for the check to see."""
    streams = [block_of_times(i, column) for i, column in enumerate(times)]
    whole = concat(
        [empty_block(SYMBOLS, 0), *merge_sorted([[s[k : k + cut] for k in range(0, len(s), cut)] for s in streams], by_event_time)]
    )
    for i, column in enumerate(times):
        assert whole.event_ts_ns[whole.symbol_i == i].tolist() == column


@given(units=st.lists(st.integers(-(10**17), 10**17), min_size=1, max_size=8), unit=UNITS)
@settings(deadline=None)
def test_a_multiple_of_the_unit_in_decimal_text_is_that_many_units(units: list[int], unit: Fraction) -> None:
    """Prices become ticks without a rounding, whatever the tick and however long the number."""
    texts = [_decimal(count * unit) for count in units]
    values, codes = from_text(pa.array(texts), unit)
    assert codes.tolist() == [Reason.OK] * len(units)
    assert values.tolist() == units


@given(
    text=st.one_of(
        st.decimals(allow_nan=True, allow_infinity=True, places=6).map(str),
        st.text(alphabet="0123456789.,eE+-_ nN'", max_size=12),
        st.floats().map(repr),
    ),
    unit=UNITS,
)
@settings(deadline=None)
def test_any_text_is_converted_exactly_or_refused(text: str, unit: Fraction) -> None:
    """Against Fraction, which is exact: a value that passes is the value that was written."""
    (value,), (code,) = from_text(pa.array([text]), unit)
    if code == Reason.OK:
        assert Fraction(text.strip()) == int(value) * unit
    elif code == Reason.OFF_GRID:
        assert (Fraction(text.strip()) / unit).denominator != 1


@given(units=st.lists(st.integers(0, 2**30), min_size=1, max_size=20), unit=UNITS)
@settings(deadline=None)
def test_floats_of_grid_prices_come_back_as_their_ticks(units: list[int], unit: Fraction) -> None:
    """Vendors' Parquet files hold doubles; the nearest double of a price on the grid is accepted."""
    values, codes = from_floats(np.array([float(count * unit) for count in units]), unit)
    assert codes.tolist() == [Reason.OK] * len(units)
    assert values.tolist() == units


@given(units=st.integers(0, 10**6), unit=UNITS, tenths=st.integers(1, 9))
@settings(deadline=None)
def test_floats_between_two_ticks_are_refused(units: int, unit: Fraction, tenths: int) -> None:
    """A tenth of a tick off is a wrong tick size, not noise."""
    _, codes = from_floats(np.array([float((units + Fraction(tenths, 10)) * unit)]), unit)
    assert codes.tolist() == [Reason.OFF_GRID]


def _decimal(value: Fraction) -> str:
    """Exact decimal text of a decimal fraction."""
    sign, value = ("-" if value < 0 else ""), abs(value)
    whole, rest = divmod(value, 1)
    digits = ""
    while rest:
        digit, rest = divmod(rest * 10, 1)
        digits += str(digit)
    return f"{sign}{whole}" + (f".{digits}" if digits else "")


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([ADD, ADD, ADD, CANCEL, CANCEL, MODIFY, TRADE, CLEAR]),
        st.sampled_from([BID, ASK]),
        st.integers(95, 110),  # price
        st.integers(1, 5),  # size
        st.integers(1, 12),  # order
        st.booleans(),  # last of its group
    ),
    max_size=60,
)
Record = tuple[int, int, int, int, int, bool]


def messages_of(records: list[Record]) -> Messages:
    """Records as columns."""
    action, side, price, qty, order_id, last = (np.array(column) for column in zip(*records, strict=True))
    return Messages(
        action=action.astype(np.int8),
        side=side.astype(np.int8),
        flags=np.where(last, FLAG_LAST, 0),
        price_ticks=price.astype(np.int64),
        qty=qty.astype(np.int64),
        order_id=order_id.astype(np.int64) * 1024,  # equal low bits: every order collides in the table
    )


def naive_books(records: list[Record]) -> list[tuple[int, list[tuple[int, int]], list[tuple[int, int]]]]:
    """(record, bids, asks) per depth row: dictionaries, sorted anew for every group."""
    orders: dict[int, tuple[int, int, int]] = {}
    rows, shown = [], ([], [], [[], []])
    for i, (action, side, price, qty, order, last) in enumerate(records):
        if action == CLEAR:
            orders.clear()
        elif action == CANCEL and order in orders:
            old_side, old_price, old_qty = orders.pop(order)
            if old_qty > qty:
                orders[order] = (old_side, old_price, old_qty - qty)
        elif action in (ADD, MODIFY):
            orders[order] = (side, price, qty)
        if last:
            sides = []
            for wanted in (BID, ASK):
                prices = sorted({p for s, p, _ in orders.values() if s == wanted}, reverse=wanted == BID)[:10]
                sides.append([(p, sum(q for s, x, q in orders.values() if (s, x) == (wanted, p))) for p in prices])
            counts = [[sum((s, x) == (wanted, p) for s, x, _ in orders.values()) for p, _ in sides[wanted]] for wanted in (BID, ASK)]
            if (*sides, counts) != shown:
                rows.append((i, sides[0], sides[1]))
                shown = (*sides, counts)
    return rows


@given(records=MESSAGES.filter(bool), cut=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_the_order_book_equals_a_naive_one_however_its_stream_is_cut(records: list[Record], cut: int) -> None:
    """The kernel's table and shifting levels against dictionaries that are sorted at every step."""
    book, depth, trades = OrderBook(), [], []
    for start in range(0, len(records), cut):
        made = book.apply(messages_of(records[start : start + cut]))
        for row, kind in enumerate(made.kind.tolist()):
            levels = [
                [(int(p), int(q)) for p, q in zip(made.px_ticks[row, s], made.sizes[row, s], strict=True) if p != NO_PRICE] for s in _SIDES
            ]
            record = start + int(made.from_record[row])
            (trades if kind == Kind.TRADE else depth).append((record, *levels))
    assert depth == naive_books(records)
    assert trades == [(i, [(price, qty)], []) for i, (action, _, price, qty, _, _) in enumerate(records) if action == TRADE]


_SIDES = (slice(0, 10), slice(10, 20))


@given(records=MESSAGES.filter(bool))
@settings(max_examples=25, deadline=None)
def test_the_kernel_gives_the_same_rows_compiled_or_not(records: list[Record]) -> None:
    """Where numba is missing the same function runs as it is."""
    compiled = OrderBook().apply(messages_of(records))
    kernels = {name: getattr(order_book, name) for name in ("_home", "_slot", "_forget", "_change_level", "_reduce", "_show", "_apply")}
    try:
        for name, function in kernels.items():
            setattr(order_book, name, plain(function))
        uncompiled = OrderBook().apply(messages_of(records))
    finally:
        for name, function in kernels.items():
            setattr(order_book, name, function)
    for left, right in (
        (compiled.from_record, uncompiled.from_record),
        (compiled.px_ticks, uncompiled.px_ticks),
        (compiled.sizes, uncompiled.sizes),
    ):
        assert np.array_equal(left, right)
