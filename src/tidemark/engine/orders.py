"""What an order may become, and what it is called.

The broker's word moves an order; our own acts move it to INTENT, SENT and the pending states. A move that the table does not allow is
not made: the caller records it and asks the broker. Executions are facts and count in any state, also after a terminal one; a terminal
state never reopens. UNKNOWN (no definite answer) counts as live for its full leaves and is left only by the broker's word.
"""

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CID_CHARS: Final = 20
CID_HASH_BYTES: Final = 15  # as many as 20 characters of base32 need, in whole groups of five


class OrderState(StrEnum):
    """INTENT is journaled and not on the wire; SENT is on the wire and not acknowledged."""

    INTENT = "INTENT"
    SENT = "SENT"
    WORKING = "WORKING"
    PARTIAL = "PARTIAL"
    FILLED = "FILLED"
    PENDING_CANCEL = "PENDING_CANCEL"
    CANCELLED = "CANCELLED"
    PENDING_REPLACE = "PENDING_REPLACE"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    ABANDONED = "ABANDONED"
    UNKNOWN = "UNKNOWN"


_S = OrderState
TERMINAL: Final = frozenset({_S.FILLED, _S.CANCELLED, _S.REJECTED, _S.EXPIRED, _S.ABANDONED})
_DONE_BY_BROKER: Final = frozenset({_S.FILLED, _S.CANCELLED, _S.REJECTED, _S.EXPIRED})
_AT_BROKER: Final = _DONE_BY_BROKER | {_S.WORKING, _S.PARTIAL, _S.UNKNOWN}
NEXT: Final[dict[OrderState, frozenset[OrderState]]] = {
    _S.INTENT: frozenset({_S.SENT, _S.ABANDONED, _S.UNKNOWN}),
    _S.SENT: _AT_BROKER | {_S.PENDING_CANCEL},
    _S.WORKING: (_AT_BROKER | {_S.PENDING_CANCEL, _S.PENDING_REPLACE}) - {_S.WORKING},
    _S.PARTIAL: (_AT_BROKER | {_S.PENDING_CANCEL, _S.PENDING_REPLACE}) - {_S.WORKING},
    _S.PENDING_CANCEL: _AT_BROKER,
    _S.PENDING_REPLACE: _AT_BROKER | {_S.PENDING_CANCEL},
    # ABANDONED out of UNKNOWN: only recovery, once the broker has answered that it never had the order.
    _S.UNKNOWN: (_AT_BROKER | {_S.PENDING_CANCEL, _S.ABANDONED}) - {_S.UNKNOWN},
    **{state: frozenset() for state in TERMINAL},
}


class Tif(StrEnum):
    """IOC: what does not trade at once expires. DAY: the rest stays at the venue."""

    IOC = "IOC"
    DAY = "DAY"


class Leg(StrEnum):
    """Which part of a trade an order is. One leg has at most one live order."""

    ENTRY = "entry"
    TARGET = "target"
    EXIT = "exit"

    @property
    def reduces(self) -> bool:
        return self is not Leg.ENTRY


def client_order_id(account: str, strategy: str, signal_id: str, leg: str, attempt: int) -> str:
    """The order's name, the same for the same decision, so that a repeat is recognised: by us, by the journal and by the broker."""
    text = "|".join((account, strategy, signal_id, leg, str(attempt)))
    head = hashlib.blake2b(text.encode()).digest()[:CID_HASH_BYTES]
    return base64.b32encode(head).decode()[:CID_CHARS]


@dataclass(slots=True, kw_only=True)
class Order:
    """One order with its life so far. `qty` is the total asked for, `leaves_qty` what may still trade."""

    cid: str
    symbol_i: int
    side: int
    qty: int
    price_ticks: int
    tif: Tif
    leg: Leg
    attempt: int
    signal_id: str
    intent_ns: int
    post_only: bool = False
    state: OrderState = OrderState.INTENT
    cum_qty: int = 0
    ends_ns: int = 0  # 0, or when we cancel what rests of it
    pending_price_ticks: int | None = None

    @property
    def is_live(self) -> bool:
        return self.state not in TERMINAL

    @property
    def leaves_qty(self) -> int:
        return 0 if self.state in TERMINAL else self.qty - self.cum_qty

    def move(self, state: OrderState) -> bool:
        """Take the step if the table allows it; False, and nothing changed, if not."""
        if state not in NEXT[self.state]:
            return False
        self.state = state
        return True

    def execute(self, qty: int) -> bool:
        """Count an execution. False for an overfill: more than we asked for, which is true all the same."""
        assert qty > 0, "an execution has a positive size"
        self.cum_qty += qty
        if self.cum_qty >= self.qty:
            if self.state not in TERMINAL:
                self.state = OrderState.FILLED
        elif self.state in (OrderState.SENT, OrderState.WORKING, OrderState.UNKNOWN, OrderState.INTENT):
            self.state = OrderState.PARTIAL
        return self.cum_qty <= self.qty
