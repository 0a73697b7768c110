"""The one definition of every feature in code: `step` takes one event into the state, `emit` writes all columns from it.

Plain Python in numba's subset, O(1) per event, no allocation. State, constants and outputs are arrays when compiled and lists when
not (an element of an array costs plain Python five times one of a list). Both forms give the same bits: integers wherever the formula
allows, no fastmath, no C library. Formulas, units and sources: catalogue.py. Offsets: layout.py.
"""

from typing import Any, Final, TypeAlias

from tidemark.events import LEVELS, SIDES_LEVELS
from tidemark.features.arith import exp_neg, ln, ln1p_count
from tidemark.features.catalogue import COLUMN, JUMP_HALF_TICKS_MAX, OFI_EVENTS, SILENCE_NS, SLOPE_TICKS_MAX, SLOTS
from tidemark.features.layout import (
    EVENTS_FAST,
    EVENTS_SLOW,
    FLOW_FIRST,
    FLOW_WIDTH,
    HAS_BOOK,
    HAS_EVENT,
    HAS_TRADE,
    LAST_DT,
    LAST_TS,
    LONG_WIDTH,
    OFI_COUNT,
    OFI_RING,
    OFI_RING_SIZE,
    PX,
    QTY,
    SLOT_1S_NS,
    SLOT_5S_NS,
    SLOT_30S_NS,
    SLOT_300S_NS,
    SLOT_RV_NS,
    SPREAD_EWMA,
    T_DEPTHS,
    T_OFI,
    T_SIGNED,
    T_SQUARES,
    T_TOUCH,
    T_VOLUME,
    TOTALS,
    TRADE_PX,
    TRADE_SIGN,
    TRADES_FAST,
    TRADES_SLOW,
    W_1S,
    W_5S,
    W_30S,
    W_300S,
    W_HEAD,
    W_RING,
    W_RV,
    W_SLOT_END,
    W_TAIL,
)
from tidemark.features.params import LOADINGS_AT, MICRO_AT
from tidemark.features.prior import MICRO_BUCKETS, MICRO_SPREADS
from tidemark.jit import scan_kernel
from tidemark.units import NO_PRICE

Ints: TypeAlias = Any  # int64 array or list of int
Floats: TypeAlias = Any  # float64 array or list of float

ABOVE_ALL: Final = 2**62  # price of an empty ask level inside the state; an empty bid keeps NO_PRICE, below all
_PER_NS: Final = 1e-9
_PER_NS_SLOW: Final = 1e-9 / 60
_PER_SECOND_SLOW: Final = 1 / 60
_MS_PER_NS: Final = 1e-6
_RING_MASK: Final = OFI_RING_SIZE - 1
_SLOT_MASK: Final = SLOTS - 1


# --- one event into the state -------------------------------------------------------------------------------------------------


@scan_kernel
def roll(ints: Ints, window: int, first: int, width: int, slot_ns: int, ts: int) -> None:
    """Open the slot of `ts` in one window, if it is not open: forget what has left the window, note the totals so far."""
    if ts < ints[window + W_SLOT_END]:
        return
    slot = ts // slot_ns
    stride = width + 1
    ring = window + W_RING
    head = ints[window + W_HEAD]
    tail = ints[window + W_TAIL]
    while tail < head and ints[ring + (tail & _SLOT_MASK) * stride] <= slot - SLOTS:
        tail += 1
    at = ring + (head & _SLOT_MASK) * stride
    ints[at] = slot
    for c in range(width):
        ints[at + 1 + c] = ints[TOTALS + first + c]
    ints[window + W_HEAD] = head + 1
    ints[window + W_TAIL] = tail
    ints[window + W_SLOT_END] = (slot + 1) * slot_ns


@scan_kernel
def pass_time(ints: Ints, ts: int) -> int:
    """Nanoseconds since the event before, 0 at the first; a long silence makes the book in the state one to forget."""
    dt = (ts - ints[LAST_TS]) * ints[HAS_EVENT]
    ints[HAS_EVENT] = 1
    ints[LAST_TS] = ts
    ints[LAST_DT] = dt
    ints[HAS_BOOK] *= dt < SILENCE_NS
    return dt  # type: ignore[no-any-return]


