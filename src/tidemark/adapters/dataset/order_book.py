"""A venue's order-by-order messages (L3) rebuilt into ten-level books, event group by event group.

Databento's rules, contracts/databento: the book may be looked at only at the last record of an event group; a trade and a fill
change nothing (a cancel or a modify follows); clear empties the book; a book flagged as possibly bad is shown as empty until a clear
or a snapshot. A depth row is made for every group that changed the ten levels or traded.
"""

from typing import Any, Final

import numpy as np

from tidemark.events import I8, I64, LEVELS, SIDES_LEVELS, EventBlock, Kind, empty_block
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
_UNKNOWN_CANCEL, _UNKNOWN_MODIFY, _DOUBLE_ADD, _OVER_CANCEL, _BAD_BOOK = range(len(NOTES))
_FREE, _TAKEN = 0, 1
_ORDERS_MIN, _LEVELS_MIN = 1024, 256


@kernel
def _slot(keys: Any, used: Any, key: int) -> int:
    """Slot of `key` in the open-addressing table, or the free slot where it belongs. Order ids run up, so their low bits spread well."""
    mask = len(keys) - 1
    i = (key ^ (key >> 20)) & mask
    while used[i] != 0 and keys[i] != key:
        i = (i + 1) & mask
    return i


@kernel
def _forget(keys: Any, used: Any, orders: Any, hole: int) -> None:
    """Free a slot and pull later entries of its chain back, so that no search stops early."""
    mask = len(keys) - 1
    i = hole
    used[hole] = 0
    while True:
        i = (i + 1) & mask
        if used[i] == 0:
            return
        home = (keys[i] ^ (keys[i] >> 20)) & mask
        if ((i - home) & mask) >= ((i - hole) & mask):
            keys[hole] = keys[i]
            used[hole] = 1
            for j in range(3):
                orders[hole, j] = orders[i, j]
            used[i] = 0
            hole = i


