"""Apply events until something must be decided: the engine's hot loop.

Between two decisions pass thousands of events. For each, in this order:
  start  nothing on the agenda may be older than the event (else stop: DUE), so requests that reached the venue before it are matched
         against the book before it;
  venue  the event updates the queue in front of our resting orders and fills them (stop: FILL);
  local  the clock moves to the event's receive time; reports and timers due by then come first (stop: LOCAL), they see the book before it;
  book   the event becomes our book: marks, equity, loss limit, stop and target triggers, data state (stop: bits of EVENT_REASONS).
A stop in the middle of an event is resumed there (`glob[PHASE]`). All integers; the same code compiled and not.

Queue model: first in, first out at a price. We join behind the displayed size; trades at our price consume the front; a decrease that
trades do not explain is cancellations, pro rata in front of and behind us; nothing that joins later is in front. Prints through our
price, and a book that crosses it, fill us up to the size that traded or is displayed there, once.
"""

from typing import Final

from tidemark.engine import layout as at
from tidemark.events import I8, I16, I32, I64, LEVELS
from tidemark.jit import kernel
from tidemark.units import BPS_PER_ONE, NO_PRICE

# Why the scan stopped. The first four resume at the same event, the bits after it.
END: Final = 0
AGENDA_DUE: Final = -1
FILL: Final = -2
LOCAL_DUE: Final = -3
DATA_BIT: Final = 1  # a book became unusable, or usable again
HALT_BIT: Final = 2
STOP_BIT: Final = 4
TARGET_BIT: Final = 8
RETRY_BIT: Final = 16
WAKE_BIT: Final = 32
MARKS_BIT: Final = 64  # the buffer of equity marks is full

BEYOND: Final = -1
"""`level_qty`: the price is deeper than the levels that we see."""


@kernel
def level_qty(px_ticks: I64, qty: I32, side: int, price_ticks: int) -> int:
    """Displayed size at a price of one side; 0 where the level is absent, BEYOND where it may be there and is not shown.

    Shapes  px_ticks, qty (20,): one book. `side` is +1 for bids.
    """
    first = 0 if side > 0 else LEVELS
    for j in range(first, first + LEVELS):
        price = px_ticks[j]
        if price == NO_PRICE:
            return 0
        if price == price_ticks:
            return int(qty[j])
        if (price - price_ticks) * side < 0:
            return 0
    return BEYOND


@kernel
def crossing_qty(px_ticks: I64, qty: I32, side: int, price_ticks: int) -> int:
    """Displayed size on the other side that an order of `side` at `price_ticks` could trade with."""
    first = LEVELS if side > 0 else 0
    total = 0
    for j in range(first, first + LEVELS):
        price = px_ticks[j]
        if price == NO_PRICE or (price - price_ticks) * side > 0:
            break
        total += int(qty[j])
    return total


@kernel
def rest_on_depth(orders: I64, row_count: int, s: int, old_px: I64, old_qty: I32, new_px: I64, new_qty: I32) -> bool:
    """Move our resting orders of symbol `s` through a new book. Returns whether one was filled (see `at.O_FILL`)."""
    filled = False
    for m in range(row_count):
        if orders[m, at.O_ACTIVE] == 0 or orders[m, at.O_SYM] != s:
            continue
        side = orders[m, at.O_SIDE]
        price = orders[m, at.O_PRICE]
        crossed = crossing_qty(new_px, new_qty, side, price)
        if crossed > 0:
            filled_qty = min(max(crossed - orders[m, at.O_TAKEN], 0), orders[m, at.O_LEAVES])
            orders[m, at.O_TAKEN] += filled_qty
            orders[m, at.O_LEAVES] -= filled_qty
            orders[m, at.O_FILL] += filled_qty
            orders[m, at.O_AHEAD] = 0
            filled |= filled_qty > 0
        else:
            orders[m, at.O_TAKEN] = 0
            _advance_queue(orders, m, level_qty(old_px, old_qty, side, price), level_qty(new_px, new_qty, side, price))
        orders[m, at.O_TRADED] = 0
    return filled


@kernel
def _advance_queue(orders: I64, m: int, displayed_before: int, displayed: int) -> None:
    """Contracts in front of order `m` after the displayed size at its price went from one figure to the other."""
    ahead = orders[m, at.O_AHEAD]
    if displayed == BEYOND:
        return
    if ahead == at.AHEAD_UNKNOWN or displayed_before == BEYOND:
        orders[m, at.O_AHEAD] = displayed if ahead == at.AHEAD_UNKNOWN else min(ahead, displayed)
        return
    untraded = max(displayed_before - orders[m, at.O_TRADED], 0)
    cancelled = untraded - displayed
    if cancelled > 0:
        ahead -= cancelled * ahead // untraded
    orders[m, at.O_AHEAD] = min(ahead, displayed)


