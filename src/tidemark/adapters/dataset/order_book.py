"""A venue's order-by-order messages (L3) rebuilt into ten-level books, event group by event group.

The rules are Databento's (DBN, schema mbo): the book may be looked at only at the last record of an event group; a trade and a fill
change nothing (a cancel or a modify follows); clear empties the book; a book flagged as possibly bad is shown as empty until a clear
or a snapshot. A trade row is made for every trade, a depth row for every group that changed the price, the size or the number of
orders of one of the ten levels (a trade against undisplayed size changes none).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tidemark.adapters.dataset.rows import Made
from tidemark.events import I8, I64, LEVELS, SIDES_LEVELS, Kind
from tidemark.jit import kernel
from tidemark.units import NO_PRICE

ADD, CANCEL, MODIFY, CLEAR, TRADE, FILL, NONE = 1, 2, 3, 4, 5, 6, 7
ACTIONS: Final[dict[str, int]] = {"A": ADD, "C": CANCEL, "M": MODIFY, "R": CLEAR, "T": TRADE, "F": FILL, "N": NONE}
BID, ASK, NO_SIDE = 0, 1, 2
SIDES: Final[dict[str, int]] = {"B": BID, "A": ASK, "N": NO_SIDE}
AGGRESSORS: Final = np.array([1, -1, 0], np.int8)
FLAG_LAST, FLAG_SNAPSHOT, FLAG_MAYBE_BAD_BOOK = 0x80, 0x20, 0x04

# Counters of `OrderBook.notes`, in the order of the kernel's array.
NOTES: Final = (
    "cancels of orders that the file never added",
    "modifies of orders that the file never added, taken as adds",
    "adds of orders that rest already, taken as replacements",
    "cancels of more than rests, taken as full",
    "event groups with a book flagged as possibly bad, shown as an empty book",
)
BAD_BOOK_NOTE: Final = NOTES[-1]
_UNKNOWN_CANCEL, _UNKNOWN_MODIFY, _DOUBLE_ADD, _OVER_CANCEL, _BAD_BOOK = range(len(NOTES))
_ORDERS_MIN, _LEVELS_MIN = 1024, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """What records say, arrays of (n,). `side` of a trade is its aggressor's."""

    action: I8
    side: I8
    flags: I64
    price_ticks: I64
    qty: I64
    order_id: I64

    def __getitem__(self, rows: I64) -> "Messages":
        return Messages(
            action=self.action[rows],
            side=self.side[rows],
            flags=self.flags[rows],
            price_ticks=self.price_ticks[rows],
            qty=self.qty[rows],
            order_id=self.order_id[rows],
        )


# Columns of the order table and of the level table.
_ID, _USED, _SIDE, _PRICE, _QTY = range(5)
_KEY, _SIZE, _ORDERS = range(3)


@kernel
def _home(order_id: int, mask: int) -> int:
    """Where an order belongs in the open-addressing table. Order ids run up, so their low bits spread well."""
    return (order_id ^ (order_id >> 20)) & mask


@kernel
def _slot(table: Any, order_id: int) -> int:
    """Row of an order, or the free row where it would go. The table is never full."""
    mask = len(table) - 1
    i = _home(order_id, mask)
    while table[i, _USED] != 0 and table[i, _ID] != order_id:
        i = (i + 1) & mask
    return i


@kernel
def _forget(table: Any, hole: int) -> None:
    """Free a row and pull later orders of its chain back, so that no search stops early."""
    mask = len(table) - 1
    i = hole
    table[hole, _USED] = 0
    while True:
        i = (i + 1) & mask
        if table[i, _USED] == 0:
            return
        if ((i - _home(table[i, _ID], mask)) & mask) >= ((i - hole) & mask):
            for column in range(_QTY + 1):
                table[hole, column] = table[i, column]
            table[i, _USED] = 0
            hole = i


