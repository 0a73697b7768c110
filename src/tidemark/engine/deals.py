"""One trade from signal to flat: its orders, its bracket, its clock."""

from dataclasses import dataclass

from tidemark.engine.journal import TradeClosed
from tidemark.engine.orders import Leg, Order
from tidemark.engine.signal import EntrySignal
from tidemark.units import INT64_MAX, INT64_MIN


@dataclass(slots=True, kw_only=True)
class Deal:
    """The one trade of a symbol. `closing` names why it is being closed; from then on there is only one direction."""

    signal: EntrySignal
    symbol_i: int
    side: int
    entry: Order
    risk_per_contract_micros: int
    ends_ns: int  # closed at the latest
    ends_why: str
    reducer: Order | None = None  # the newest order that reduces: the target, or an exit
    tried_book_ns: int = INT64_MIN  # time of the book that the last exit was made for
    closing: str = ""
    waiting: EntrySignal | None = None  # opposite signal, to be looked at once we are flat
    stop_ticks: int = 0  # prices, set with the first fill
    target_ticks: int = 0
    opened_ns: int = 0
    closed_ns: int = 0
    entry_qty: int = 0
    entry_ticks_qty: int = 0
    exit_ticks_qty: int = 0
    fees_micros: int = 0

    def count_fill(self, leg: Leg, qty: int, price_ticks: int, fee_micros: int, ts_ns: int) -> None:
        """Add an execution of one of the deal's orders; the first one starts the clock, entries move the bracket."""
        self.fees_micros += fee_micros
        self.closed_ns = ts_ns
        if leg.reduces:
            self.exit_ticks_qty += qty * price_ticks
            return
        self.entry_qty += qty
        self.entry_ticks_qty += qty * price_ticks
        if not self.opened_ns:
            self.opened_ns = ts_ns
            horizon_ns = ts_ns + self.signal.horizon_ns
            if horizon_ns < self.ends_ns:
                self.ends_ns, self.ends_why = horizon_ns, "horizon"
        self._set_bracket()

    def _set_bracket(self) -> None:
        # The average entry, rounded so that the stop is never further away than what was sized for: up for a long, down for a short.
        if self.side > 0:
            entry_ticks = -(-self.entry_ticks_qty // self.entry_qty)
        else:
            entry_ticks = self.entry_ticks_qty // self.entry_qty
        self.stop_ticks = entry_ticks - self.side * self.signal.stop_ticks
        self.target_ticks = entry_ticks + self.side * self.signal.target_ticks

    def next_timer_ns(self) -> int:
        """When time alone makes us act on this deal."""
        if self.closing:
            return INT64_MAX
        entry_ends = self.entry.ends_ns if self.entry.is_live and self.entry.ends_ns else INT64_MAX
        return min(self.ends_ns, entry_ends)

    def closed(self, ts_ns: int, symbol: str, tick_value_micros: int) -> TradeClosed:
        """The finished trade as a record."""
        gross = self.side * (self.exit_ticks_qty - self.entry_ticks_qty) * tick_value_micros
        return TradeClosed(
            ts_ns=ts_ns,
            symbol=symbol,
            signal_id=self.signal.signal_id,
            tier=str(self.signal.tier),
            side=self.side,
            qty=self.entry_qty,
            entry_ticks_qty=self.entry_ticks_qty,
            exit_ticks_qty=self.exit_ticks_qty,
            gross_micros=gross,
            fees_micros=self.fees_micros,
            net_micros=gross - self.fees_micros,
            risk_micros=self.risk_per_contract_micros * self.entry_qty,
            opened_ns=self.opened_ns,
            closed_ns=self.closed_ns,
            reason=self.closing or "target",
        )
