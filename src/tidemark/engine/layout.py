"""Where each figure of the engine's state lives in the arrays that the scan kernel and the Python core share.

One integer matrix for symbols, one for resting orders, one vector for the account: three arguments instead of thirty, because numba
pays for every argument of every call. Plain ints, because a kernel compiles them to constants. (Numba's cache looks at the kernel's own
file only: after a change here, touch scan.py.)
"""

from typing import Final

import numpy as np

from tidemark.events import I32, I64, SIDES_LEVELS
from tidemark.units import INT64_MAX, INT64_MIN, NO_PRICE

# Columns of `sym`, a row per symbol. V_ is what the venue knows, L_ what we know: the same book, one event apart while an event is handled.
V_ROW: Final = 0  # row of the current block that holds the venue's book; HELD: `held_px`/`held_qty` do
L_ROW: Final = 1
V_OK: Final = 2  # book state, see NEVER .. OPEN
L_OK: Final = 3
V_VERSION: Final = 4  # counts the venue's books, so that liquidity taken from one is not taken again
BID: Final = 5  # last markable touch, ticks
ASK: Final = 6
BOOK_TS: Final = 7  # event time of the last markable book
POS: Final = 8  # signed contracts
COST: Final = 9  # sum of signed qty x price_ticks of the open lots
TICK_VALUE: Final = 10  # micros per tick and contract
UNREAL: Final = 11  # micros, at the exit side of the last markable book
STOP: Final = 12  # ticks
TARGET: Final = 13
ARMED: Final = 14  # bits ARM_STOP, ARM_TARGET
RETRY: Final = 15  # 1: stop at this symbol's next markable book
RESTING: Final = 16  # our orders resting at the venue
TRADES: Final = 17
SEEN: Final = 18  # events in the running half of the quality window
BAD: Final = 19
SEEN_BEFORE: Final = 20  # in the half before it
BAD_BEFORE: Final = 21
LAST_CODE: Final = 22  # defect of the last event that changed the book state
QUALITY_FROM: Final = 23  # open of the session that runs or comes: what is sent before it is not judged
SYM_FIELDS: Final = 24

HELD: Final = -1
NEVER: Final = -1  # no book yet
UNUSABLE_BOOK: Final = 0  # crossed, one-sided, or the last record was damaged
LOCKED_BOOK: Final = 1  # has a price to mark at, no spread to enter at
OPEN_BOOK: Final = 2

ARM_STOP: Final = 1
ARM_TARGET: Final = 2

QUALITY_HALF_EVENTS: Final = 5_000
"""Data quality is judged over the last 5,000 to 10,000 events of a symbol. Chosen: a minute or so of a liquid future."""

# Columns of `orders`, a row per resting order.
O_ACTIVE: Final = 0
O_SYM: Final = 1
O_SIDE: Final = 2
O_PRICE: Final = 3
O_LEAVES: Final = 4
O_AHEAD: Final = 5  # contracts in front of us at our price; AHEAD_UNKNOWN while the level is out of the ten that we see
O_TRADED: Final = 6  # contracts traded at our price since the last book
O_TAKEN: Final = 7  # contracts of the crossing side that have already filled us while the book stays crossed
O_FILL: Final = 8  # contracts filled by the event that stopped the scan
ORDER_FIELDS: Final = 9
ORDERS_MAX: Final = 256
AHEAD_UNKNOWN: Final = -1

# Entries of `glob`.
NOW: Final = 0  # local clock: the newest receive (or event) time seen, or the time of the last timer
DUE: Final = 1  # earliest thing on the agenda, venue or local
DUE_LOCAL: Final = 2  # earliest local one
PHASE: Final = 3  # where inside the event the scan stopped
CASH: Final = 4
EQUITY: Final = 5
HIGH_WATER: Final = 6
DRAWDOWN_BPS_MAX: Final = 7
HALT_EQUITY: Final = 8  # at or below: a loss limit is reached
ROWS: Final = 9  # events applied, all symbols
WAKE_ROWS: Final = 10  # stop when ROWS reaches this
MARK_NEXT: Final = 11  # next time an equity mark is due
MARK_EVERY: Final = 12
MARK_LAST: Final = 13  # equity of the last mark
MARK_COUNT: Final = 14
ORDER_ROWS: Final = 15  # rows of `orders` in use, from the front
GLOB_FIELDS: Final = 16

PHASE_START: Final = 0  # nothing of the event is applied
PHASE_LOCAL: Final = 1  # the venue has seen it, we have not

# Columns of `marks`.
M_TS: Final = 0
M_EQUITY: Final = 1
M_CASH: Final = 2
M_HIGH_WATER: Final = 3
M_DRAWDOWN_BPS_MAX: Final = 4
M_STALE: Final = 5
MARK_FIELDS: Final = 6
MARKS_MAX: Final = 1_024

# Grades of an event, from `book.quality`'s defect codes.
GOOD: Final = 0
LOCKED: Final = 1
UNUSABLE: Final = 2
DAMAGED: Final = 3  # skipped; a damaged book row leaves no usable book
REPEATED: Final = 4  # skipped without effect


class State:
    """The arrays. They are the engine's whole fast-changing state; everything else hangs on orders and positions."""

    def __init__(self, symbol_count: int, tick_values_micros: list[int], cash_micros: int, mark_every_ns: int) -> None:
        self.sym: I64 = np.zeros((symbol_count, SYM_FIELDS), np.int64)
        self.sym[:, [V_ROW, L_ROW]] = HELD
        self.sym[:, [V_OK, L_OK]] = NEVER
        self.sym[:, [BID, ASK]] = NO_PRICE
        self.sym[:, BOOK_TS] = INT64_MIN
        self.sym[:, TICK_VALUE] = tick_values_micros
        self.held_px: I64 = np.full((symbol_count, SIDES_LEVELS), NO_PRICE, np.int64)
        self.held_qty: I32 = np.zeros((symbol_count, SIDES_LEVELS), np.int32)
        self.orders: I64 = np.zeros((ORDERS_MAX, ORDER_FIELDS), np.int64)
        self.marks: I64 = np.zeros((MARKS_MAX, MARK_FIELDS), np.int64)
        self.glob: I64 = np.zeros(GLOB_FIELDS, np.int64)
        self.glob[[DUE, DUE_LOCAL, WAKE_ROWS]] = INT64_MAX
        self.glob[[NOW, MARK_NEXT, HALT_EQUITY]] = INT64_MIN
        self.glob[[CASH, EQUITY, HIGH_WATER, MARK_LAST]] = cash_micros
        self.glob[MARK_EVERY] = mark_every_ns
