"""Where each number of the feature state lies. The state is one int64 array and one float64 array per symbol, so that it is one
`tobytes()` away from a checkpoint; kernels address it with these offsets.

Flows are kept as running totals ("counters"). A window stores, for each of its slots, the totals before the slot's first event; the
sum over the window is then the totals now minus those of its oldest slot: one subtraction, all integers, nothing to drift.
"""

from typing import Final

from tidemark.events import LEVELS, SIDES_LEVELS
from tidemark.features.catalogue import OFI_EVENTS, RV_SECONDS, SLOTS
from tidemark.units import NS_PER_S

# int64 state: single numbers
HAS_BOOK: Final = 0
HAS_EVENT: Final = 1
LAST_TS: Final = 2
LAST_RECV: Final = 3
LAST_SEQ: Final = 4
LAST_DT: Final = 5
PENDING: Final = 6  # grid time whose row is not out yet; 0 if none
EMITTED: Final = 7  # grid time up to which rows are out
LATE: Final = 8  # events that came for a row already out
TRADE_PX: Final = 9
TRADE_SIGN: Final = 10
HAS_TRADE: Final = 11
OFI_COUNT: Final = 12  # depth events with a flow so far

PX: Final = 16  # (20,) prices of the last book; an empty level is below every bid or above every ask
QTY: Final = PX + SIDES_LEVELS

# int64 state: running totals
TOTALS: Final = QTY + SIDES_LEVELS
T_SQUARES: Final = 0  # squared changes of the mid, half-ticks^2
T_SIGNED: Final = 1  # signed traded size
T_VOLUME: Final = 2
T_TOUCH: Final = 3  # size at both bests, per depth event
T_DEPTHS: Final = 4  # depth events
T_OFI: Final = 5  # (10,) order flow per level
TOTAL_COUNT: Final = T_OFI + LEVELS

# int64 state: windows. Each has a head and a tail (entry numbers), the end of the current slot, and SLOTS entries of
# (slot number, totals `first` to `first + width - 1` before the slot).
W_HEAD: Final = 0
W_TAIL: Final = 1
W_SLOT_END: Final = 2
W_RING: Final = 3

FLOW_FIRST: Final = T_SIGNED
FLOW_WIDTH: Final = TOTAL_COUNT - FLOW_FIRST  # everything but the squares
LONG_WIDTH: Final = T_OFI + 1 - FLOW_FIRST  # the same without the deeper levels
_FLOW_INTS: Final = W_RING + SLOTS * (1 + FLOW_WIDTH)
_LONG_INTS: Final = W_RING + SLOTS * (1 + LONG_WIDTH)
_RV_INTS: Final = W_RING + SLOTS * 2

W_1S: Final = TOTALS + TOTAL_COUNT
W_5S: Final = W_1S + _FLOW_INTS
W_30S: Final = W_5S + _FLOW_INTS
W_300S: Final = W_30S + _FLOW_INTS
W_RV: Final = W_300S + _LONG_INTS
SLOT_1S_NS: Final = NS_PER_S // SLOTS
SLOT_5S_NS: Final = 5 * NS_PER_S // SLOTS
SLOT_30S_NS: Final = 30 * NS_PER_S // SLOTS
SLOT_300S_NS: Final = 300 * NS_PER_S // SLOTS
SLOT_RV_NS: Final = RV_SECONDS * NS_PER_S // SLOTS

OFI_RING: Final = W_RV + _RV_INTS  # level-0 order flow total after each of the last OFI_RING_SIZE depth events
OFI_RING_SIZE: Final = 128
STATE_INTS: Final = OFI_RING + OFI_RING_SIZE
assert OFI_EVENTS < OFI_RING_SIZE
assert OFI_RING_SIZE & (OFI_RING_SIZE - 1) == 0
assert SLOTS & (SLOTS - 1) == 0

# float64 state
SPREAD_EWMA: Final = 0
EVENTS_FAST: Final = 1
EVENTS_SLOW: Final = 2
TRADES_FAST: Final = 3
TRADES_SLOW: Final = 4
STATE_FLOATS: Final = 5
