"""Positions, lots, cash and profit: a pure function of the set of executions, in integers.

Lots are closed first in, first out. No average is stored and nothing is divided, so no cent appears or disappears in rounding. Duplicates,
late arrivals and corrections change nothing but the set; the ledger in the end is the same whatever the order they came in.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tidemark.instruments import Instrument


class Execution(NamedTuple):
    """One execution by the broker's word. `exec_id` is the broker's; a higher `revision` replaces a lower, `qty` 0 is a bust."""

    exec_ts_ns: int
    exec_id: str
    symbol: str
    side: int
    qty: int
    price_ticks: int
    fee_micros: int
    revision: int = 0


@dataclass(slots=True)
class Lot:
    """Contracts of one execution that are still open; `qty` is signed."""

    qty: int
    price_ticks: int


@dataclass(slots=True)
class Position:
    """Open lots of one symbol, oldest first, and what the closed ones made. `cost_ticks_qty` is the sum of qty x price over them."""

    tick_value_micros: int
    qty: int = 0
    cost_ticks_qty: int = 0
    realised_micros: int = 0
    fees_micros: int = 0
    lots: deque[Lot] = field(default_factory=deque)

    def apply(self, execution: Execution) -> None:
        """Book one execution: against the oldest opposite lots first, what is left opens a lot."""
        left = execution.side * execution.qty
        price = execution.price_ticks
        self.fees_micros += execution.fee_micros
        while left and self.lots and self.lots[0].qty * left < 0:
            lot = self.lots[0]
            closed = min(abs(left), abs(lot.qty)) * (1 if lot.qty > 0 else -1)
            self.realised_micros += closed * (price - lot.price_ticks) * self.tick_value_micros
            self.cost_ticks_qty -= closed * lot.price_ticks
            lot.qty -= closed
            left += closed
            if lot.qty == 0:
                self.lots.popleft()
        if left:
            self.lots.append(Lot(left, price))
            self.cost_ticks_qty += left * price
        self.qty += execution.side * execution.qty

    def unrealised_micros(self, price_ticks: int) -> int:
        """What closing everything at one price would add to cash, before fees."""
        return self.tick_value_micros * (self.qty * price_ticks - self.cost_ticks_qty)


class Ledger:
    """The account's book of executions. `cash = cash0 + realised - fees + adjustments`, always."""

    def __init__(self, instruments: Iterable[Instrument], cash_micros: int) -> None:
        self._tick_values: dict[str, int] = {spec.symbol: spec.tick_value_micros for spec in instruments}
        self.cash0_micros = cash_micros
        self.adjustments_micros = 0
        self.executions: dict[str, Execution] = {}
        self.positions: dict[str, Position] = self._flat()
        self._newest: tuple[int, str] = (-1, "")

    def apply(self, execution: Execution) -> bool:
        """Book an execution or a revision of one. False when it was known already: nothing changes."""
        known = self.executions.get(execution.exec_id)
        if known is not None and known.revision >= execution.revision:
            return False
        self.executions[execution.exec_id] = execution
        key = (execution.exec_ts_ns, execution.exec_id)
        if known is None and key > self._newest:
            self.positions[execution.symbol].apply(execution)
            self._newest = key
        else:
            self._rebuild()
        return True

    def adjust(self, micros: int) -> None:
        """Cash that no execution explains (a deposit, a broker's correction). Who and why is in the journal."""
        self.adjustments_micros += micros

    @property
    def realised_micros(self) -> int:
        return sum(position.realised_micros for position in self.positions.values())

    @property
    def fees_micros(self) -> int:
        return sum(position.fees_micros for position in self.positions.values())

    @property
    def cash_micros(self) -> int:
        return self.cash0_micros + self.realised_micros - self.fees_micros + self.adjustments_micros

    def equity_micros(self, marks_ticks: Mapping[str, int]) -> int:
        """Cash plus the open lots at the given prices; every symbol with a position needs one."""
        open_ones = ((symbol, position) for symbol, position in self.positions.items() if position.qty)
        return self.cash_micros + sum(position.unrealised_micros(marks_ticks[symbol]) for symbol, position in open_ones)

    def _rebuild(self) -> None:
        self.positions = self._flat()
        for execution in sorted(self.executions.values()):
            if execution.qty:
                self.positions[execution.symbol].apply(execution)
        newest = max(self.executions.values())
        self._newest = (newest.exec_ts_ns, newest.exec_id)

    def _flat(self) -> dict[str, Position]:
        return {symbol: Position(value) for symbol, value in self._tick_values.items()}


def drawdown_bps(equity_micros: int, high_water_micros: int) -> int:
    """Distance below the high-water mark, in basis points of it, rounded down; 0 at or above it."""
    if high_water_micros <= 0 or equity_micros >= high_water_micros:
        return 0
    return (high_water_micros - equity_micros) * 10_000 // high_water_micros