@scan_kernel
def decay(ints: Ints, floats: Floats, fast: float, slow: float) -> None:
    """Averages over the time passed; `fast`, `slow` are what is left of a second's and of a minute's weight."""
    floats[EVENTS_FAST] = floats[EVENTS_FAST] * fast + 1.0
    floats[EVENTS_SLOW] = floats[EVENTS_SLOW] * slow + _PER_SECOND_SLOW
    floats[TRADES_FAST] *= fast
    floats[TRADES_SLOW] *= slow
    spread = float(ints[PX + LEVELS] - ints[PX])  # of no meaning without a book, as is then the average
    floats[SPREAD_EWMA] = spread + (floats[SPREAD_EWMA] - spread) * slow


@scan_kernel
def step_time(ints: Ints, floats: Floats, constants: Floats, ts: int) -> None:
    """Let time pass up to an event at `ts`: decays, windows, silence."""
    dt = pass_time(ints, ts)
    decay(ints, floats, exp_neg(dt * _PER_NS, constants), exp_neg(dt * _PER_NS_SLOW, constants))
    roll(ints, W_1S, FLOW_FIRST, FLOW_WIDTH, SLOT_1S_NS, ts)
    roll(ints, W_5S, FLOW_FIRST, FLOW_WIDTH, SLOT_5S_NS, ts)
    roll(ints, W_30S, FLOW_FIRST, FLOW_WIDTH, SLOT_30S_NS, ts)
    roll(ints, W_300S, FLOW_FIRST, LONG_WIDTH, SLOT_300S_NS, ts)
    roll(ints, W_RV, T_SQUARES, 1, SLOT_RV_NS, ts)


@scan_kernel
def put_first_book(ints: Ints, floats: Floats, px_ticks: Ints, qty: Ints) -> None:
    """A first book is in place before it is compared with itself, so nothing flows; the spread average starts at its spread."""
    floats[SPREAD_EWMA] = float(px_ticks[LEVELS] - px_ticks[0])
    for i in range(LEVELS):
        ask = px_ticks[LEVELS + i]
        ints[PX + i] = px_ticks[i]
        ints[PX + LEVELS + i] = ask if ask != NO_PRICE else ABOVE_ALL
        ints[QTY + i] = qty[i]
        ints[QTY + LEVELS + i] = qty[LEVELS + i]


@scan_kernel
def has_same_prices(ints: Ints, px_ticks: Ints) -> bool:
    """Whether only sizes differ from the book in the state: the usual event. No branches, so that it vectorises."""
    same = True
    for i in range(SIDES_LEVELS):
        same &= px_ticks[i] == ints[PX + i]
    return same


@scan_kernel
def step_sizes(ints: Ints, qty: Ints) -> None:
    """`step_moved` where every price stays: a level's flow is what its size gained on the bid less what it gained on the ask.

    Most books differ from the one before in one size: passing over the others is faster than rewriting them.
    """
    for i in range(LEVELS):
        gained = qty[i] - ints[QTY + i]
        if gained != 0:
            ints[QTY + i] += gained
            ints[TOTALS + T_OFI + i] += gained
        gained = qty[LEVELS + i] - ints[QTY + LEVELS + i]
        if gained != 0:
            ints[QTY + LEVELS + i] += gained
            ints[TOTALS + T_OFI + i] -= gained


@scan_kernel
def step_moved(ints: Ints, px_ticks: Ints, qty: Ints) -> None:
    """Order flow per level and squared change of the mid from the book in the state to the book given, which replaces it."""
    jump = min(abs(px_ticks[0] + px_ticks[LEVELS] - ints[PX] - ints[PX + LEVELS]), JUMP_HALF_TICKS_MAX)
    ints[TOTALS + T_SQUARES] += jump * jump
    for i in range(LEVELS):
        bid, bid_before = px_ticks[i], ints[PX + i]
        q, q_before = qty[i], ints[QTY + i]
        e = (q if bid >= bid_before else 0) - (q_before if bid <= bid_before else 0)
        ints[PX + i] = bid
        ints[QTY + i] = q
        ask, ask_before = px_ticks[LEVELS + i], ints[PX + LEVELS + i]
        ask = ask if ask != NO_PRICE else ABOVE_ALL
        q, q_before = qty[LEVELS + i], ints[QTY + LEVELS + i]
        e += (q_before if ask >= ask_before else 0) - (q if ask <= ask_before else 0)
        ints[PX + LEVELS + i] = ask
        ints[QTY + LEVELS + i] = q
        ints[TOTALS + T_OFI + i] += e


