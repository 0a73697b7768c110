"""The paper venue: fills our orders against the replayed book, after the latency that they need to get there.

The market does not know us: our orders leave no trace in the recorded book, so an order may only be small against what is displayed.
Marketable orders take displayed sizes, level by level, at displayed prices, and nothing that an earlier order of ours took from the same
book. Resting orders wait in the scan kernel's queues (see `engine.scan`). Same rules as a venue: an order on a book that is crossed or
one-sided is rejected, a cancel that comes too late says so.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from tidemark.engine import layout as at
from tidemark.engine.books import Books
from tidemark.engine.layout import State
from tidemark.engine.scan import BEYOND, crossing_qty, level_qty
from tidemark.ports import BrokerReport, CancelOrder, Command, PlaceOrder, ReplaceOrder, ReportKind
from tidemark.units import INT64_MAX, NO_PRICE

TAKER, MAKER = "taker", "maker"


class Reply(NamedTuple):
    """Reports that reach us together, and when."""

    due_ns: int
    reports: tuple[BrokerReport, ...]


@dataclass(slots=True)
class _VenueOrder:
    cid: str
    symbol_i: int
    side: int
    price_ticks: int
    leaves_qty: int
    is_ioc: bool
    row: int = -1  # in the kernel's table of resting orders
    fill_count: int = 0


class PaperVenue:
    """A BrokerPort whose other end is the recorded market."""

    def __init__(
        self,
        state: State,
        books: Books,
        symbol_index: dict[str, int],
        fees_micros: list[int],
        *,
        order_latency_ns: int,
        report_latency_ns: int,
    ) -> None:
        """`fees_micros`: per contract and side, by symbol number."""
        self._state = state
        self._books = books
        self._symbol_index = symbol_index
        self._symbols = list(symbol_index)
        self._fees = fees_micros
        self._order_latency_ns = order_latency_ns
        self._report_latency_ns = report_latency_ns
        self._inbox: deque[tuple[int, Command]] = deque()  # one latency for all, so arrivals keep their order
        self._orders: dict[str, _VenueOrder] = {}
        self._rows: dict[int, _VenueOrder] = {}
        self._taken: dict[int, tuple[int, dict[int, int]]] = {}  # symbol → (book version, signed price → contracts that we took)

    def send(self, command: Command, now_ns: int) -> bool:
        """Put a command on the wire."""
        self._inbox.append((now_ns + self._order_latency_ns, command))
        return True

    @property
    def next_ns(self) -> int:
        """When the next command arrives."""
        return self._inbox[0][0] if self._inbox else INT64_MAX

    def serve_next(self) -> Reply:
        """Act on the command that arrives next, against the venue's book as it is now."""
        ts_ns, command = self._inbox.popleft()
        match command:
            case PlaceOrder():
                reports = self._place(command, ts_ns)
            case CancelOrder(cid):
                reports = self._cancel(cid, ts_ns)
            case ReplaceOrder(cid, price_ticks):
                reports = self._replace(cid, price_ticks, ts_ns)
        return Reply(ts_ns + self._report_latency_ns, tuple(reports))

    def collect_fills(self, ts_ns: int) -> Reply:
        """Executions of the resting orders that the event just scanned has filled."""
        table = self._state.orders
        reports = []
        for row in sorted(self._rows):
            qty = int(table[row, at.O_FILL])
            if qty:
                table[row, at.O_FILL] = 0
                order = self._rows[row]
                reports.append(self._fill(order, qty, order.price_ticks, MAKER, ts_ns))
                if order.leaves_qty == 0:
                    self._forget(order)
        return Reply(ts_ns + self._report_latency_ns, tuple(reports))

    def _place(self, command: PlaceOrder, ts_ns: int) -> list[BrokerReport]:
        s = self._symbol_index[command.symbol]
        refusal = self._refusal(s, command)
        if refusal:
            return [BrokerReport(ReportKind.REJECTED, command.cid, ts_ns, refusal)]
        order = _VenueOrder(command.cid, s, command.side, command.price_ticks, command.qty, command.is_ioc)
        self._orders[order.cid] = order
        return [BrokerReport(ReportKind.ACKED, order.cid, ts_ns), *self._work(order, ts_ns)]

    def _refusal(self, s: int, command: PlaceOrder) -> str:
        if command.cid in self._orders:
            return "DUPLICATE_CID"
        if self._state.sym[s, at.V_OK] <= at.UNUSABLE_BOOK:
            return "NO_BOOK"
        if command.post_only and crossing_qty(*self._books.rows(s, at.V_ROW), command.side, command.price_ticks) > 0:
            return "WOULD_TRADE"
        if not command.is_ioc and len(self._rows) == at.ORDERS_MAX:
            return "TOO_MANY_ORDERS"
        return ""

    def _work(self, order: _VenueOrder, ts_ns: int) -> list[BrokerReport]:
        """Trade what is there; the rest expires or joins the queue."""
        reports = self._take(order, ts_ns)
        if order.leaves_qty == 0:
            self._forget(order)
        elif order.is_ioc:
            self._forget(order)
            reports.append(BrokerReport(ReportKind.EXPIRED, order.cid, ts_ns))
        else:
            self._rest(order)
        return reports

    def _take(self, order: _VenueOrder, ts_ns: int) -> list[BrokerReport]:
        version = int(self._state.sym[order.symbol_i, at.V_VERSION])
        known_version, taken = self._taken.get(order.symbol_i, (-1, {}))
        if known_version != version:
            taken = {}
            self._taken[order.symbol_i] = (version, taken)
        reports = []
        for price, displayed in self._books.levels(order.symbol_i, -order.side, at.V_ROW):
            if price == NO_PRICE or order.leaves_qty == 0 or (price - order.price_ticks) * order.side > 0:
                break
            key = 2 * price + (order.side > 0)  # a price may stand on either side of a locked book
            qty = min(displayed - taken.get(key, 0), order.leaves_qty)
            if qty > 0:
                taken[key] = taken.get(key, 0) + qty
                reports.append(self._fill(order, qty, price, TAKER, ts_ns))
        return reports

    def _fill(self, order: _VenueOrder, qty: int, price_ticks: int, liquidity: str, ts_ns: int) -> BrokerReport:
        order.leaves_qty -= qty
        order.fill_count += 1
        assert order.leaves_qty >= 0, "the venue never fills more than was asked for"
        fee = self._fees[order.symbol_i] * qty
        exec_id = f"{order.cid}-{order.fill_count}"
        symbol = self._symbols[order.symbol_i]
        return BrokerReport(ReportKind.FILLED, order.cid, ts_ns, "", exec_id, qty, price_ticks, fee, liquidity, symbol, order.side)

    def _rest(self, order: _VenueOrder) -> None:
        """Join the queue at our price. Displayed size that crosses it has been taken; the kernel must not take it again."""
        state, s = self._state, order.symbol_i
        if order.row < 0:
            order.row = next(row for row in range(at.ORDERS_MAX) if row not in self._rows)
            self._rows[order.row] = order
            state.sym[s, at.RESTING] += 1
            state.glob[at.ORDER_ROWS] = max(self._rows) + 1
        px_ticks, qty = self._books.rows(s, at.V_ROW)
        ahead = level_qty(px_ticks, qty, order.side, order.price_ticks)
        entry = [0] * at.ORDER_FIELDS
        entry[at.O_ACTIVE] = 1
        entry[at.O_SYM], entry[at.O_SIDE] = s, order.side
        entry[at.O_PRICE], entry[at.O_LEAVES] = order.price_ticks, order.leaves_qty
        entry[at.O_AHEAD] = at.AHEAD_UNKNOWN if ahead == BEYOND else ahead
        entry[at.O_TAKEN] = crossing_qty(px_ticks, qty, order.side, order.price_ticks)
        state.orders[order.row] = entry

    def _forget(self, order: _VenueOrder) -> None:
        del self._orders[order.cid]
        if order.row >= 0:
            self._state.orders[order.row, at.O_ACTIVE] = 0
            self._state.sym[order.symbol_i, at.RESTING] -= 1
            del self._rows[order.row]
            self._state.glob[at.ORDER_ROWS] = max(self._rows, default=-1) + 1

    def _cancel(self, cid: str, ts_ns: int) -> list[BrokerReport]:
        order = self._orders.get(cid)
        if order is None:
            return [BrokerReport(ReportKind.CHANGE_REJECTED, cid, ts_ns, "NOT_WORKING")]
        self._forget(order)
        return [BrokerReport(ReportKind.CANCELLED, cid, ts_ns)]

    def _replace(self, cid: str, price_ticks: int, ts_ns: int) -> list[BrokerReport]:
        order = self._orders.get(cid)
        if order is None:
            return [BrokerReport(ReportKind.CHANGE_REJECTED, cid, ts_ns, "NOT_WORKING")]
        if self._state.sym[order.symbol_i, at.V_OK] <= at.UNUSABLE_BOOK:
            return [BrokerReport(ReportKind.CHANGE_REJECTED, cid, ts_ns, "NO_BOOK")]
        order.price_ticks = price_ticks
        return [BrokerReport(ReportKind.REPLACED, cid, ts_ns, price_ticks=price_ticks), *self._work(order, ts_ns)]
