"""Run the books: one depth row per slot, and before it a trade row where something traded. Plain Python in numba's subset.

Why the null market is a martingale, whatever is observed: the mid moves only in `_shift`, `_widen` and `_narrow`, each with a direction
that `sign_u < 1/2 (1 + delta)` decides from a draw nobody has seen and, with delta = 0, from nothing else. Whether and how far the book
moves may depend on the past; which way may not.
"""

import numpy as np
import numpy.typing as npt

from tidemark.events import I8, I16, I32, I64, LEVELS
from tidemark.jit import kernel
from tidemark.market.rule import F64, P_FAR_SHARE, P_FLOW_SCALE, P_LEAD, P_LEAD_SCALE, P_OWN, P_RESILIENT
from tidemark.market.timeline import MOVE, NEWS, SIZE, SNAPSHOT, TRADE_LEAD_NS

FAR_LEVEL = 5  # the rule's far levels are FAR_LEVEL..9
SHAPED_LEVEL = 5  # levels from here on change size with the liquidity state
THICK_FACTOR = 3.5
SPREAD_MAX = 4
TOUCH_SHARE = 0.6  # of size changes that happen at the best level
TRADE_SHARE, ADD_SHARE = 0.15, 0.50  # of size changes at the touch; the rest are cancellations
ADD_FRAC, CANCEL_FRAC = 0.9, 0.6  # largest change of a level: of its typical size, of what it holds
MOVE_TRADE_PROB = 0.2  # the touch that goes away is traded away, otherwise cancelled
MOVE_FULL_PROB = 0.6  # and then all of it is traded, otherwise part is and the rest leaves
NARROW_PROB = 0.85  # a move at a wide spread closes it
WIDEN_MORE_PROB = 0.05
PROFILE = np.array([1.0, 1.0, 1.05, 1.05, 1.05, 0.95, 0.9, 0.85, 0.8, 0.8])  # mean size by level, in touch sizes

# Columns of the parameter table, one row per symbol.
T_TOUCH, T_TRADE, T_WIDEN, T_HEAL, T_BETA, T_LEADER, T_FLOW_UNIT = range(7)
# Columns of the integer state, one row per symbol: the best prices and the far levels' state.
S_BID, S_ASK, S_THICK = range(3)
# Columns of the float state: the rule's decayed sums.
F_FLOW, F_LEAD = range(2)


@kernel
def _draw_qty(pool: F64, cursor: I64, typical: float) -> int:
    """A fresh level size, at least 1."""
    value = pool[cursor[0] % len(pool)]
    cursor[0] += 1
    return 1 + int(value * max(typical - 0.5, 0.0))


@kernel
def _draw_near(pool: F64, cursor: I64, typical: float) -> int:
    """A fresh size near the touch, more dispersed than a far one: the product of two draws."""
    value = pool[cursor[0] % len(pool)]
    cursor[0] += 1
    return _draw_qty(pool, cursor, typical * value)


@kernel
def _typical(touch_qty: float, level: int, thick: int) -> float:
    """Mean size of a level in the present liquidity state."""
    size = touch_qty * float(PROFILE[level])
    if thick == 1 and level >= SHAPED_LEVEL:
        size *= THICK_FACTOR
    return size


@kernel
def _drop_best(qty: I64, side: int, thick: int, touch_qty: float, pool: F64, cursor: I64) -> None:
    """The best level of `side` (0 bid, 1 ask) leaves; a new one appears behind the tenth.

    Makers size their quotes by distance from the touch, so the level that comes near is requoted as a near one.
    """
    start = side * LEVELS
    for level in range(LEVELS - 1):
        qty[start + level] = qty[start + level + 1]
    qty[start + SHAPED_LEVEL - 1] = _draw_near(pool, cursor, _typical(touch_qty, SHAPED_LEVEL - 1, thick))
    qty[start + LEVELS - 1] = _draw_qty(pool, cursor, _typical(touch_qty, LEVELS - 1, thick))


@kernel
def _push_best(qty: I64, side: int, thick: int, touch_qty: float, pool: F64, cursor: I64) -> None:
    """A new best level of `side` appears; the tenth leaves the view, and the level that goes far is requoted as a far one."""
    start = side * LEVELS
    for level in range(LEVELS - 1, 0, -1):
        qty[start + level] = qty[start + level - 1]
    qty[start + SHAPED_LEVEL] = _draw_qty(pool, cursor, _typical(touch_qty, SHAPED_LEVEL, thick))
    qty[start] = _draw_near(pool, cursor, touch_qty)


@kernel
def _redraw_far(state: I64, qty: I64, touch_qty: float, pool: F64, cursor: I64) -> None:
    """Market makers requote their far levels: after a change of the liquidity state, and around a new price."""
    for level in range(SHAPED_LEVEL, LEVELS):
        size = _typical(touch_qty, level, state[S_THICK])
        qty[level] = _draw_qty(pool, cursor, size)
        qty[LEVELS + level] = _draw_qty(pool, cursor, size)