@kernel
def rest_on_trade(orders: I64, row_count: int, s: int, price_ticks: int, qty: int, aggressor: int) -> bool:
    """A print of symbol `s`. Returns whether it filled one of our resting orders. An unknown aggressor may be either side."""
    filled = False
    for m in range(row_count):
        side = orders[m, at.O_SIDE]
        if orders[m, at.O_ACTIVE] == 0 or orders[m, at.O_SYM] != s or aggressor == side:
            continue
        through = (orders[m, at.O_PRICE] - price_ticks) * side
        if through < 0 or (through == 0 and orders[m, at.O_AHEAD] == at.AHEAD_UNKNOWN):
            continue
        reaches_us = qty
        if through == 0:
            orders[m, at.O_TRADED] += qty
            front = min(orders[m, at.O_AHEAD], qty)
            orders[m, at.O_AHEAD] -= front
            reaches_us -= front
        else:
            orders[m, at.O_AHEAD] = 0
        filled_qty = min(reaches_us, orders[m, at.O_LEAVES])
        orders[m, at.O_LEAVES] -= filled_qty
        orders[m, at.O_FILL] += filled_qty
        filled |= filled_qty > 0
    return filled


@kernel
def _count_quality(sym: I64, s: int, ts_ns: int, bad: int) -> None:
    """Two half windows, so that the figure forgets and costs nothing. Before the open, crossed books are what an auction looks like."""
    if ts_ns < sym[s, at.QUALITY_FROM]:
        return
    sym[s, at.SEEN] += 1
    sym[s, at.BAD] += bad
    if sym[s, at.SEEN] == at.QUALITY_HALF_EVENTS:
        sym[s, at.SEEN_BEFORE] = sym[s, at.SEEN]
        sym[s, at.BAD_BEFORE] = sym[s, at.BAD]
        sym[s, at.SEEN] = 0
        sym[s, at.BAD] = 0


@kernel
def revalue(sym: I64, glob: I64, s: int) -> None:
    """Equity, high-water mark and drawdown after the price or the position of `s` changed. Marks at the side that an exit would take."""
    pos = sym[s, at.POS]
    unreal = 0
    if pos > 0:
        unreal = sym[s, at.TICK_VALUE] * (pos * sym[s, at.BID] - sym[s, at.COST])
    elif pos < 0:
        unreal = sym[s, at.TICK_VALUE] * (pos * sym[s, at.ASK] - sym[s, at.COST])
    glob[at.EQUITY] += unreal - sym[s, at.UNREAL]
    sym[s, at.UNREAL] = unreal
    if glob[at.EQUITY] >= glob[at.HIGH_WATER]:
        glob[at.HIGH_WATER] = glob[at.EQUITY]
    elif glob[at.HIGH_WATER] > 0:
        drawdown_bps = (glob[at.HIGH_WATER] - glob[at.EQUITY]) * BPS_PER_ONE // glob[at.HIGH_WATER]
        glob[at.DRAWDOWN_BPS_MAX] = max(glob[at.DRAWDOWN_BPS_MAX], drawdown_bps)


@kernel
def _triggered(sym: I64, glob: I64, s: int) -> int:
    """Bits of what the new price of symbol `s`, in which we hold a position, sets off. Quotes, not prints: the exit side must be there."""
    bits = 0
    if glob[at.EQUITY] <= glob[at.HALT_EQUITY]:
        bits |= HALT_BIT
    armed = sym[s, at.ARMED]
    if armed == 0:
        return bits
    is_long = sym[s, at.POS] > 0
    price = sym[s, at.BID] if is_long else sym[s, at.ASK]
    if armed & at.ARM_STOP and (price <= sym[s, at.STOP] if is_long else price >= sym[s, at.STOP]):
        bits |= STOP_BIT
    if armed & at.ARM_TARGET and (price >= sym[s, at.TARGET] if is_long else price <= sym[s, at.TARGET]):
        bits |= TARGET_BIT
    return bits


