"""What the domain needs from outside, in its own words. Adapters and fakes implement these."""

from enum import StrEnum
from typing import NamedTuple, Protocol


class Clock(Protocol):
    """Time as an argument: live programs read the host, replays read the events."""

    def now_ns(self) -> int:
        """UTC nanoseconds."""
        ...


# --- the broker -----------------------------------------------------------------------------------------------------------------


class PlaceOrder(NamedTuple):
    """Send a new order. `is_ioc`: what does not trade at once expires; `post_only`: reject rather than trade at once."""

    cid: str
    symbol: str
    side: int
    qty: int
    price_ticks: int
    is_ioc: bool
    post_only: bool
    reduce_only: bool


class CancelOrder(NamedTuple):
    """Take back what rests of an order."""

    cid: str


class ReplaceOrder(NamedTuple):
    """Give what rests of an order another price. It loses its place in the queue; between the two prices it is never twice there."""

    cid: str
    price_ticks: int


Command = PlaceOrder | CancelOrder | ReplaceOrder


class ReportKind(StrEnum):
    """What the broker says about an order."""

    ACKED = "ACKED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REPLACED = "REPLACED"
    REJECTED = "REJECTED"
    CHANGE_REJECTED = "CHANGE_REJECTED"  # a cancel or replace came too late


class BrokerReport(NamedTuple):
    """One message of the broker. From `exec_id` on it is an execution's; `reason` is a reject's."""

    kind: ReportKind
    cid: str
    venue_ts_ns: int
    reason: str = ""
    exec_id: str = ""
    qty: int = 0
    price_ticks: int = 0
    fee_micros: int = 0
    liquidity: str = ""
    symbol: str = ""
    side: int = 0


class BrokerPort(Protocol):
    """The way to the market. What it answers comes back later, as reports: no answer is no answer, never a refusal."""

    def send(self, command: Command, now_ns: int) -> bool:
        """Hand the command over. True: it is on the wire. False: it waits, until its intent is durable (see `engine.core.Outbox`)."""
        ...


class JournalPort(Protocol):
    """Where the engine's records go (`engine.journal.JournalWriter` makes the bytes)."""

    def append(self, data: bytes) -> None:
        """Returns only once the bytes would survive the loss of this process."""
        ...


class DecisionObserver(Protocol):
    """Told when the decision on a signal begins and ends, so that a program can measure what the core must not."""

    def decision_begins(self) -> None:
        """Rules, sizing and order of one signal come next."""
        ...

    def decision_ends(self) -> None:
        """They are done."""
        ...
