"""The deterministic core: what is decided, once the scan has stopped at something to decide on.

No clock, no randomness, no floats, no I/O: time and facts come in as arguments, records and commands go out. Everything that can happen
to a symbol's trade ends in `_drive`, which looks at where things stand and takes the next step; it may be called at any time and any
number of times. Rules kept here: one trade per symbol; an exit waits until the entry can fill no more; what reduces never exceeds the
position; a terminal order is forgotten, an unanswered one is not.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from tidemark.book.quality import Defect
from tidemark.engine import layout as at
from tidemark.engine.account import Account
from tidemark.engine.agenda import Agenda
from tidemark.engine.books import Books
from tidemark.engine.config import EngineConfig, EntryStyle, TargetStyle
from tidemark.engine.deals import Deal
from tidemark.engine.desk import Desk
from tidemark.engine.exposure import Exposure
from tidemark.engine.hours import Hours
from tidemark.engine.journal import (
    DefectSeen,
    Fill,
    Halted,
    JournalRecord,
    LimitBreached,
    OrderAnomaly,
    Refused,
    SignalSeen,
    TradeDay,
)
from tidemark.engine.layout import State
from tidemark.engine.orders import Leg, Order, OrderState, Tif, client_order_id
from tidemark.engine.scan import DATA_BIT, HALT_BIT, RETRY_BIT, STOP_BIT, TARGET_BIT, crossing_qty
from tidemark.engine.signal import EntrySignal, PacedSignal
from tidemark.instruments import Instrument
from tidemark.portfolio.ledger import Execution
from tidemark.ports import BrokerPort, BrokerReport, DecisionObserver, ReportKind
from tidemark.risk.limits import (
    AccountState,
    EntryOrder,
    Rule,
    RuleCheck,
    budget_left_micros,
    check_entry,
    check_reduction,
    first_failure,
)
from tidemark.risk.sizing import Bracket, Size, size_entry
from tidemark.units import INT64_MAX, INT64_MIN, NO_PRICE, PPM_PER_ONE

LATEST_SHOWN: Final = 50


class Core:
    """State and decisions of one account over all its symbols."""

    def __init__(
        self, config: EngineConfig, instruments: tuple[Instrument, ...], state: State, books: Books, hours: Hours, broker: BrokerPort
    ) -> None:
        self.config = config
        self.account = Account(instruments, config.cash_micros, config.limits, state)
        self.agenda = Agenda()
        self.records: list[JournalRecord] = []
        self.deals: dict[int, Deal] = {}
        self.desk = Desk(config, tuple(spec.symbol for spec in instruments), broker, self.records)
        self.exposure = Exposure(config, instruments, state, self.account, self.deals, hours, self.desk)
        self.latest_fills: deque[Fill] = deque(maxlen=LATEST_SHOWN)
        self.latest_refusals: deque[Refused] = deque(maxlen=LATEST_SHOWN)
        self.is_killed = False
        self.observer: DecisionObserver | None = None
        self.now_ns = INT64_MIN
        self.event_ns = INT64_MIN  # time of the event that is being led up to
        self._instruments = instruments
        self._symbol_index = {spec.symbol: s for s, spec in enumerate(instruments)}
        self._state = state
        self._books = books
        self._hours = hours
        self._roll_ns = INT64_MIN  # when the next trade date begins
        self._closes_ns = [INT64_MAX] * len(instruments)  # when each symbol's session, running or next, ends
        self._seen: dict[str, bytes] = {}

    @property
    def is_halted(self) -> bool:
        """Whether entries are off: killed, or a loss limit is reached."""
        return self.is_killed or bool(self.account.halts)

    # --- what reaches us, in time order -----------------------------------------------------------------------------------------

    def next_ns(self) -> int:
        """When the next report, signal or timer is due."""
        due_ns = min(self.agenda.next_ns, self._roll_ns, *self._closes_ns)
        for silence_ns in self.desk.unanswered.values():
            due_ns = min(due_ns, silence_ns)
            break  # in order: the first is the earliest
        for deal in self.deals.values():
            due_ns = min(due_ns, deal.next_timer_ns())
        return due_ns

    @property
    def waits_for_hours(self) -> bool:
        """Whether the next thing due is a trade date or a session, which begin with an event."""
        return self.next_ns() == min(self._roll_ns, *self._closes_ns)

    def serve_next(self) -> None:
        """Handle the earliest thing that is due; at the same instant: the new day, reports, silences, timers, signals."""
        due_ns = self.next_ns()
        self.now_ns = max(self.now_ns, due_ns)
        if self._roll_ns == due_ns:
            self._roll()
        elif due_ns in self._closes_ns:
            self._next_sessions(due_ns)
        elif self.agenda.next_ns == due_ns and self.agenda.has_reports_next:
            self.on_reports(self.agenda.pop_reports())
        elif next(iter(self.desk.unanswered.values()), INT64_MAX) == due_ns:
            self.desk.silence(next(iter(self.desk.unanswered)), self.now_ns)
        elif not self._serve_timer(due_ns):
            self._decide()

    def _decide(self) -> None:
        """Take the next signal, between two calls of the observer, which may look at a clock as we may not."""
        if self.observer is not None:
            self.observer.decision_begins()
        self.on_signal(self.agenda.pop_signal())
        if self.observer is not None:
            self.observer.decision_ends()

    def forget_the_future(self) -> None:
        """The run ends: no signals any more, only what is on its way."""
        for deal in self.deals.values():
            deal.waiting = None
        self.agenda.forget_signals()

    def start(self, now_ns: int) -> None:
        """The first event is about to be handled: which trade date is it?"""
        self.now_ns = self.event_ns = now_ns
        self._roll()
        self._next_sessions(INT64_MAX)

    def stop_days(self) -> None:
        """No trade date begins any more: a day without an event is not a day of this run."""
        self._roll_ns = INT64_MAX
        self._closes_ns = [INT64_MAX] * len(self._closes_ns)

    def _roll(self) -> None:
        # The date of the event to come, not of this instant: days on which nothing was recorded are passed over.
        trade_date, self._roll_ns = self._hours.trade_day(max(self.now_ns, self.event_ns))
        if self.account.roll(trade_date):
            self.records.append(TradeDay(self.now_ns, trade_date, self.account.equity_micros))

    def _next_sessions(self, ended_ns: int) -> None:
        """Which session comes for the symbols whose last one ended: data quality is judged from its open on."""
        for s, spec in enumerate(self._instruments):
            if self._closes_ns[s] == ended_ns:
                session = self._hours.next_session(spec.symbol, max(self.now_ns, self.event_ns))
                self._state.sym[s, at.QUALITY_FROM], self._closes_ns[s] = session or (INT64_MAX, INT64_MAX)

    def _serve_timer(self, due_ns: int) -> bool:
        for s, deal in self.deals.items():
            if deal.next_timer_ns() == due_ns:
                if deal.ends_ns <= due_ns:
                    self._close(s, deal.ends_why)
                else:
                    deal.entry.ends_ns = 0
                    self.desk.cancel(deal.entry, "expired", self.now_ns)
                return True
        return False

    # --- what the scan stopped at -----------------------------------------------------------------------------------------------

    def on_row(self, s: int, bits: int) -> None:
        """The newest book of symbol number `s` set something off. The gravest comes first; where stop and target meet, the stop counts."""
        if bits & DATA_BIT:
            self._on_data(s)
        if bits & HALT_BIT:
            self._check_halt()
        if bits & (STOP_BIT | TARGET_BIT):
            self._close(s, "stop" if bits & STOP_BIT else "target")
        if bits & RETRY_BIT:
            self._drive(s)

    def on_pace(self, s: int, number: int) -> None:
        """The benchmark strategy's turn: into the market if we are out, out if we are in."""
        pace = self.config.pace
        assert pace is not None, "paced only where a pace is set"
        deal = self.deals.get(s)
        side = -deal.side if deal else (1 if number % 2 else -1)
        name = f"pace-{number}"
        symbol = self._instruments[s].symbol
        self.on_signal(PacedSignal(name, symbol, side, "UNTIERED", 1, pace.stop_ticks, pace.target_ticks, pace.horizon_ns, self.now_ns))

    def _on_data(self, s: int) -> None:
        row = self._state.sym[s]
        is_usable = bool(row[at.L_OK] > at.UNUSABLE_BOOK)
        self.records.append(DefectSeen(self.now_ns, self._instruments[s].symbol, Defect(int(row[at.LAST_CODE])).name, is_usable))
        deal = self.deals.get(s)
        if deal and not is_usable:
            self.desk.cancel(deal.entry, "data", self.now_ns)

    # --- signals ----------------------------------------------------------------------------------------------------------------

    def on_signal(self, signal: EntrySignal) -> None:
        """A signal is visible: note it, close what it contradicts, enter if every rule lets us."""
        p_win_ppm = int(signal.p_win * PPM_PER_ONE)
        side, tier = int(signal.side), str(signal.tier)
        self.records.append(SignalSeen(self.now_ns, signal.signal_id, signal.symbol, side, tier, p_win_ppm, signal.input_ts_ns))
        content = msgspec.json.encode(signal)
        known = self._seen.setdefault(signal.signal_id, content)
        duplicates = 0 if known is content else (1 if known == content else 2)
        s = self._symbol_index[signal.symbol]
        deal = self.deals.get(s)
        if deal and deal.side == -signal.side and not deal.closing and not duplicates:
            deal.waiting = signal if self.config.reverse else None
            self._close(s, "opposite")
        else:
            self._enter(s, signal, duplicates)

    def _enter(self, s: int, signal: EntrySignal, duplicates: int) -> None:
        side = int(signal.side)
        price_ticks, displayed_qty = self._quote(s, side)
        account = self.exposure.account_state(s, side, price_ticks, self.now_ns, self.is_halted)
        size = self._size(s, signal, account, displayed_qty)
        qty = max(size.qty, 1)  # no quote or no budget: let the rules say so, over one contract
        order = EntryOrder(
            symbol=signal.symbol,
            side=side,
            qty=qty,
            price_ticks=price_ticks,
            tier=str(signal.tier),
            risk_micros=qty * size.risk_per_contract_micros,
            input_ts_ns=signal.input_ts_ns,
            duplicates=duplicates,
            kelly_qty_max=size.kelly_qty,
            depth_qty_max=size.depth_qty,
        )
        checks = check_entry(order, account, self.exposure.market_state(s, self.now_ns), self.config.limits, now_ns=self.now_ns)
        failure = first_failure(checks)
        if failure is None and size.qty == 0:
            failure = RuleCheck(Rule.TRADE_RISK, size.risk_per_contract_micros, size.budget_micros)
        if failure is None:
            self._open(s, signal, order, size)
            return
        also = tuple(str(check.rule) for check in checks if not check.passed and check.rule is not failure.rule)
        refusal = Refused(self.now_ns, str(failure.rule), failure.figure, failure.limit, signal.symbol, signal.signal_id, also)
        self.records.append(refusal)
        self.latest_refusals.append(refusal)

    def _quote(self, s: int, side: int) -> tuple[int, int]:
        """(price that an entry would ask for, displayed size that it may measure itself against)."""
        row = self._state.sym[s]
        if row[at.BID] == NO_PRICE:
            return 0, 0  # no book yet; the rules will say so
        ours, theirs = int(row[at.BID if side > 0 else at.ASK]), int(row[at.ASK if side > 0 else at.BID])
        is_ioc = self.config.entry is EntryStyle.IOC
        reach = theirs + side * self.config.collar_ticks if is_ioc else theirs
        return (reach if is_ioc else ours), crossing_qty(*self._books.rows(s, at.L_ROW), side, reach)

    def _size(self, s: int, signal: EntrySignal, account: AccountState, displayed_qty: int) -> Size:
        spec = self._instruments[s]
        bracket = Bracket(str(signal.tier), signal.p_win, signal.stop_ticks, signal.target_ticks, spec.tick_value_micros, spec.fee_micros)
        return size_entry(
            bracket,
            equity_micros=account.equity_micros,
            budget_left_micros=budget_left_micros(account, self.config.limits),
            displayed_qty=displayed_qty,
            order_qty_max=self.config.limits.order_qty_max,
            rules=self.config.sizing,
        )

    def _open(self, s: int, signal: EntrySignal, order: EntryOrder, size: Size) -> None:
        is_ioc = self.config.entry is EntryStyle.IOC
        cid = client_order_id(self.config.account, self.config.strategy, signal.signal_id, Leg.ENTRY, 1)
        entry = Order(
            cid=cid,
            symbol_i=s,
            side=order.side,
            qty=order.qty,
            price_ticks=order.price_ticks,
            tif=Tif.IOC if is_ioc else Tif.DAY,
            leg=Leg.ENTRY,
            attempt=1,
            signal_id=signal.signal_id,
            intent_ns=self.now_ns,
            post_only=not is_ioc,
            ends_ns=0 if is_ioc else self.now_ns + self.config.passive_ttl_ns,
        )
        self.deals[s] = Deal(
            signal=signal,
            symbol_i=s,
            side=order.side,
            entry=entry,
            risk_per_contract_micros=size.risk_per_contract_micros,
            ends_ns=self.exposure.flatten_ns(s, self.now_ns),
            ends_why="session_end",
        )
        self.desk.counts.entries(s, order.side).append(self.now_ns)
        self.desk.place(entry, "signal", self.now_ns)
        buys, sells = self.exposure.live_qty(s)
        position_qty = self.account.position_qty(s)
        assert max(position_qty + buys, sells - position_qty) <= self.config.limits.position_qty_max, "an own decision broke a limit"

    # --- the broker's word --------------------------------------------------------------------------------------------------------

    def on_reports(self, reports: Iterable[BrokerReport]) -> None:
        """Apply messages of the broker that came together, then see what comes next for their symbols."""
        touched: dict[int, None] = {}
        for report in reports:
            self.desk.unanswered.pop(report.cid, None)
            order = self.desk.orders.get(report.cid)
            if order is None:
                self._on_foreign(report)
                continue
            touched[order.symbol_i] = None
            if report.kind is ReportKind.FILLED:
                self._on_fill(order, report)
            else:
                self.desk.apply(order, report, self.now_ns)
        for s in touched:
            self._drive(s)

    def on_sent(self, cid: str, now_ns: int) -> bool:
        """The order is about to be written to the wire. False: its intent is too old, it is abandoned and must not be sent."""
        order = self.desk.orders[cid]
        self.now_ns = max(self.now_ns, now_ns)
        may_go = self.desk.sent(order, now_ns)
        if not may_go:
            self._drive(order.symbol_i)
        return may_go

    def _on_foreign(self, report: BrokerReport) -> None:
        """Not an order that we know. An execution is booked all the same: it is our money."""
        s = self._symbol_index.get(report.symbol)
        if s is None or report.kind is not ReportKind.FILLED:
            self.records.append(OrderAnomaly(self.now_ns, report.cid, report.symbol, "", f"{report.kind} of an unknown order"))
            return
        self.desk.quarantine(s, report.cid, "", "execution of an unknown order", self.now_ns)
        self._book(s, report, "")

    def _on_fill(self, order: Order, report: BrokerReport) -> None:
        if not self._book(order.symbol_i, report, str(order.leg)):
            return
        if not order.execute(report.qty):
            self.desk.quarantine(order.symbol_i, order.cid, str(order.state), "filled more than was asked for", self.now_ns)
        self.desk.note(order, "", self.now_ns)
        deal = self.deals.get(order.symbol_i)
        if deal is None:
            deal = self.deals[order.symbol_i] = self._adopt(order)
            deal.count_fill(Leg.ENTRY, report.qty, report.price_ticks, report.fee_micros, self.now_ns)
        else:
            deal.count_fill(order.leg, report.qty, report.price_ticks, report.fee_micros, self.now_ns)
            if order.leg is Leg.ENTRY:
                self._check_breach(deal)
        self._check_halt()

    def _book(self, s: int, report: BrokerReport, leg: str) -> bool:
        side = report.side
        execution = Execution(report.venue_ts_ns, report.exec_id, report.symbol, side, report.qty, report.price_ticks, report.fee_micros)
        if not self.account.book(s, execution):
            return False
        fields = (report.symbol, side, report.qty, report.price_ticks, report.fee_micros, report.venue_ts_ns, report.liquidity, leg)
        fill = Fill(self.now_ns, report.exec_id, report.cid, *fields)
        self.records.append(fill)
        self.latest_fills.append(fill)
        mark = self.account.mark(self.now_ns)
        if mark:
            self.records.append(mark)
        return True

    def _check_breach(self, deal: Deal) -> None:
        """The stop is set from the fills so that no more than was sized for is at risk; this says if that ever fails."""
        at_risk, planned = self.exposure.at_stop_micros(deal), deal.risk_per_contract_micros * deal.entry_qty
        if at_risk > planned:
            self.records.append(LimitBreached(self.now_ns, str(Rule.TRADE_RISK), at_risk, planned, self._instruments[deal.symbol_i].symbol))

    # --- what comes next for a symbol ---------------------------------------------------------------------------------------------

    def _close(self, s: int, why: str) -> None:
        """From here this symbol's trade goes one way: out."""
        deal = self.deals.get(s)
        if deal and not deal.closing:
            deal.closing = why
            self._drive(s)

    def _drive(self, s: int) -> None:
        """Look at where the symbol's trade stands and take the next step, if there is one to take now."""
        deal = self.deals.get(s)
        if deal is None:
            return
        sym = self._state.sym
        sym[s, at.RETRY] = 0
        position_qty = self.account.position_qty(s)
        entry, reducer = deal.entry, deal.reducer
        rests_target = self.config.target is TargetStyle.LIMIT and (reducer is None or reducer.is_live)
        sym[s, at.ARMED] = 0
        if position_qty and not deal.closing:
            sym[s, at.STOP], sym[s, at.TARGET] = deal.stop_ticks, deal.target_ticks
            sym[s, at.ARMED] = at.ARM_STOP if rests_target else at.ARM_STOP | at.ARM_TARGET
        if entry.is_live and (entry.state is not OrderState.UNKNOWN or position_qty == 0):
            if deal.closing:
                self.desk.cancel(deal.entry, deal.closing, self.now_ns)
        elif position_qty == 0:
            self._finish(s, deal)
        elif deal.closing:
            self._reduce(s, deal, position_qty)
        elif rests_target and reducer is None:
            self._place_reducer(s, deal, Leg.TARGET, deal.target_ticks, position_qty, "target")

    def _finish(self, s: int, deal: Deal) -> None:
        if deal.reducer is not None and deal.reducer.is_live:
            self.desk.cancel(deal.reducer, "flat", self.now_ns)
            return
        del self.deals[s]
        if deal.entry_qty:
            self.records.append(deal.closed(self.now_ns, self._instruments[s].symbol, self._instruments[s].tick_value_micros))
        if deal.waiting is not None:
            self._enter(s, deal.waiting, 0)

    def _reduce(self, s: int, deal: Deal, position_qty: int) -> None:
        """Bring an exit on its way, or wait for the one that is: turn a resting target marketable in one message, or take what is there."""
        row = self._state.sym[s]
        order = deal.reducer
        is_resting = order is not None and order.tif is Tif.DAY and order.state in (OrderState.WORKING, OrderState.PARTIAL)
        if order is not None and order.is_live and not is_resting:
            return  # its report will bring us back here
        row[at.RETRY] = 1  # unless something is sent now, look again at the next book
        if row[at.L_OK] <= at.UNUSABLE_BOOK:
            return
        price_ticks = int(row[at.BID if position_qty > 0 else at.ASK]) - deal.side * self.config.exit_collar_ticks
        if order is not None and is_resting:
            if (order.price_ticks - price_ticks) * deal.side > 0:
                row[at.RETRY] = 0
                self.desk.reprice(order, price_ticks, deal.closing, self.now_ns)
        elif row[at.BOOK_TS] > deal.tried_book_ns:  # a book that the last exit has not been to
            row[at.RETRY] = 0
            deal.tried_book_ns = int(row[at.BOOK_TS])
            self._place_reducer(s, deal, Leg.EXIT, price_ticks, position_qty, deal.closing)

    def _place_reducer(self, s: int, deal: Deal, leg: Leg, price_ticks: int, position_qty: int, why: str) -> None:
        qty = abs(position_qty)
        assert first_failure(check_reduction(qty, position_qty=position_qty, live_reducing_qty=0)) is None, "an exit never turns a position"
        signal_id = deal.signal.signal_id
        cid, attempt = self.desk.next_name(signal_id, leg)
        deal.reducer = Order(
            cid=cid,
            symbol_i=s,
            side=-1 if position_qty > 0 else 1,
            qty=qty,
            price_ticks=price_ticks,
            tif=Tif.DAY if leg is Leg.TARGET else Tif.IOC,
            leg=leg,
            attempt=attempt,
            signal_id=signal_id,
            intent_ns=self.now_ns,
        )
        self.desk.place(deal.reducer, why, self.now_ns)

    def _adopt(self, order: Order) -> Deal:
        """An execution came for an order whose trade is over: it is a position again, and it goes out."""
        self.desk.quarantine(order.symbol_i, order.cid, str(order.state), "execution after the trade was closed", self.now_ns)
        symbol = self._instruments[order.symbol_i].symbol
        origin = PacedSignal(order.signal_id, symbol, order.side, "UNTIERED", 0, 1, 1, 1, self.now_ns)
        deal = Deal(
            signal=origin, symbol_i=order.symbol_i, side=order.side, entry=order, risk_per_contract_micros=0, ends_ns=0, ends_why=""
        )
        deal.closing = "late fill"
        return deal

    # --- the brakes -----------------------------------------------------------------------------------------------------------------

    def _check_halt(self) -> None:
        """A loss limit is reached: no new risk until its period ends, and what is open goes out."""
        for check in self.account.halt_reached():
            self.records.append(Halted(self.now_ns, str(check.rule), check.figure, check.limit))
            self.close_all("halt")

    def close_all(self, why: str) -> None:
        """Bring every open trade on its way out."""
        for s in list(self.deals):
            self._close(s, why)

    def kill(self, *, flatten: bool) -> None:
        """Stop entries for good; resting entries are cancelled, positions closed if asked for."""
        self.is_killed = True
        self.records.append(Halted(self.now_ns, "KILL", 1, 0))
        for deal in list(self.deals.values()):
            self.desk.cancel(deal.entry, "kill", self.now_ns)
        if flatten:
            self.close_all("kill")