@kernel
def _mark(sym: I64, glob: I64, marks: I64) -> int:
    """Note the equity where it differs from the last mark. Returns MARKS_BIT when the buffer is full."""
    glob[at.MARK_NEXT] = (glob[at.NOW] // glob[at.MARK_EVERY] + 1) * glob[at.MARK_EVERY]
    if glob[at.EQUITY] == glob[at.MARK_LAST]:
        return 0
    stale = 0
    for s in range(sym.shape[0]):
        if sym[s, at.POS] != 0 and sym[s, at.L_OK] <= at.UNUSABLE_BOOK:
            stale = 1
    m = glob[at.MARK_COUNT]
    marks[m, at.M_TS] = glob[at.NOW]
    marks[m, at.M_EQUITY] = glob[at.EQUITY]
    marks[m, at.M_CASH] = glob[at.CASH]
    marks[m, at.M_HIGH_WATER] = glob[at.HIGH_WATER]
    marks[m, at.M_DRAWDOWN_BPS_MAX] = glob[at.DRAWDOWN_BPS_MAX]
    marks[m, at.M_STALE] = stale
    glob[at.MARK_LAST] = glob[at.EQUITY]
    glob[at.MARK_COUNT] = m + 1
    return MARKS_BIT if m + 1 == at.MARKS_MAX else 0


@kernel
def scan(
    start: int,
    stop: int,
    symbol_i: I16,
    kind: I8,
    aggressor: I8,
    event_ts_ns: I64,
    recv_ts_ns: I64,
    px_ticks: I64,
    qty: I32,
    grade: I8,
    code: I8,
    sym: I64,
    held_px: I64,
    held_qty: I32,
    orders: I64,
    glob: I64,
    marks: I64,
    defects: I64,
) -> tuple[int, int]:
    """Events `start` to `stop` of a block, or up to the first that must be decided on.

    Shapes   columns of the block (n,), px_ticks and qty (n, 20); grade, code (n,) from the data check; the rest as in `layout.State`;
             defects (symbols, codes) counts events.
    Returns  (row to go on at, reason). Reasons above END are bits, with the symbol's own in `sym[:, at.FIRED]`.
    """
    i = start
    reason = END
    now = glob[at.NOW]
    due = glob[at.DUE]
    due_local = glob[at.DUE_LOCAL]
    wake_rows = glob[at.WAKE_ROWS]
    mark_next = glob[at.MARK_NEXT]
    rows = glob[at.ROWS]
    phase = glob[at.PHASE]
    while i < stop:
        s = symbol_i[i]
        g = grade[i]
        is_depth = kind[i] == 0
        if phase == at.PHASE_START:
            if g < at.DAMAGED and due < event_ts_ns[i]:
                reason = AGENDA_DUE
                break
            if g >= at.DAMAGED:
                defects[s, code[i]] += 1
                _count_quality(sym, s, now, 1)
                i += 1
                if g == at.DAMAGED and is_depth:
                    sym[s, at.V_OK] = at.UNUSABLE_BOOK
                    if sym[s, at.L_OK] > at.UNUSABLE_BOOK:
                        sym[s, at.L_OK] = at.UNUSABLE_BOOK
                        sym[s, at.LAST_CODE] = code[i - 1]
                        reason = DATA_BIT
                        break
                continue
            filled = False
            if is_depth:
                if g <= at.LOCKED:
                    if sym[s, at.RESTING] != 0:
                        v = sym[s, at.V_ROW]
                        if v == at.HELD:
                            filled = rest_on_depth(orders, glob[at.ORDER_ROWS], s, held_px[s], held_qty[s], px_ticks[i], qty[i])
                        else:
                            filled = rest_on_depth(orders, glob[at.ORDER_ROWS], s, px_ticks[v], qty[v], px_ticks[i], qty[i])
                    sym[s, at.V_ROW] = i
                    sym[s, at.V_OK] = at.OPEN_BOOK - g
                    sym[s, at.V_VERSION] += 1
                else:
                    sym[s, at.V_OK] = at.UNUSABLE_BOOK
            elif sym[s, at.RESTING] != 0:
                filled = rest_on_trade(orders, glob[at.ORDER_ROWS], s, px_ticks[i, 0], int(qty[i, 0]), int(aggressor[i]))
            if filled:
                phase = at.PHASE_LOCAL
                reason = FILL
                break
        seen_at = max(now, event_ts_ns[i], recv_ts_ns[i])
        if due_local <= seen_at:  # the clock stays where it is: what is due happens at its own time
            phase = at.PHASE_LOCAL
            reason = LOCAL_DUE
            break
        phase = at.PHASE_START
        now = seen_at
        rows += 1
        defects[s, code[i]] += 1
        _count_quality(sym, s, event_ts_ns[i], 1 if g != at.GOOD else 0)
        if not is_depth:
            sym[s, at.TRADES] += 1
        elif g <= at.LOCKED:
            sym[s, at.L_ROW] = i
            sym[s, at.BID] = px_ticks[i, 0]
            sym[s, at.ASK] = px_ticks[i, LEVELS]
            sym[s, at.BOOK_TS] = event_ts_ns[i]
            fired = 0
            if sym[s, at.L_OK] == at.UNUSABLE_BOOK:
                fired = DATA_BIT
                sym[s, at.LAST_CODE] = code[i]
            sym[s, at.L_OK] = at.OPEN_BOOK - g
            if sym[s, at.POS] != 0:
                revalue(sym, glob, s)
                fired |= _triggered(sym, glob, s)
            if sym[s, at.RETRY] != 0:
                fired |= RETRY_BIT
            reason |= fired
        elif sym[s, at.L_OK] != at.UNUSABLE_BOOK:
            if sym[s, at.L_OK] > at.UNUSABLE_BOOK:
                reason |= DATA_BIT
            sym[s, at.L_OK] = at.UNUSABLE_BOOK
            sym[s, at.LAST_CODE] = code[i]
        if now >= mark_next:
            glob[at.NOW] = now
            reason |= _mark(sym, glob, marks)
            mark_next = glob[at.MARK_NEXT]
        if rows >= wake_rows:
            reason |= WAKE_BIT
        i += 1
        if reason != END:
            break
    glob[at.NOW] = now
    glob[at.ROWS] = rows
    glob[at.PHASE] = phase
    return i, reason