@kernel
def _shift(state: I64, qty: I64, up: bool, ticks: int, touch_qty: float, pool: F64, cursor: I64) -> None:
    """Both sides move by `ticks`: one side's best levels go, the other gets as many new ones."""
    for _ in range(min(ticks, LEVELS)):  # beyond ten steps every level is new anyway
        _drop_best(qty, 1 if up else 0, state[S_THICK], touch_qty, pool, cursor)
        _push_best(qty, 0 if up else 1, state[S_THICK], touch_qty, pool, cursor)
    step = ticks if up else -ticks
    state[S_BID] += step
    state[S_ASK] += step


@kernel
def _widen(state: I64, qty: I64, up: bool, touch_qty: float, pool: F64, cursor: I64) -> None:
    """The best level of one side goes: the ask for a move up, the bid for one down."""
    _drop_best(qty, 1 if up else 0, state[S_THICK], touch_qty, pool, cursor)
    if up:
        state[S_ASK] += 1
    else:
        state[S_BID] -= 1


@kernel
def _narrow(state: I64, qty: I64, up: bool, touch_qty: float, pool: F64, cursor: I64) -> None:
    """An order inside the spread: a bid for a move up, an offer for one down."""
    _push_best(qty, 0 if up else 1, state[S_THICK], touch_qty, pool, cursor)
    if up:
        state[S_BID] += 1
    else:
        state[S_ASK] -= 1


@kernel
def _change_level(qty: I64, at: int, typical: float, grow: bool, size_u: float) -> int:
    """Add to or cancel from one level, pulled towards its typical size; never to nothing. Returns the change."""
    held = qty[at]
    if grow or held <= 1:
        change = 1 + int(size_u * ADD_FRAC * typical * typical / (typical + held))
    else:
        change = -min(held - 1, 1 + int(size_u * CANCEL_FRAC * held))
    qty[at] = held + change
    return change


@kernel
def _touch_change(qty: I64, buying: bool, draws: F64, touch_qty: float, trade_qty: float, pool: F64, cursor: I64) -> int:
    """A size change at the best level that favours one side. Returns the signed traded size, 0 without a trade."""
    helped = 0 if buying else LEVELS
    hurt = LEVELS - helped
    mode = draws[5]
    if qty[hurt] > 1 and mode < TRADE_SHARE:
        traded = min(qty[hurt] - 1, _draw_near(pool, cursor, trade_qty * pool[(cursor[0] + 2) % len(pool)]))
        qty[hurt] -= traded
        return int(traded if buying else -traded)
    if qty[hurt] > 1 and mode >= TRADE_SHARE + ADD_SHARE:
        _change_level(qty, hurt, touch_qty, False, draws[4])
    else:
        _change_level(qty, helped, touch_qty, True, draws[4])
    return 0


@kernel
def _deep_change(state: I64, qty: I64, draws: F64, touch_qty: float) -> None:
    """A size change behind the touch, on a level and side picked evenly."""
    level = 1 + int(draws[6] * (LEVELS - 1))
    at = level + (LEVELS if draws[7] < 0.5 else 0)
    typical = _typical(touch_qty, level, state[S_THICK])
    _change_level(qty, at, typical, draws[5] * (typical + qty[at]) < typical, draws[4])


@kernel
def touch_imbalance(bid: int, bid_qty: int, ask: int, ask_qty: int, bid0: int, bid_qty0: int, ask0: int, ask_qty0: int) -> int:
    """Contribution e of one depth row (before: the 0 arguments) to order-flow imbalance. Source: Cont, Kukanov & Stoikov 2014."""
    change = 0
    if bid >= bid0:
        change += bid_qty
    if bid <= bid0:
        change -= bid_qty0
    if ask <= ask0:
        change -= ask_qty
    if ask >= ask0:
        change += ask_qty0
    return change


@kernel
def flow_weight(qty: npt.NDArray[np.signedinteger], rule: F64) -> float:
    """Weight of flow that meets this book: 1 where the far levels are thin, negative where they are thick."""
    far = 0
    total = 0
    for level in range(LEVELS):
        both = int(qty[level]) + int(qty[LEVELS + level])
        total += both
        if level >= FAR_LEVEL:
            far += both
    return 1.0 if far < rule[P_FAR_SHARE] * total else -rule[P_RESILIENT]


@kernel
def _clip(value: float) -> float:
    return float(max(-1.0, min(1.0, value)))


@kernel
def rule_delta(flow: float, lead: float, follows: float, rule: F64) -> float:
    """Excess of the up-probability, doubled. `follows` is the symbol's beta to the leader, 0 for the leader itself."""
    return float(rule[P_OWN] * _clip(flow / rule[P_FLOW_SCALE]) + rule[P_LEAD] * _clip(follows * lead / rule[P_LEAD_SCALE]))


@kernel
def _put_depth(row: int, state: I64, qty: I64, px_out: I64, qty_out: I32) -> None:
    for level in range(LEVELS):
        px_out[row, level] = state[S_BID] - level
        px_out[row, LEVELS + level] = state[S_ASK] + level
        qty_out[row, level] = qty[level]
        qty_out[row, LEVELS + level] = qty[LEVELS + level]


