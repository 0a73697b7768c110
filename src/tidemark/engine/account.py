"""The account while it trades: ledger, equity, loss periods and the halt that a reached loss limit brings.

The ledger is the truth; the arrays are its shadow for the scan kernel, which revalues positions at every book.
"""

from typing import Final

from tidemark.engine import layout as at
from tidemark.engine.journal import EquityMark, JournalRecord
from tidemark.engine.layout import State
from tidemark.engine.scan import revalue
from tidemark.instruments import Instrument
from tidemark.portfolio.ledger import Execution, Ledger
from tidemark.risk.limits import RiskLimits, Rule, RuleCheck, share
from tidemark.units import INT64_MIN

LOSS_RULES: Final = (Rule.DAY_LOSS, Rule.MONTH_LOSS, Rule.QUARTER_LOSS)


def period_keys(trade_date: int) -> tuple[int, int, int]:
    """(day, month, quarter) that a trade date YYYYMMDD lies in; a loss budget lasts while its key does."""
    year, month = trade_date // 10_000, trade_date // 100 % 100
    return trade_date, trade_date // 100, year * 4 + (month - 1) // 3


class Account:
    """Cash, positions and loss budgets of one account."""

    def __init__(self, instruments: tuple[Instrument, ...], cash_micros: int, limits: RiskLimits, state: State) -> None:
        self.ledger = Ledger(instruments, cash_micros)
        self.starts_micros: list[int] = [cash_micros] * len(LOSS_RULES)
        self.halts: dict[Rule, RuleCheck] = {}
        self.trade_date = 0
        self._keys = period_keys(0)
        self._bps = (limits.day_loss_bps_max, limits.month_loss_bps_max, limits.quarter_loss_bps_max)
        self._state = state
        self._symbols = [spec.symbol for spec in instruments]
        self._arm_halt()

    @property
    def equity_micros(self) -> int:
        return int(self._state.glob[at.EQUITY])

    @property
    def cash_micros(self) -> int:
        return int(self._state.glob[at.CASH])

    def position_qty(self, s: int) -> int:
        """Signed contracts of symbol number `s`."""
        return int(self._state.sym[s, at.POS])

    def book(self, s: int, execution: Execution) -> bool:
        """Book an execution and let the kernel know. False when it was known already."""
        if not self.ledger.apply(execution):
            return False
        state, position = self._state, self.ledger.positions[self._symbols[s]]
        cash = self.ledger.cash_micros
        state.glob[at.EQUITY] += cash - state.glob[at.CASH]
        state.glob[at.CASH] = cash
        state.sym[s, at.POS], state.sym[s, at.COST] = position.qty, position.cost_ticks_qty
        revalue(state.sym, state.glob, s)
        return True

    def roll(self, trade_date: int) -> bool:
        """Begin a trade date: periods that change with it start from the present equity, their halts are over. False if it is the same."""
        keys = period_keys(trade_date)
        if trade_date == self.trade_date:
            return False
        for i, rule in enumerate(LOSS_RULES):
            if keys[i] != self._keys[i]:
                self.starts_micros[i] = self.equity_micros
                self.halts.pop(rule, None)
        self.trade_date, self._keys = trade_date, keys
        self._arm_halt()
        return True

    def losses_micros(self, at_risk_micros: int) -> tuple[int, int, int]:
        """Loss of day, month and quarter if `at_risk_micros` below the present cash is what is left; gains count as no loss."""
        left = self.cash_micros - at_risk_micros
        day, month, quarter = (max(start - left, 0) for start in self.starts_micros)
        return day, month, quarter

    def loss_checks(self) -> tuple[RuleCheck, ...]:
        """Each loss period: what has been lost by the present marks, and what may be. Equality halts, unlike in an order's check."""
        equity = self.equity_micros
        pairs = zip(LOSS_RULES, self.starts_micros, self._bps, strict=True)
        return tuple(RuleCheck(rule, max(start - equity, 0), share(start, bps)) for rule, start, bps in pairs)

    def halt_reached(self) -> tuple[RuleCheck, ...]:
        """Loss limits that are newly reached; they halt the account until their period ends."""
        if self._state.glob[at.EQUITY] > self._state.glob[at.HALT_EQUITY]:
            return ()
        reached = tuple(check for check in self.loss_checks() if check.figure >= check.limit and check.rule not in self.halts)
        for check in reached:
            self.halts[check.rule] = check
        if reached:
            self._arm_halt()
        return reached

    def mark(self, ts_ns: int) -> EquityMark | None:
        """The equity now, as a record; None if the last mark says the same."""
        glob = self._state.glob
        if glob[at.EQUITY] == glob[at.MARK_LAST]:
            return None
        glob[at.MARK_LAST] = glob[at.EQUITY]
        return EquityMark(
            ts_ns, self.equity_micros, self.cash_micros, int(glob[at.HIGH_WATER]), int(glob[at.DRAWDOWN_BPS_MAX]), self._is_stale()
        )

    def take_marks(self, into: list[JournalRecord]) -> None:
        """Move the marks that the kernel has noted to the journal."""
        count = int(self._state.glob[at.MARK_COUNT])
        if count:
            self._state.glob[at.MARK_COUNT] = 0
            for ts_ns, equity, cash, high_water, drawdown_bps_max, stale in self._state.marks[:count].tolist():
                into.append(EquityMark(ts_ns, equity, cash, high_water, drawdown_bps_max, bool(stale)))

    def _is_stale(self) -> bool:
        positions = self.ledger.positions
        return any(positions[symbol].qty and self._state.sym[s, at.L_OK] <= at.UNUSABLE_BOOK for s, symbol in enumerate(self._symbols))

    def _arm_halt(self) -> None:
        """Tell the kernel at which equity to stop: the highest of the limits that have not been reached yet."""
        periods = zip(LOSS_RULES, self.starts_micros, self._bps, strict=True)
        levels = [start - share(start, bps) for rule, start, bps in periods if rule not in self.halts]
        self._state.glob[at.HALT_EQUITY] = max(levels, default=INT64_MIN)
