"""The order desk: names orders, sends them, follows what becomes of them, and writes each step down.

It knows the state machine and the wire, not the reasons: whether an order should exist is the core's decision.
"""

from collections import deque
from typing import Final

from tidemark.engine.config import EngineConfig
from tidemark.engine.journal import JournalRecord, OrderAnomaly, OrderEvent
from tidemark.engine.orders import Leg, Order, OrderState, Tif, client_order_id
from tidemark.ports import BrokerPort, BrokerReport, CancelOrder, Command, PlaceOrder, ReplaceOrder, ReportKind

NOT_WORKING: Final = "NOT_WORKING"
PENDING: Final = (OrderState.PENDING_CANCEL, OrderState.PENDING_REPLACE)
CLOSED_BY_BROKER: Final = {
    ReportKind.CANCELLED: OrderState.CANCELLED,
    ReportKind.EXPIRED: OrderState.EXPIRED,
    ReportKind.REJECTED: OrderState.REJECTED,
}


class Outbox:
    """A BrokerPort that only collects: the shell makes the intents durable, then sends, then says so (`Core.on_sent`)."""

    def __init__(self) -> None:
        self._commands: list[Command] = []

    def send(self, command: Command, now_ns: int) -> bool:
        """Keep the command until it is fetched."""
        self._commands.append(command)
        return False

    def take(self) -> list[Command]:
        """What is to be sent, in order."""
        taken, self._commands = self._commands, []
        return taken


class Counts:
    """How often in the last second, minute: throttles on the engine's own clock."""

    def __init__(self) -> None:
        self.messages: deque[int] = deque()
        self.rejects: deque[int] = deque()
        self._entries: dict[tuple[int, int], deque[int]] = {}

    def entries(self, s: int, side: int) -> deque[int]:
        """Times of the entries of a symbol and side."""
        return self._entries.setdefault((s, side), deque())


class Desk:
    """All orders of one account."""

    def __init__(self, config: EngineConfig, symbols: tuple[str, ...], broker: BrokerPort, records: list[JournalRecord]) -> None:
        self.orders: dict[str, Order] = {}
        self.unanswered: dict[str, int] = {}  # cid → when its silence becomes UNKNOWN; one timeout for all, so in order
        self.quarantined = [False] * len(symbols)
        self.counts = Counts()
        self._config = config
        self._symbols = symbols
        self._broker = broker
        self._records = records

    def next_name(self, signal_id: str, leg: Leg) -> tuple[str, int]:
        """Name and number of a leg's next order. There is one only when the last is terminal."""
        attempt = 1
        while (cid := client_order_id(self._config.account, self._config.strategy, signal_id, leg, attempt)) in self.orders:
            assert not self.orders[cid].is_live, "one live order per leg"
            attempt += 1
        return cid, attempt

    def place(self, order: Order, why: str, now_ns: int) -> None:
        """Journal the intent, then hand the order to the broker."""
        self.orders[order.cid] = order
        self.note(order, why, now_ns)
        symbol, is_ioc = self._symbols[order.symbol_i], order.tif is Tif.IOC
        command = PlaceOrder(order.cid, symbol, order.side, order.qty, order.price_ticks, is_ioc, order.post_only, order.leg.reduces)
        if self._send(command, now_ns):
            self.sent(order, now_ns)

    def sent(self, order: Order, now_ns: int) -> bool:
        """The order is about to be written to the wire. False: its intent is too old, it is abandoned and must not be sent."""
        is_late = now_ns - order.intent_ns > self._config.intent_age_ns_max
        self.move(order, OrderState.ABANDONED if is_late else OrderState.SENT, "", now_ns)
        if not is_late:
            self.unanswered[order.cid] = now_ns + self._config.ack_timeout_ns
        return not is_late

    def cancel(self, order: Order, why: str, now_ns: int) -> None:
        """Ask for what rests of an order back. What is terminal by itself within a round trip needs no asking."""
        if order.is_live and order.tif is Tif.DAY and order.state not in (*PENDING, OrderState.INTENT):
            self.move(order, OrderState.PENDING_CANCEL, why, now_ns)
            self._send(CancelOrder(order.cid), now_ns)

    def reprice(self, order: Order, price_ticks: int, why: str, now_ns: int) -> None:
        """Give a working order another price."""
        self.move(order, OrderState.PENDING_REPLACE, why, now_ns)
        self._send(ReplaceOrder(order.cid, price_ticks), now_ns)

    def silence(self, cid: str, now_ns: int) -> None:
        """No answer is not a refusal: the order stays live for all its leaves, is never sent again, and the symbol waits for a human."""
        del self.unanswered[cid]
        order = self.orders[cid]
        if order.is_live:
            self.move(order, OrderState.UNKNOWN, "no answer", now_ns)
            self.quarantine(order.symbol_i, cid, str(order.state), "no answer in time", now_ns)

    def apply(self, order: Order, report: BrokerReport, now_ns: int) -> None:
        """Take the step that a report, other than an execution, makes."""
        working = OrderState.PARTIAL if order.cum_qty else OrderState.WORKING
        match report.kind:
            case ReportKind.ACKED:
                if order.state in (OrderState.SENT, OrderState.UNKNOWN):
                    self.move(order, working, "", now_ns)
            case ReportKind.REPLACED:
                order.price_ticks = report.price_ticks
                if order.state is OrderState.PENDING_REPLACE:
                    self.move(order, working, "", now_ns)
            case ReportKind.CHANGE_REJECTED:
                # If the broker says that the order is gone and has not said how, what became of it is unknown.
                if order.state in PENDING:
                    self.move(order, OrderState.UNKNOWN if report.reason == NOT_WORKING else working, report.reason, now_ns)
            case _:
                self.move(order, CLOSED_BY_BROKER[report.kind], report.reason, now_ns)
                if report.kind is ReportKind.REJECTED:
                    self.counts.rejects.append(now_ns)

    def move(self, order: Order, state: OrderState, why: str, now_ns: int) -> None:
        """Take an order's step, or keep it where it is, record that, and trade its symbol no more until it is cleared."""
        if order.move(state):
            self.note(order, why, now_ns)
        else:
            self.quarantine(order.symbol_i, order.cid, str(order.state), f"{state} is not possible", now_ns)

    def note(self, order: Order, why: str, now_ns: int) -> None:
        """Write down where an order stands."""
        name, symbol = (now_ns, order.cid, order.state.value), self._symbols[order.symbol_i]
        figures = (order.side, order.qty, order.cum_qty, order.price_ticks)
        self._records.append(OrderEvent(*name, symbol, *figures, order.leg.value, order.attempt, order.signal_id, why))

    def quarantine(self, s: int, cid: str, state: str, what: str, now_ns: int) -> None:
        """No entries in this symbol until somebody has looked."""
        self.quarantined[s] = True
        self._records.append(OrderAnomaly(now_ns, cid, self._symbols[s], state, what))

    def _send(self, command: Command, now_ns: int) -> bool:
        self.counts.messages.append(now_ns)
        return self._broker.send(command, now_ns)