@kernel
def _change_level(level_keys: Any, level_qty: Any, counts: Any, side: int, key: int, change: int) -> None:
    """Add `change` to the size at one price. Keys rise towards the best price: ticks for bids, minus ticks for asks."""
    count = counts[side]
    low = 0
    high = count
    while low < high:
        middle = (low + high) // 2
        if level_keys[side, middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < count and level_keys[side, low] == key:
        level_qty[side, low] += change
        if level_qty[side, low] <= 0:
            for j in range(low, count - 1):
                level_keys[side, j] = level_keys[side, j + 1]
                level_qty[side, j] = level_qty[side, j + 1]
            counts[side] = count - 1
    elif change > 0:
        for j in range(count, low, -1):
            level_keys[side, j] = level_keys[side, j - 1]
            level_qty[side, j] = level_qty[side, j - 1]
        level_keys[side, low] = key
        level_qty[side, low] = change
        counts[side] = count + 1


@kernel
def _remove(level_keys: Any, level_qty: Any, counts: Any, keys: Any, used: Any, orders: Any, slot: int, qty: int) -> None:
    """Take `qty` off a resting order, and the order out of the table when nothing is left."""
    side = orders[slot, 0]
    price = orders[slot, 1]
    _change_level(level_keys, level_qty, counts, side, price if side == 0 else -price, -qty)
    orders[slot, 2] -= qty
    if orders[slot, 2] <= 0:
        _forget(keys, used, orders, slot)


@kernel
def _show(level_keys: Any, level_qty: Any, counts: Any, hidden: bool, last_px: Any, last_qty: Any) -> bool:
    """Write the ten levels of both sides to `last_px`, `last_qty`; true if that changed them."""
    changed = False
    for side in range(2):
        for level in range(10):
            i = counts[side] - 1 - level
            price = -(2**63)
            qty = 0
            if i >= 0 and not hidden:
                price = level_keys[side, i] if side == 0 else -level_keys[side, i]
                qty = level_qty[side, i]
            j = 10 * side + level
            if last_px[j] != price or last_qty[j] != qty:
                last_px[j] = price
                last_qty[j] = qty
                changed = True
    return changed


@kernel
def _apply(records: Any, state: Any, shown: Any, out: Any) -> int:
    """Run records through the book; returns the number of rows written to `out`.

    records  action, side, flags int64 (n,); price_ticks, qty, order_id int64 (n,)
    state    keys, used, orders (order table), level_keys, level_qty (2, m), counts (2,), status (bad, traded), notes
    out      from_record int64, kind int8, px_ticks int64, qty int64 (rows, 20)
    """
    action, side, flags, price_ticks, qty, order_id = records
    keys, used, orders, level_keys, level_qty, counts, status, notes = state
    last_px, last_qty = shown
    from_record, out_kind, out_px, out_qty = out
    rows = 0
    for i in range(len(action)):
        act = action[i]
        if flags[i] & 0x04:
            status[0] = 1
        elif act == 4 or flags[i] & 0x20:
            status[0] = 0
        if act == 5:
            from_record[rows] = i
            out_kind[rows] = 1
            out_px[rows, 0] = price_ticks[i]
            out_qty[rows, 0] = qty[i]
            rows += 1
            status[1] = 1
        elif act == 4:
            counts[0] = 0
            counts[1] = 0
            used[:] = 0
        elif act <= 3:
            slot = _slot(keys, used, order_id[i])
            known = used[slot] != 0
            if act == 2:
                if not known:
                    notes[0] += 1
                else:
                    if qty[i] > orders[slot, 2]:
                        notes[3] += 1
                    _remove(level_keys, level_qty, counts, keys, used, orders, slot, min(qty[i], orders[slot, 2]))
            else:
                if known:
                    notes[2] += act == 1
                    _remove(level_keys, level_qty, counts, keys, used, orders, slot, orders[slot, 2])
                    slot = _slot(keys, used, order_id[i])
                else:
                    notes[1] += act == 3
                if qty[i] > 0 and side[i] < 2:
                    keys[slot] = order_id[i]
                    used[slot] = 1
                    orders[slot, 0] = side[i]
                    orders[slot, 1] = price_ticks[i]
                    orders[slot, 2] = qty[i]
                    _change_level(level_keys, level_qty, counts, side[i], price_ticks[i] if side[i] == 0 else -price_ticks[i], qty[i])
        if flags[i] & 0x80:
            notes[4] += status[0]
            changed = _show(level_keys, level_qty, counts, status[0] != 0, last_px, last_qty)
            if changed or status[1] != 0:
                from_record[rows] = i
                out_kind[rows] = 0
                for j in range(20):
                    out_px[rows, j] = last_px[j]
                    out_qty[rows, j] = last_qty[j]
                rows += 1
            status[1] = 0
    return rows


assert (ADD, CANCEL, MODIFY, CLEAR, TRADE) == (1, 2, 3, 4, 5), "the kernel compares with these numbers"
assert (FLAG_LAST, FLAG_SNAPSHOT, FLAG_MAYBE_BAD_BOOK) == (0x80, 0x20, 0x04), "and with these"
assert (LEVELS, SIDES_LEVELS, NO_PRICE) == (10, 20, -(2**63)), "and with these"


class OrderBook:
    """The resting orders of one instrument. Feed `apply` portions of a stream cut anywhere; the rows are the same."""

    def __init__(self) -> None:
        self._keys = np.zeros(_ORDERS_MIN, np.int64)
        self._used = np.zeros(_ORDERS_MIN, np.int8)
        self._orders = np.zeros((_ORDERS_MIN, 3), np.int64)  # side, price, size
        self._level_keys = np.zeros((2, _LEVELS_MIN), np.int64)
        self._level_qty = np.zeros((2, _LEVELS_MIN), np.int64)
        self._counts = np.zeros(2, np.int64)
        self._status = np.zeros(2, np.int64)  # book is possibly bad; the open group has traded
        self._notes = np.zeros(len(NOTES), np.int64)
        self._shown = (np.full(SIDES_LEVELS, NO_PRICE, np.int64), np.zeros(SIDES_LEVELS, np.int64))

    def apply(self, action: I8, side: I8, flags: I64, price_ticks: I64, qty: I64, order_id: I64) -> tuple[I64, EventBlock, I64]:
        """Rows that these records (n,) make: (index of the record each row stems from, block, sizes).

        The block is over no symbol yet and has no times, seq and aggressors; `sizes` (rows, 20) are its quantities before they are
        cut to the data set's 32 bits, which the caller checks.
        """
        self._reserve(len(action))
        rows_max = int(np.count_nonzero(action == TRADE) + np.count_nonzero(flags & FLAG_LAST))
        from_record, kind = np.zeros(rows_max, np.int64), np.zeros(rows_max, np.int8)
        px_ticks, sizes = np.full((rows_max, SIDES_LEVELS), NO_PRICE, np.int64), np.zeros((rows_max, SIDES_LEVELS), np.int64)
        records = tuple(np.ascontiguousarray(column, dtype=np.int64) for column in (action, side, flags, price_ticks, qty, order_id))
        rows = _apply(records, self._state(), self._shown, (from_record, kind, px_ticks, sizes))
        block = empty_block(("",), rows)
        block.kind[:], block.px_ticks[:] = kind[:rows], px_ticks[:rows]
        trades = block.kind == Kind.TRADE
        block.aggressor[trades] = AGGRESSORS[side[from_record[:rows][trades]]]
        return from_record[:rows], block, sizes[:rows]

    @property
    def notes(self) -> dict[str, int]:
        """What in the stream contradicted the book so far."""
        return {text: int(count) for text, count in zip(NOTES, self._notes, strict=True) if count}

    @property
    def order_count(self) -> int:
        """Orders that rest."""
        return int(np.count_nonzero(self._used))

    def _state(self) -> tuple[Any, ...]:
        return (
            self._keys,
            self._used,
            self._orders,
            self._level_keys,
            self._level_qty,
            self._counts,
            self._status,
            self._notes,
        )

    def _reserve(self, more: int) -> None:
        """Room for `more` orders and levels: the table at most half full, the kernel never out of bounds."""
        levels = int(self._counts.max()) + more + 1
        if levels > self._level_keys.shape[1]:
            grown = np.zeros((2, 2 * levels), np.int64), np.zeros((2, 2 * levels), np.int64)
            for new, old in zip(grown, (self._level_keys, self._level_qty), strict=True):
                new[:, : old.shape[1]] = old
            self._level_keys, self._level_qty = grown
        orders = self.order_count + more
        if 2 * orders > len(self._keys):
            self._rehash(1 << (2 * orders).bit_length())

    def _rehash(self, size: int) -> None:
        live = np.flatnonzero(self._used)
        keys, used, orders = np.zeros(size, np.int64), np.zeros(size, np.int8), np.zeros((size, 3), np.int64)
        for old in live.tolist():
            slot = _slot(keys, used, int(self._keys[old]))
            keys[slot], used[slot], orders[slot] = self._keys[old], _TAKEN, self._orders[old]
        self._keys, self._used, self._orders = keys, used, orders