@kernel
def _change_level(levels: Any, counts: Any, side: int, price: int, size: int, orders: int) -> None:
    """Add `size` and `orders` to one price. The levels of a side stand in order of their key, the best last."""
    key = price if side == BID else -price
    count = counts[side]
    low = 0
    high = count
    while low < high:
        middle = (low + high) // 2
        if levels[side, middle, _KEY] < key:
            low = middle + 1
        else:
            high = middle
    if low < count and levels[side, low, _KEY] == key:
        levels[side, low, _SIZE] += size
        levels[side, low, _ORDERS] += orders
        if levels[side, low, _ORDERS] <= 0:
            for j in range(low, count - 1):
                for column in range(_ORDERS + 1):
                    levels[side, j, column] = levels[side, j + 1, column]
            counts[side] = count - 1
    else:
        for j in range(count, low, -1):
            for column in range(_ORDERS + 1):
                levels[side, j, column] = levels[side, j - 1, column]
        levels[side, low, _KEY] = key
        levels[side, low, _SIZE] = size
        levels[side, low, _ORDERS] = orders
        counts[side] = count + 1


@kernel
def _reduce(table: Any, levels: Any, counts: Any, slot: int, qty: int) -> None:
    """Take `qty` off a resting order, and the order out of the book when nothing is left of it."""
    table[slot, _QTY] -= qty
    gone = table[slot, _QTY] <= 0
    _change_level(levels, counts, table[slot, _SIDE], table[slot, _PRICE], -qty, -1 if gone else 0)
    if gone:
        _forget(table, slot)


@kernel
def _show(levels: Any, counts: Any, hidden: bool, shown: Any) -> bool:
    """Write price, size and number of orders of the ten levels of both sides to `shown` (3, 20); true if that changed it."""
    changed = False
    for side in range(2):
        for level in range(LEVELS):
            i = counts[side] - 1 - level
            price = NO_PRICE
            qty = 0
            orders = 0
            if i >= 0 and not hidden:
                price = levels[side, i, _KEY] if side == BID else -levels[side, i, _KEY]
                qty = levels[side, i, _SIZE]
                orders = levels[side, i, _ORDERS]
            j = LEVELS * side + level
            if shown[0, j] != price or shown[1, j] != qty or shown[2, j] != orders:
                shown[0, j] = price
                shown[1, j] = qty
                shown[2, j] = orders
                changed = True
    return changed


@kernel
def _apply(records: Any, state: Any, out: Any) -> int:
    """Run records through the book; returns the number of rows written to `out`.

    records  action, side, flags, price_ticks, qty, order_id, each int64 (n,)
    state    order table (m, 5), levels (2, k, 3), counts (2,), shown (3, 20), whether the book is possibly bad (1,), notes
    out      from_record int64, kind int8 (rows,), px_ticks int64, qty int64 (rows, 20)
    """
    action, side, flags, price_ticks, qty, order_id = records
    table, levels, counts, shown, bad, notes = state
    from_record, out_kind, out_px, out_qty = out
    rows = 0
    for i in range(len(action)):
        act = action[i]
        if flags[i] & FLAG_MAYBE_BAD_BOOK:
            bad[0] = 1
        elif act == CLEAR or flags[i] & FLAG_SNAPSHOT:
            bad[0] = 0
        if act == TRADE:
            from_record[rows] = i
            out_kind[rows] = 1
            out_px[rows, 0] = price_ticks[i]
            out_qty[rows, 0] = qty[i]
            rows += 1
        elif act == CLEAR:
            counts[:] = 0
            table[:, _USED] = 0
        elif act in (ADD, CANCEL, MODIFY):
            slot = _slot(table, order_id[i])
            known = table[slot, _USED] != 0
            if act == CANCEL:
                if known:
                    notes[_OVER_CANCEL] += qty[i] > table[slot, _QTY]
                    _reduce(table, levels, counts, slot, min(qty[i], table[slot, _QTY]))
                else:
                    notes[_UNKNOWN_CANCEL] += 1
            else:
                if known:
                    notes[_DOUBLE_ADD] += act == ADD
                    _reduce(table, levels, counts, slot, table[slot, _QTY])
                    slot = _slot(table, order_id[i])
                else:
                    notes[_UNKNOWN_MODIFY] += act == MODIFY
                if qty[i] > 0 and side[i] != NO_SIDE:
                    table[slot, _ID] = order_id[i]
                    table[slot, _USED] = 1
                    table[slot, _SIDE] = side[i]
                    table[slot, _PRICE] = price_ticks[i]
                    table[slot, _QTY] = qty[i]
                    _change_level(levels, counts, side[i], price_ticks[i], qty[i], 1)
        if flags[i] & FLAG_LAST:
            notes[_BAD_BOOK] += bad[0]
            if _show(levels, counts, bad[0] != 0, shown):
                from_record[rows] = i
                out_kind[rows] = 0
                for j in range(SIDES_LEVELS):
                    out_px[rows, j] = shown[0, j]
                    out_qty[rows, j] = shown[1, j]
                rows += 1
    return rows


