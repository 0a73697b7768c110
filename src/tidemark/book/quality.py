"""Is this event one that may be believed, and may it be used? One validator for imports, stream handlers and the engine.

Three kinds of defect, because they have three answers. MALFORMED: no market can look like this, the record is damaged; importers
refuse it. UNUSABLE: a true state of a real market in which a mid price means nothing; kept and counted, quarantined at run time.
WARNING: the row is good, the stream around it is not. An event has one defect, the gravest in the order of checks below.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tidemark.book.columns import kernel_columns, list_columns
from tidemark.budgets import FUTURE_NS_MAX
from tidemark.events import I8, I64, LEVELS, SIDES_LEVELS, EventBlock
from tidemark.jit import JIT_ENABLED, scan_kernel
from tidemark.units import INT64_MIN, NO_PRICE, PPM_PER_ONE

PRICE_TICKS_MAX: Final = 2**30
"""Largest magnitude of a price; keeps price x size inside int64. Chosen: a thousand times the largest price of our instruments."""
TS_NS_MAX: Final = 2**62
"""Largest time (year 2116); keeps differences and sums of two times inside int64."""
SEQ_UNKNOWN: Final = -1
"""`last_seq` of a reader that joined midway: whatever number comes first is right. A reader from the start uses 0."""
TS_UNKNOWN: Final = INT64_MIN
"""`last_ts_ns` before the first event."""


class Defect(IntEnum):
    """What is wrong with an event. Codes are stored and must not be renumbered."""

    OK = 0
    EMPTY_SIDE = 1
    CROSSED = 2
    LOCKED = 3
    LEVEL_ORDER = 4
    NEGATIVE_QTY = 5
    PRICE_RANGE = 6
    ZERO_QTY = 7
    TIME_BACKWARDS = 8
    TIME_FUTURE = 9
    SEQ_DUPLICATE = 10
    SEQ_GAP = 11
    TRADE_QTY = 12
    AGGRESSOR = 13
    GHOST_LEVEL = 14
    TIME_RANGE = 15


MALFORMED: Final = frozenset(
    {
        Defect.LEVEL_ORDER,
        Defect.NEGATIVE_QTY,
        Defect.PRICE_RANGE,
        Defect.ZERO_QTY,
        Defect.TIME_BACKWARDS,
        Defect.TIME_FUTURE,
        Defect.TIME_RANGE,
        Defect.SEQ_DUPLICATE,
        Defect.TRADE_QTY,
        Defect.AGGRESSOR,
        Defect.GHOST_LEVEL,
    }
)
UNUSABLE: Final = frozenset({Defect.EMPTY_SIDE, Defect.CROSSED, Defect.LOCKED})
WARNING: Final = frozenset({Defect.SEQ_GAP})
MARKABLE: Final = frozenset({Defect.OK, Defect.SEQ_GAP, Defect.LOCKED})
"""A locked book has a price to mark a position at, but no spread to quote a feature or an entry from."""

REASONS: Final[dict[Defect, str]] = {
    Defect.OK: "no defect",
    Defect.EMPTY_SIDE: "the book has no bid or no ask",
    Defect.CROSSED: "the best bid is above the best ask",
    Defect.LOCKED: "the best bid equals the best ask",
    Defect.LEVEL_ORDER: "levels are not strictly ordered from the best outwards, or have a hole",
    Defect.NEGATIVE_QTY: "a size is negative",
    Defect.PRICE_RANGE: f"a price is outside +-{PRICE_TICKS_MAX} ticks, or a trade has none",
    Defect.ZERO_QTY: "a level has a price but no size",
    Defect.TIME_BACKWARDS: "event time is before that of the symbol's previous event",
    Defect.TIME_FUTURE: f"event time is more than {FUTURE_NS_MAX} ns ahead of the receiver's clock",
    Defect.SEQ_DUPLICATE: "sequence number is not above the symbol's previous one",
    Defect.SEQ_GAP: "sequence numbers before this one are missing",
    Defect.TRADE_QTY: "a trade's size is not positive",
    Defect.AGGRESSOR: "aggressor is not +1, -1 or 0, or a depth row has one",
    Defect.GHOST_LEVEL: "a size without a price, or a trade with more than one level",
    Defect.TIME_RANGE: f"event or receive time is outside 0 to {TS_NS_MAX} ns",
}

_MALFORMED_BY_CODE = np.array([code in MALFORMED for code in Defect])
_USABLE_BY_CODE = np.array([code not in MALFORMED | UNUSABLE for code in Defect])
_MARKABLE_BY_CODE = np.array([code in MARKABLE for code in Defect])

# Plain ints: a kernel compares with these, and the uncompiled form would pay for an enum member at every event.
_OK, _EMPTY_SIDE, _CROSSED, _LOCKED, _LEVEL_ORDER, _NEGATIVE_QTY, _PRICE_RANGE, _ZERO_QTY = (int(code) for code in list(Defect)[:8])
_TIME_BACKWARDS, _TIME_FUTURE, _SEQ_DUPLICATE, _SEQ_GAP = (int(code) for code in list(Defect)[8:12])
_TRADE_QTY, _AGGRESSOR, _GHOST_LEVEL, _TIME_RANGE = (int(code) for code in list(Defect)[12:])


@scan_kernel
def _is_full_and_sound(px_ticks: Sequence[int] | I64, qty: Sequence[int] | I64) -> bool:
    """Twenty good levels and an open spread: the usual book. Leaving at the first fault measured faster than comparing without branches."""
    for j in range(LEVELS - 1):
        if px_ticks[j] <= px_ticks[j + 1] or px_ticks[LEVELS + j] >= px_ticks[LEVELS + j + 1] or qty[j] <= 0 or qty[LEVELS + j] <= 0:
            return False
    if qty[LEVELS - 1] <= 0 or qty[SIDES_LEVELS - 1] <= 0 or px_ticks[0] >= px_ticks[LEVELS]:
        return False
    return px_ticks[LEVELS - 1] >= -PRICE_TICKS_MAX and px_ticks[SIDES_LEVELS - 1] <= PRICE_TICKS_MAX


@scan_kernel
def side_defect(px_ticks: Sequence[int] | I64, qty: Sequence[int] | I64, first: int, direction: int) -> int:
    """Defect of one side: columns `first` to `first + 9`; prices must fall (direction -1, bids) or rise (+1, asks)."""
    ended = False
    before = 0
    for j in range(first, first + LEVELS):
        p = px_ticks[j]
        q = qty[j]
        if q < 0:
            return _NEGATIVE_QTY
        if p == NO_PRICE:
            if q != 0:
                return _GHOST_LEVEL
            ended = True
            continue
        if p > PRICE_TICKS_MAX or p < -PRICE_TICKS_MAX:
            return _PRICE_RANGE
        if q == 0:
            return _ZERO_QTY
        if ended or (j > first and (p - before) * direction <= 0):
            return _LEVEL_ORDER
        before = p
    return _OK


@scan_kernel
def depth_defect(px_ticks: Sequence[int] | I64, qty: Sequence[int] | I64) -> int:
    """Defect of one ten-level book: damaged levels first, then states without a usable mid."""
    if _is_full_and_sound(px_ticks, qty):
        return _OK
    code = side_defect(px_ticks, qty, 0, -1)
    if code == _OK:
        code = side_defect(px_ticks, qty, LEVELS, 1)
    if code != _OK:
        return code
    bid = px_ticks[0]
    ask = px_ticks[LEVELS]
    if bid == NO_PRICE or ask == NO_PRICE:
        return _EMPTY_SIDE
    if bid > ask:
        return _CROSSED
    if bid == ask:
        return _LOCKED
    return _OK


@scan_kernel
def trade_defect(px_ticks: Sequence[int] | I64, qty: Sequence[int] | I64, aggressor: int) -> int:
    """Defect of one trade row: price and size in column 0, the other columns empty."""
    if qty[0] <= 0:
        return _TRADE_QTY
    if px_ticks[0] > PRICE_TICKS_MAX or px_ticks[0] < -PRICE_TICKS_MAX:
        return _PRICE_RANGE
    if aggressor < -1 or aggressor > 1:
        return _AGGRESSOR
    for j in range(1, SIDES_LEVELS):
        if px_ticks[j] != NO_PRICE or qty[j] != 0:
            return _GHOST_LEVEL
    return _OK


@scan_kernel
def _scan(columns: Any, last_seq: Any, last_ts_ns: Any, out: Any) -> None:
    """`columns` of a block in codec order; everything is arrays when compiled, lists when not."""
    symbol_i, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty = columns
    for i in range(len(seq)):
        s = symbol_i[i]
        number = seq[i]
        ts = event_ts_ns[i]
        recv = recv_ts_ns[i]
        seen = last_seq[s]
        if number <= seen or number < 0:
            out[i] = _SEQ_DUPLICATE
            continue
        last_seq[s] = number
        if ts < 0 or ts > TS_NS_MAX or recv < 0 or recv > TS_NS_MAX:
            out[i] = _TIME_RANGE
            continue
        if ts > recv + FUTURE_NS_MAX:  # not remembered: one wrong clock must not put every later event "backwards"
            out[i] = _TIME_FUTURE
            continue
        if ts < last_ts_ns[s]:
            out[i] = _TIME_BACKWARDS
            continue
        last_ts_ns[s] = ts
        if kind[i] == 0:
            code = depth_defect(px_ticks[i], qty[i]) if aggressor[i] == 0 else _AGGRESSOR
        else:
            code = trade_defect(px_ticks[i], qty[i], aggressor[i])
        if code == _OK and seen != SEQ_UNKNOWN and number != seen + 1:
            code = _SEQ_GAP
        out[i] = code


def fresh_state(symbol_count: int, *, joined_midway: bool = False) -> tuple[I64, I64]:
    """(last_seq, last_ts_ns) of a reader that has seen nothing; with `joined_midway` the first seq of each symbol may be any."""
    last_seq = np.full(symbol_count, SEQ_UNKNOWN if joined_midway else 0, np.int64)
    return last_seq, np.full(symbol_count, TS_UNKNOWN, np.int64)


def scan_block(block: EventBlock, last_seq: I64, last_ts_ns: I64) -> I8:
    """Defect code of every event of `block`.

    Shapes  last_seq, last_ts_ns (symbols of the block,); returns (n,).
    State   both arrays are advanced in place, so a stream may be cut into blocks anywhere. A malformed row's number counts as
            seen (its loss is already reported once), a repeated row changes nothing.
    """
    assert len(last_seq) == len(last_ts_ns) == len(block.symbols)
    if JIT_ENABLED:
        codes = np.empty(len(block), np.int8)
        _scan(kernel_columns(block), last_seq, last_ts_ns, codes)
        return codes
    seen_seq, seen_ts, out = last_seq.tolist(), last_ts_ns.tolist(), [0] * len(block)
    _scan(list_columns(block), seen_seq, seen_ts, out)
    last_seq[:], last_ts_ns[:] = seen_seq, seen_ts
    return np.array(out, np.int8)


def is_malformed(codes: I8) -> npt.NDArray[np.bool_]:
    """Rows that no importer may accept."""
    return _MALFORMED_BY_CODE[codes]


def is_usable(codes: I8) -> npt.NDArray[np.bool_]:
    """Rows that features and entries may use: no defect, or only a warning."""
    return _USABLE_BY_CODE[codes]


def is_markable(codes: I8) -> npt.NDArray[np.bool_]:
    """Rows that a position may be marked at."""
    return _MARKABLE_BY_CODE[codes]


def count_defects(codes: I8) -> dict[Defect, int]:
    """How many events have each defect; OK and defects that do not occur are left out."""
    counts = np.bincount(codes, minlength=len(Defect)).tolist()
    return {code: counts[code] for code in Defect if code is not Defect.OK and counts[code]}


def quality_ppm(codes: I8) -> int:
    """Share of usable events in parts per million, rounded down; an empty stream is perfect."""
    return PPM_PER_ONE * int(is_usable(codes).sum()) // len(codes) if len(codes) else PPM_PER_ONE