@scan_kernel
def count_depth(ints: Ints, touch_qty: int) -> None:
    """What every book with a predecessor adds."""
    ints[TOTALS + T_TOUCH] += touch_qty
    ints[TOTALS + T_DEPTHS] += 1
    count = ints[OFI_COUNT] + 1
    ints[OFI_COUNT] = count
    ints[OFI_RING + (count & _RING_MASK)] = ints[TOTALS + T_OFI]


@scan_kernel
def trade_sign(ints: Ints, price_ticks: int, aggressor: int) -> int:
    """+1 buyer, -1 seller: the aggressor flag; without it the side of the mid, then the direction of the last price change."""
    if aggressor != 0:
        return aggressor
    if ints[HAS_BOOK] != 0:
        above_mid = 2 * price_ticks - ints[PX] - ints[PX + LEVELS]
        if above_mid != 0:
            return 1 if above_mid > 0 else -1
    if ints[HAS_TRADE] != 0 and price_ticks != ints[TRADE_PX]:
        return 1 if price_ticks > ints[TRADE_PX] else -1
    return ints[TRADE_SIGN]  # type: ignore[no-any-return]


@scan_kernel
def step_trade(ints: Ints, floats: Floats, price_ticks: int, traded_qty: int, aggressor: int) -> None:
    """A print: signed and unsigned volume, trade intensity."""
    sign = trade_sign(ints, price_ticks, aggressor)
    ints[TOTALS + T_SIGNED] += sign * traded_qty
    ints[TOTALS + T_VOLUME] += traded_qty
    floats[TRADES_FAST] += 1.0
    floats[TRADES_SLOW] += _PER_SECOND_SLOW
    ints[HAS_TRADE] = 1
    ints[TRADE_PX] = price_ticks
    ints[TRADE_SIGN] = sign


@scan_kernel
def step(ints: Ints, floats: Floats, constants: Floats, kind: int, aggressor: int, ts: int, px_ticks: Ints, qty: Ints) -> None:
    """One usable event into the state. `px_ticks`, `qty` (20,) as in a block's row; `ts` must not be before the last one."""
    step_time(ints, floats, constants, ts)
    if kind != 0:
        step_trade(ints, floats, px_ticks[0], qty[0], aggressor)
    elif ints[HAS_BOOK] == 0:
        put_first_book(ints, floats, px_ticks, qty)
        ints[HAS_BOOK] = 1
    else:
        if has_same_prices(ints, px_ticks):
            step_sizes(ints, qty)
        else:
            step_moved(ints, px_ticks, qty)
        count_depth(ints, qty[0] + qty[LEVELS])


# --- all columns from the state ------------------------------------------------------------------------------------------------


@scan_kernel
def window_at(ints: Ints, window: int, width: int) -> int:
    """Offset of the totals before the window's oldest slot."""
    return window + W_RING + (ints[window + W_TAIL] & _SLOT_MASK) * (width + 1) + 1  # type: ignore[no-any-return]


