"""What a run came to, computed from its journal and from nothing else: for a backtest and a paper session alike.

Integers only; ratios, intervals and verdicts are `research.kpis`' business.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tidemark.engine.journal import (
    DataSeen,
    DefectSeen,
    EquityMark,
    Fill,
    Halted,
    JournalRecord,
    LimitBreached,
    OrderAnomaly,
    OrderEvent,
    Refused,
    RunFinished,
    RunStarted,
    SignalSeen,
    TradeClosed,
    TradeDay,
)
from tidemark.errors import DecodeError
from tidemark.instruments import Instrument
from tidemark.portfolio.ledger import Execution, Ledger
from tidemark.risk.limits import TIERS


@dataclass(slots=True)
class EngineResult:
    """The journal, sorted by kind, and what follows from it. Build with `from_journal`."""

    started: RunStarted | None = None
    finished: RunFinished | None = None
    signals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TIERS, 0))
    refusals: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    order_states: dict[str, str] = field(default_factory=dict)  # cid → newest state
    fills: list[Fill] = field(default_factory=list)
    trades: list[TradeClosed] = field(default_factory=list)
    equity: list[EquityMark] = field(default_factory=list)
    days: list[TradeDay] = field(default_factory=list)
    halts: list[Halted] = field(default_factory=list)
    breaches: list[LimitBreached] = field(default_factory=list)
    anomalies: list[OrderAnomaly] = field(default_factory=list)
    defects: list[DefectSeen] = field(default_factory=list)
    data: dict[str, DataSeen] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger((), 0))

    @classmethod
    def from_journal(cls, records: Iterable[JournalRecord]) -> "EngineResult":
        """Read a whole journal. Raises DecodeError when it does not begin with a run, or its cash does not follow from its fills."""
        result = cls()
        for record in records:
            result._add(record)
        if result.started is None:
            raise DecodeError("JOURNAL", "no run begins in this journal")
        if result.finished is not None and result.finished.cash_micros != result.ledger.cash_micros:
            raise DecodeError("JOURNAL", f"cash {result.finished.cash_micros} does not follow from the fills: {result.ledger.cash_micros}")
        return result

    def _add(self, record: JournalRecord) -> None:
        match record:
            case RunStarted():
                self.started = record
                specs = [Instrument.from_manifest(spec, source="journal") for spec in record.instruments]
                self.ledger = Ledger(specs, record.cash_micros)
            case SignalSeen():
                self.signals[record.tier] = self.signals.get(record.tier, 0) + 1
            case Refused():
                self.refusals[record.code] = self.refusals.get(record.code, 0) + 1
            case OrderEvent():
                self.entries += record.leg == "entry" and record.cid not in self.order_states
                self.order_states[record.cid] = record.state
            case Fill():
                self.fills.append(record)
                fields = (record.symbol, record.side, record.qty, record.price_ticks, record.fee_micros)
                self.ledger.apply(Execution(record.exec_ts_ns, record.exec_id, *fields))
            case TradeClosed():
                self.trades.append(record)
            case EquityMark():
                self.equity.append(record)
            case TradeDay():
                self.days.append(record)
            case Halted():
                self.halts.append(record)
            case LimitBreached():
                self.breaches.append(record)
            case OrderAnomaly():
                self.anomalies.append(record)
            case DefectSeen():
                self.defects.append(record)
            case DataSeen():
                self.data[record.symbol] = record
            case RunFinished():
                self.finished = record

    @property
    def cash0_micros(self) -> int:
        return self.ledger.cash0_micros

    @property
    def final_equity_micros(self) -> int:
        """Equity at the end, or at the last mark of a run that has not ended."""
        if self.finished is not None:
            return self.finished.equity_micros
        return self.equity[-1].equity_micros if self.equity else self.cash0_micros

    @property
    def drawdown_bps_max(self) -> int:
        """Largest fall from the high-water mark, at any book in which a position was held."""
        if self.finished is not None:
            return self.finished.drawdown_bps_max
        return self.equity[-1].drawdown_bps_max if self.equity else 0

    @property
    def position_qty(self) -> dict[str, int]:
        """Signed contracts by symbol."""
        return {symbol: position.qty for symbol, position in self.ledger.positions.items()}

    @property
    def orders_by_state(self) -> dict[str, int]:
        """How many orders ended (or are) in each state."""
        counts: dict[str, int] = {}
        for state in self.order_states.values():
            counts[state] = counts.get(state, 0) + 1
        return dict(sorted(counts.items()))

    def day_equities_micros(self) -> list[int]:
        """Equity at the start of every trade date, and at the end of the last."""
        return [day.equity_micros for day in self.days] + [self.final_equity_micros]

    def trade_columns(self) -> dict[str, list[Any]]:
        """The trades, column by column."""
        return {name: [getattr(trade, name) for trade in self.trades] for name in TradeClosed.__struct_fields__}

    def equity_columns(self) -> dict[str, list[Any]]:
        """The equity curve, column by column."""
        return {name: [getattr(mark, name) for mark in self.equity] for name in EquityMark.__struct_fields__}
