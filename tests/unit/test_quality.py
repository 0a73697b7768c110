"""The one validator of events: a case for every defect, what it remembers, and what each kind of reader may do with the row."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidemark.book.quality import (
    MALFORMED,
    MARKABLE,
    PRICE_TICKS_MAX,
    REASONS,
    TS_NS_MAX,
    UNUSABLE,
    WARNING,
    Defect,
    count_defects,
    fresh_state,
    is_malformed,
    is_markable,
    is_usable,
    quality_ppm,
    scan_block,
)
from tidemark.budgets import FUTURE_NS_MAX
from tidemark.events import LEVELS, EventBlock, Kind, concat, empty_block
from tidemark.units import NO_PRICE

T0 = 10**18


def good(count: int = 3, *, symbols: int = 1) -> EventBlock:
    """Depth rows without a defect, symbol after symbol, each counting from 1."""
    block = empty_block([f"S{k}" for k in range(symbols)], count)
    block.symbol_i[:] = np.arange(count) % symbols
    block.seq[:] = np.arange(count) // symbols + 1
    block.event_ts_ns[:] = block.recv_ts_ns[:] = T0 + np.arange(count)
    block.px_ticks[:, :LEVELS] = 100 - np.arange(LEVELS)
    block.px_ticks[:, LEVELS:] = 101 + np.arange(LEVELS)
    block.qty[:] = 5
    return block


def with_trade(block: EventBlock, row: int) -> EventBlock:
    block.kind[row], block.aggressor[row] = Kind.TRADE, 1
    block.px_ticks[row], block.qty[row] = NO_PRICE, 0
    block.px_ticks[row, 0], block.qty[row, 0] = 100, 2
    return block


def depth_row(column: str, index: Any, value: int) -> EventBlock:
    block = good()
    getattr(block, column)[1, index] = value
    return block


def head_row(column: str, value: int) -> EventBlock:
    block = good()
    getattr(block, column)[1] = value
    return block


def trade_row(column: str, index: int | None, value: int) -> EventBlock:
    block = with_trade(good(), 1)
    array = getattr(block, column)
    array[(1,) if index is None else (1, index)] = value
    return block


def empty_side(first: int) -> EventBlock:
    block = good()
    block.px_ticks[1, first : first + LEVELS], block.qty[1, first : first + LEVELS] = NO_PRICE, 0
    return block


def moved_bids(ticks: int) -> EventBlock:
    block = good()
    block.px_ticks[1, :LEVELS] += ticks
    return block


def hole(first: int) -> EventBlock:
    block = good()
    block.px_ticks[1, first + 3], block.qty[1, first + 3] = NO_PRICE, 0
    return block


CASES: list[tuple[Defect, str, EventBlock]] = [
    (Defect.OK, "a good book", good()),
    (Defect.OK, "a good trade", with_trade(good(), 1)),
    (Defect.OK, "a trade of unknown side", trade_row("aggressor", None, 0)),
    (Defect.OK, "a negative price", moved_bids(-5_000)),
    (Defect.OK, "the clock ahead by what is allowed", head_row("event_ts_ns", T0 + 1 + FUTURE_NS_MAX)),
    (Defect.EMPTY_SIDE, "no bids", empty_side(0)),
    (Defect.EMPTY_SIDE, "no asks", empty_side(LEVELS)),
    (Defect.CROSSED, "bid above ask", moved_bids(2)),
    (Defect.LOCKED, "bid at ask", moved_bids(1)),
    (Defect.LEVEL_ORDER, "two equal bids", depth_row("px_ticks", 4, 97)),
    (Defect.LEVEL_ORDER, "asks not rising", depth_row("px_ticks", 14, 102)),
    (Defect.LEVEL_ORDER, "a hole in the bids", hole(0)),
    (Defect.LEVEL_ORDER, "a hole in the asks", hole(LEVELS)),
    (Defect.NEGATIVE_QTY, "a negative size", depth_row("qty", 19, -1)),
    (Defect.PRICE_RANGE, "an ask too high", depth_row("px_ticks", 19, PRICE_TICKS_MAX + 1)),
    (Defect.PRICE_RANGE, "a bid too low", depth_row("px_ticks", 9, -PRICE_TICKS_MAX - 1)),
    (Defect.PRICE_RANGE, "a trade without a price", trade_row("px_ticks", 0, NO_PRICE)),
    (Defect.ZERO_QTY, "a price without a size", depth_row("qty", 7, 0)),
    (Defect.TIME_BACKWARDS, "before the row before", head_row("event_ts_ns", T0 - 1)),
    (Defect.TIME_FUTURE, "ahead of the receiver", head_row("event_ts_ns", T0 + 2 + FUTURE_NS_MAX)),
    (Defect.TIME_RANGE, "a negative time", head_row("event_ts_ns", -1)),
    (Defect.TIME_RANGE, "a receive time that overflows", head_row("recv_ts_ns", TS_NS_MAX + 1)),
    (Defect.SEQ_DUPLICATE, "the same number again", head_row("seq", 1)),
    (Defect.SEQ_DUPLICATE, "a negative number", head_row("seq", -5)),
    (Defect.SEQ_GAP, "a number left out", head_row("seq", 3)),
    (Defect.TRADE_QTY, "a trade of nothing", trade_row("qty", 0, 0)),
    (Defect.TRADE_QTY, "a trade of less than nothing", trade_row("qty", 0, -1)),
    (Defect.AGGRESSOR, "an aggressor of 2", trade_row("aggressor", None, 2)),
    (Defect.AGGRESSOR, "a book with an aggressor", head_row("aggressor", 1)),
    (Defect.GHOST_LEVEL, "a size without a price", depth_row("px_ticks", 9, NO_PRICE)),
    (Defect.GHOST_LEVEL, "a trade with a second level", trade_row("qty", 11, 1)),
]


@pytest.mark.parametrize(("defect", "block"), [pytest.param(d, b, id=f"{d.name}: {text}") for d, text, b in CASES])
def test_the_defect_is_named(defect: Defect, block: EventBlock) -> None:
    """The second of three rows is damaged; the first is good whatever happens."""
    codes = scan_block(block, *fresh_state(1))
    assert codes[0] == Defect.OK
    assert Defect(codes[1]) is defect


def test_every_defect_has_a_case_a_reason_and_one_kind() -> None:
    """A code that nothing can produce, or that two readers treat differently, is a mistake in the table."""
    assert {defect for defect, _, _ in CASES} == set(Defect) == set(REASONS)
    kinds = [MALFORMED, UNUSABLE, WARNING, frozenset({Defect.OK})]
    assert sum(map(len, kinds)) == len(Defect)
    assert frozenset().union(*kinds) == set(Defect)


def test_each_kind_of_reader_takes_what_it_may() -> None:
    """Importers refuse malformed rows only; features take no locked book, marks do."""
    codes = np.array([int(d) for d in Defect], np.int8)
    assert {d for d in Defect if is_malformed(codes)[d]} == MALFORMED
    assert {d for d in Defect if is_usable(codes)[d]} == {Defect.OK, Defect.SEQ_GAP}
    assert {d for d in Defect if is_markable(codes)[d]} == MARKABLE == {Defect.OK, Defect.SEQ_GAP, Defect.LOCKED}


def test_the_scan_remembers_across_blocks_wherever_they_are_cut() -> None:
    """Three symbols, every case one after the other, cut at each row: the codes and the state are those of one block."""
    parts = [replace(block, symbols=("S0", "S1", "S2")) for _, _, block in CASES]
    whole = concat(parts)
    case = np.arange(len(whole)) // 3
    whole.symbol_i[:] = case % 3
    whole.seq[:] += case // 3 * 3
    whole.event_ts_ns[:] += case * 10
    whole.recv_ts_ns[:] += case * 10
    state = fresh_state(3)
    codes = scan_block(whole, *state)
    assert len(set(codes.tolist())) > 8, "or the stream would be too tame"
    for cut in range(len(whole) + 1):
        other = fresh_state(3)
        both = np.concatenate([scan_block(whole[:cut], *other), scan_block(whole[cut:], *other)])
        np.testing.assert_array_equal(both, codes)
        np.testing.assert_array_equal(other, state)


def test_a_repeated_block_is_all_duplicates_and_changes_nothing() -> None:
    """A stream delivers at least once; the second delivery must be free of effects."""
    state = fresh_state(2)
    block = good(8, symbols=2)
    assert not scan_block(block, *state).any()
    before = [column.copy() for column in state]
    assert (scan_block(block, *state) == Defect.SEQ_DUPLICATE).all()
    np.testing.assert_array_equal(state, before)


def test_a_damaged_row_is_not_also_a_gap_for_the_next() -> None:
    """Its number counts as seen: one loss is reported once."""
    codes = scan_block(depth_row("qty", 19, -1), *fresh_state(1))
    assert codes.tolist() == [Defect.OK, Defect.NEGATIVE_QTY, Defect.OK]


def test_one_wrong_clock_does_not_put_the_rest_of_the_day_backwards() -> None:
    """A time far ahead is refused and forgotten."""
    codes = scan_block(head_row("event_ts_ns", T0 + 10**15), *fresh_state(1))
    assert codes.tolist() == [Defect.OK, Defect.TIME_FUTURE, Defect.OK]


def test_a_reader_that_joins_midway_sees_no_gap_and_one_from_the_start_does() -> None:
    """Whoever starts at number 100 of a stream has lost nothing that it was promised."""
    block = good()
    block.seq[:] += 99
    assert scan_block(block, *fresh_state(1, joined_midway=True)).tolist() == [0, 0, 0]
    assert scan_block(block, *fresh_state(1)).tolist() == [Defect.SEQ_GAP, 0, 0]


def test_symbols_are_judged_apart() -> None:
    """One symbol's numbers and times say nothing about another's."""
    block = good(4, symbols=2)
    block.event_ts_ns[1::2] -= 10**9
    assert not scan_block(block, *fresh_state(2)).any()


def test_counts_and_share_of_usable_events() -> None:
    """What `data check` prints: defects that occur, and parts per million rounded down."""
    codes = np.array([0, 0, Defect.LOCKED, Defect.SEQ_GAP, Defect.LOCKED, 0], np.int8)
    assert count_defects(codes) == {Defect.LOCKED: 2, Defect.SEQ_GAP: 1}
    assert quality_ppm(codes) == 666_666
    assert quality_ppm(codes[:0]) == 1_000_000