@scan_kernel
def emit_side(ints: Ints, constants: Floats, out: Floats, side: int, direction: int, lob: int, depth: int, slope: int) -> None:
    """Book columns, cumulated depth and its slope for one side: levels `side` to `side + 9`; prices go away in `direction`."""
    mid2 = ints[PX] + ints[PX + LEVELS]
    best2 = direction * (2 * ints[PX + side] - mid2)
    away2 = best2 - 2
    size, sum_x, sum_y, sum_xx, sum_xy = 0, 0, 0, 0, 0
    for i in range(LEVELS):
        q = ints[QTY + side + i]
        away2 = direction * (2 * ints[PX + side + i] - mid2) if q > 0 else away2 + 2
        out[lob + 4 * i] = away2 * 0.5
        out[lob + 4 * i + 1] = ln1p_count(q, constants)
        size += q
        x = min((away2 - best2) >> 1, SLOPE_TICKS_MAX)
        sum_x += x
        sum_y += size
        sum_xx += x * x
        sum_xy += x * size
        if i == 0:
            out[depth] = ln1p_count(size, constants)
        if i == 4:
            out[depth + 1] = ln1p_count(size, constants)
    out[depth + 2] = ln1p_count(size, constants)
    out[slope] = float(LEVELS * sum_xy - sum_x * sum_y) / float(LEVELS * sum_xx - sum_x * sum_x)


_LOB_ASK: Final = COLUMN["lob_ask_px_0"]
_LOB_BID: Final = COLUMN["lob_bid_px_0"]
_DEPTH_BID, _DEPTH_ASK = COLUMN["depth_bid_1"], COLUMN["depth_ask_1"]
_SLOPE_BID, _SLOPE_ASK = COLUMN["slope_bid"], COLUMN["slope_ask"]
_MID2, _SPREAD, _SPREAD_EWMA = COLUMN["mid2"], COLUMN["spread"], COLUMN["spread_ewma_60s"]
_QI_0, _QI_2, _QI_4, _QI_9 = COLUMN["qi_0"], COLUMN["qi_2"], COLUMN["qi_4"], COLUMN["qi_9"]
_MICRO_W, _MICRO_S = COLUMN["micro_w"], COLUMN["micro_s"]