@kernel
def _step(
    kind: int, state: I64, qty: I64, up: bool, thick: int, buy_prob: float, ticks: int, draws: F64, table: F64, pool: F64, cursor: I64
) -> int:
    """One slot's change of one book. Returns the signed traded size: at the touch on the side that the sign names."""
    touch_qty = table[T_TOUCH]
    spread = state[S_ASK] - state[S_BID]
    best = qty[LEVELS] if up else qty[0]
    sign = 1 if up else -1
    consumed = False
    if kind == SNAPSHOT:
        return 0
    if kind == NEWS:
        _shift(state, qty, up, ticks, touch_qty, pool, cursor)
        consumed = True
    elif kind == MOVE and spread == 1:
        consumed = True
        if draws[0] < table[T_WIDEN]:
            _widen(state, qty, up, touch_qty, pool, cursor)
        else:
            _shift(state, qty, up, ticks, touch_qty, pool, cursor)
    elif kind == MOVE:
        if draws[0] < NARROW_PROB or (spread >= SPREAD_MAX and draws[0] < NARROW_PROB + WIDEN_MORE_PROB):
            _narrow(state, qty, up, touch_qty, pool, cursor)
        elif draws[0] < NARROW_PROB + WIDEN_MORE_PROB:
            _widen(state, qty, up, touch_qty, pool, cursor)
            consumed = True
        else:
            _shift(state, qty, up, ticks, touch_qty, pool, cursor)
            consumed = True
    elif spread > 1 and draws[0] < table[T_HEAL]:
        _narrow(state, qty, up, touch_qty, pool, cursor)
    elif state[S_THICK] != thick:
        state[S_THICK] = thick
        _redraw_far(state, qty, touch_qty, pool, cursor)
    elif draws[2] < TOUCH_SHARE:
        return _touch_change(qty, draws[3] < buy_prob, draws, touch_qty, table[T_TRADE], pool, cursor)
    else:
        _deep_change(state, qty, draws, touch_qty)
    if consumed and draws[1] < MOVE_TRADE_PROB:
        part = _draw_qty(pool, cursor, table[T_TRADE])
        return int(sign * (best if draws[2] < MOVE_FULL_PROB else min(best, part)))
    return 0


@kernel
def run_slots(
    first: int, last: int, symbol_i: I16, kind: I8, ts_ns: I64, recv_ts_ns: I64, move_ticks: I64, sign_u: F64, buy_prob: F64, thick: I8,
    flow_keep: F64, delayed: I64, lead_keep: F64, flow_path: F64, uniforms: F64, pool: F64, cursor: I64, table: F64, rule: F64,
    state: I64, qty: I64, sums: F64,
    symbol_out: I16, kind_out: I8, aggressor_out: I8, ts_out: I64, recv_out: I64, px_out: I64, qty_out: I32,
) -> int:  # fmt: skip
    """Slots [first, last) into the output arrays, which hold at least twice as many rows. Returns the number of rows.

    Shapes  slots as in `Timeline`; table, state, sums (symbols, ..); qty (symbols, 20); sums' lead stands in row 0 for all.
    """
    row = 0
    for i in range(first, last):
        s = symbol_i[i]
        book = state[s]
        sizes = qty[s]
        bid0, ask0, bid_qty0, ask_qty0 = book[S_BID], book[S_ASK], sizes[0], sizes[LEVELS]
        weight = flow_weight(sizes, rule)
        flow = sums[s, F_FLOW] * flow_keep[i]
        acting = flow_path[delayed[i]] if delayed[i] >= 0 else 0.0
        lead = sums[0, F_LEAD] * lead_keep[i]
        delta = 0.0 if kind[i] == NEWS else rule_delta(acting, lead, table[s, T_BETA], rule)
        up = sign_u[i] < 0.5 * (1.0 + delta)
        traded = _step(kind[i], book, sizes, up, thick[i], buy_prob[i], move_ticks[i], uniforms[i], table[s], pool, cursor)
        if traded != 0:
            symbol_out[row], kind_out[row], aggressor_out[row] = s, 1, 1 if traded > 0 else -1
            ts_out[row], recv_out[row] = ts_ns[i] - TRADE_LEAD_NS, recv_ts_ns[i] - TRADE_LEAD_NS
            px_out[row, 0] = ask0 if traded > 0 else bid0
            qty_out[row, 0] = abs(traded)
            row += 1
        symbol_out[row], ts_out[row], recv_out[row] = s, ts_ns[i], recv_ts_ns[i]
        _put_depth(row, book, sizes, px_out, qty_out)
        row += 1
        change = 0
        if kind[i] != SNAPSHOT:
            change = touch_imbalance(book[S_BID], sizes[0], book[S_ASK], sizes[LEVELS], bid0, bid_qty0, ask0, ask_qty0)
        sums[s, F_FLOW] = flow + weight * change / table[s, T_FLOW_UNIT]
        flow_path[i] = sums[s, F_FLOW]
        if table[s, T_LEADER] > 0.0:
            sums[0, F_LEAD] = lead + (book[S_BID] + book[S_ASK] - bid0 - ask0)
    return row


assert SIZE not in (SNAPSHOT, MOVE, NEWS)