class OrderBook:
    """The resting orders of one instrument. Feed `apply` portions of a stream cut anywhere; the rows are the same."""

    def __init__(self) -> None:
        self._table = np.zeros((_ORDERS_MIN, _QTY + 1), np.int64)
        self._levels = np.zeros((2, _LEVELS_MIN, _ORDERS + 1), np.int64)
        self._counts = np.zeros(2, np.int64)
        self._shown = np.zeros((3, SIDES_LEVELS), np.int64)
        self._shown[0] = NO_PRICE
        self._bad = np.zeros(1, np.int64)
        self._notes = np.zeros(len(NOTES), np.int64)

    def apply(self, messages: Messages) -> Made:
        """Rows that these messages make."""
        m = messages
        self._reserve(len(m.action))
        rows_max = int(np.count_nonzero(m.action == TRADE) + np.count_nonzero(m.flags & FLAG_LAST))
        from_record, kind = np.zeros(rows_max, np.int64), np.zeros(rows_max, np.int8)
        px_ticks, sizes = np.full((rows_max, SIDES_LEVELS), NO_PRICE, np.int64), np.zeros((rows_max, SIDES_LEVELS), np.int64)
        columns = (m.action, m.side, m.flags, m.price_ticks, m.qty, m.order_id)
        records = tuple(np.ascontiguousarray(column, dtype=np.int64) for column in columns)
        state = (self._table, self._levels, self._counts, self._shown, self._bad, self._notes)
        rows = _apply(records, state, (from_record, kind, px_ticks, sizes))
        aggressor = np.where(kind[:rows] == Kind.TRADE, AGGRESSORS[m.side[from_record[:rows]]], 0).astype(np.int8)
        return Made(from_record=from_record[:rows], kind=kind[:rows], aggressor=aggressor, px_ticks=px_ticks[:rows], sizes=sizes[:rows])

    @property
    def notes(self) -> dict[str, int]:
        """What in the stream contradicted the book so far."""
        return {text: int(count) for text, count in zip(NOTES, self._notes, strict=True) if count}

    @property
    def order_count(self) -> int:
        """Orders that rest."""
        return int(np.count_nonzero(self._table[:, _USED]))

    def _reserve(self, more: int) -> None:
        """Room for `more` orders and levels: the table at most half full, the kernel never out of bounds."""
        levels = int(self._counts.max()) + more + 1
        if levels > self._levels.shape[1]:
            grown = np.zeros((2, 2 * levels, _ORDERS + 1), np.int64)
            grown[:, : self._levels.shape[1]] = self._levels
            self._levels = grown
        orders = self.order_count + more
        if 2 * orders > len(self._table):
            old = self._table[self._table[:, _USED] != 0]
            self._table = np.zeros((1 << (2 * orders).bit_length(), _QTY + 1), np.int64)
            for order in old:
                self._table[_slot(self._table, int(order[_ID]))] = order