@scan_kernel
def emit_touch(ints: Ints, floats: Floats, constants: Floats, out: Floats) -> None:
    """Mid, spread, imbalances, micro-prices."""
    bid, ask = ints[PX], ints[PX + LEVELS]
    bid_qty, ask_qty = ints[QTY], ints[QTY + LEVELS]
    spread = ask - bid
    out[_MID2] = float(bid + ask)
    out[_SPREAD] = float(spread)
    out[_SPREAD_EWMA] = floats[SPREAD_EWMA]
    imbalance = float(bid_qty - ask_qty) / float(bid_qty + ask_qty)
    out[_QI_0] = imbalance
    out[_MICRO_W] = 0.5 * spread * imbalance
    bucket = min(MICRO_BUCKETS * bid_qty // (bid_qty + ask_qty), MICRO_BUCKETS - 1)
    out[_MICRO_S] = constants[MICRO_AT + bucket * MICRO_SPREADS + min(spread, MICRO_SPREADS) - 1]
    for i in range(1, 3):
        bid_qty += ints[QTY + i]
        ask_qty += ints[QTY + LEVELS + i]
    out[_QI_2] = float(bid_qty - ask_qty) / float(bid_qty + ask_qty)
    for i in range(3, 5):
        bid_qty += ints[QTY + i]
        ask_qty += ints[QTY + LEVELS + i]
    out[_QI_4] = float(bid_qty - ask_qty) / float(bid_qty + ask_qty)
    for i in range(5, 10):
        bid_qty += ints[QTY + i]
        ask_qty += ints[QTY + LEVELS + i]
    out[_QI_9] = float(bid_qty - ask_qty) / float(bid_qty + ask_qty)


@scan_kernel
def emit_window(ints: Ints, out: Floats, before: int, ofi: int, ofi_rel: int, tfi: int) -> None:
    """Order flow at the best, the same relative to the mean size there, and trade-flow imbalance, over one window."""
    flow = ints[TOTALS + T_OFI] - ints[before + T_OFI - FLOW_FIRST]
    touch = ints[TOTALS + T_TOUCH] - ints[before + T_TOUCH - FLOW_FIRST]
    depths = ints[TOTALS + T_DEPTHS] - ints[before + T_DEPTHS - FLOW_FIRST]
    signed = ints[TOTALS + T_SIGNED] - ints[before + T_SIGNED - FLOW_FIRST]
    volume = ints[TOTALS + T_VOLUME] - ints[before + T_VOLUME - FLOW_FIRST]
    out[ofi] = float(flow)
    out[ofi_rel] = float(2 * flow * depths) / float(max(touch, 1))
    out[tfi] = float(signed) / float(max(volume, 1))


@scan_kernel
def emit_levels(ints: Ints, out: Floats, before: int, column: int) -> None:
    """Order flow per level over one window."""
    for i in range(LEVELS):
        out[column + i] = float(ints[TOTALS + T_OFI + i] - ints[before + T_OFI - FLOW_FIRST + i])


_OFI, _OFI_REL, _TFI = COLUMN["ofi_1s"], COLUMN["ofi_rel_1s"], COLUMN["tfi_1s"]
_OFI_EVENTS = COLUMN["ofi_100ev"]
_ML_1S, _ML_5S, _ML_30S = COLUMN["mlofi_0_1s"], COLUMN["mlofi_0_5s"], COLUMN["mlofi_0_30s"]
_IOFI = COLUMN["iofi_5s"]


@scan_kernel
def emit_flow(ints: Ints, constants: Floats, out: Floats) -> None:
    """Everything that is a sum over a window."""
    at_1s = window_at(ints, W_1S, FLOW_WIDTH)
    at_5s = window_at(ints, W_5S, FLOW_WIDTH)
    at_30s = window_at(ints, W_30S, FLOW_WIDTH)
    emit_window(ints, out, at_1s, _OFI, _OFI_REL, _TFI)
    emit_window(ints, out, at_5s, _OFI + 1, _OFI_REL + 1, _TFI + 1)
    emit_window(ints, out, at_30s, _OFI + 2, _OFI_REL + 2, _TFI + 2)
    emit_window(ints, out, window_at(ints, W_300S, LONG_WIDTH), _OFI + 3, _OFI_REL + 3, _TFI + 3)
    emit_levels(ints, out, at_1s, _ML_1S)
    emit_levels(ints, out, at_5s, _ML_5S)
    emit_levels(ints, out, at_30s, _ML_30S)
    integrated = 0.0
    for i in range(LEVELS):
        integrated += constants[LOADINGS_AT + i] * out[_ML_5S + i]
    out[_IOFI] = integrated
    count = ints[OFI_COUNT]
    out[_OFI_EVENTS] = float(ints[TOTALS + T_OFI] - ints[OFI_RING + (max(count - OFI_EVENTS, 0) & _RING_MASK)])


_EVENTS_FAST, _EVENTS_SLOW = COLUMN["intens_events_1s"], COLUMN["intens_events_60s"]
_TRADES_FAST, _TRADES_SLOW = COLUMN["intens_trades_1s"], COLUMN["intens_trades_60s"]
_RV, _LN_DT = COLUMN["rv_10s"], COLUMN["ln_dt"]


@scan_kernel
def emit_activity(ints: Ints, floats: Floats, constants: Floats, out: Floats) -> None:
    """Intensities, realised variance, time since the event before."""
    out[_EVENTS_FAST] = ln(1.0 + floats[EVENTS_FAST], constants)
    out[_EVENTS_SLOW] = ln(1.0 + floats[EVENTS_SLOW], constants)
    out[_TRADES_FAST] = ln(1.0 + floats[TRADES_FAST], constants)
    out[_TRADES_SLOW] = ln(1.0 + floats[TRADES_SLOW], constants)
    out[_RV] = 0.25 * float(ints[TOTALS + T_SQUARES] - ints[window_at(ints, W_RV, 1)])
    out[_LN_DT] = ln(1.0 + ints[LAST_DT] * _MS_PER_NS, constants)


@scan_kernel
def emit(ints: Ints, floats: Floats, constants: Floats, out: Floats) -> None:
    """All columns (COUNT,) of the state; only with a book in it."""
    emit_side(ints, constants, out, LEVELS, 1, _LOB_ASK, _DEPTH_ASK, _SLOPE_ASK)
    emit_side(ints, constants, out, 0, -1, _LOB_BID, _DEPTH_BID, _SLOPE_BID)
    emit_touch(ints, floats, constants, out)
    emit_flow(ints, constants, out)
    emit_activity(ints, floats, constants, out)
