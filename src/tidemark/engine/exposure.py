"""What is at stake right now, as the risk checks want to see it.

Exposure is capital at risk: what is lost, from the entry prices, if every protective stop is hit, with planned slippage and exit fees;
live entry orders count with what they would risk if they filled.
"""

from collections import deque
from collections.abc import Mapping

from tidemark.engine import layout as at
from tidemark.engine.account import Account
from tidemark.engine.config import EngineConfig
from tidemark.engine.deals import Deal
from tidemark.engine.desk import Desk
from tidemark.engine.hours import Hours
from tidemark.engine.layout import State
from tidemark.instruments import Instrument
from tidemark.risk.limits import AccountState, MarketState, Rule, RuleCheck, share
from tidemark.units import NS_PER_MIN, NS_PER_S, PPM_PER_ONE

REJECTS_NS = 30 * NS_PER_S


def recent(times_ns: deque[int], now_ns: int, window_ns: int) -> int:
    """How many times lie within the window before now; older ones are dropped."""
    while times_ns and times_ns[0] <= now_ns - window_ns:
        times_ns.popleft()
    return len(times_ns)


class Exposure:
    """Looks at deals, account and books; changes nothing but the throttles' memory."""

    def __init__(
        self,
        config: EngineConfig,
        instruments: tuple[Instrument, ...],
        state: State,
        account: Account,
        deals: Mapping[int, Deal],
        hours: Hours,
        desk: Desk,
    ) -> None:
        self._config = config
        self._instruments = instruments
        self._state = state
        self._account = account
        self._deals = deals
        self._hours = hours
        self._desk = desk
        self._groups = [spec.group or spec.symbol for spec in instruments]

    def at_stop_micros(self, deal: Deal) -> int:
        """Loss, from the entry prices, if the deal's stop is hit now; negative where the stop has locked in a gain."""
        spec, position = self._instruments[deal.symbol_i], self._account.ledger.positions[self._instruments[deal.symbol_i].symbol]
        slipped = self._config.sizing.slippage_ticks * spec.tick_value_micros + spec.fee_micros
        return -position.unrealised_micros(deal.stop_ticks) + abs(position.qty) * slipped if position.qty else 0

    def of_deal_micros(self, deal: Deal) -> int:
        """Capital at risk of a deal: its position to the stop, and what its live entry may still add."""
        return max(self.at_stop_micros(deal), 0) + deal.entry.leaves_qty * deal.risk_per_contract_micros

    def account_state(self, s: int, side: int, price_ticks: int, now_ns: int, is_halted: bool) -> AccountState:
        """The account as seen by an order of symbol number `s` at `price_ticks`."""
        account, counts = self._account, self._desk.counts
        total = group = own = at_risk = open_orders = crossing_qty = 0
        for deal in self._deals.values():
            risk = self.of_deal_micros(deal)
            total += risk
            at_risk += self.at_stop_micros(deal) + deal.entry.leaves_qty * deal.risk_per_contract_micros
            own += risk if deal.symbol_i == s else 0
            group += risk if self._groups[deal.symbol_i] == self._groups[s] else 0
            for order in (deal.entry, deal.reducer):
                if order is not None and order.is_live:
                    open_orders += 1
                    meets = order.symbol_i == s and order.side == -side and (price_ticks - order.price_ticks) * side >= 0
                    crossing_qty += order.leaves_qty if meets else 0
        day, month, quarter = account.losses_micros(at_risk)
        buys, sells = self.live_qty(s)
        return AccountState(
            stage=self._config.stage,
            is_halted=is_halted,
            equity_micros=account.equity_micros,
            position_qty=account.position_qty(s),
            live_buy_qty=buys,
            live_sell_qty=sells,
            position_exposure_micros=own,
            group_exposure_micros=group,
            total_exposure_micros=total,
            day_start_micros=account.starts_micros[0],
            month_start_micros=account.starts_micros[1],
            quarter_start_micros=account.starts_micros[2],
            day_loss_micros=day,
            month_loss_micros=month,
            quarter_loss_micros=quarter,
            open_orders=open_orders,
            crossing_qty=crossing_qty,
            messages_last_s=recent(counts.messages, now_ns, NS_PER_S),
            entries_last_min=recent(counts.entries(s, side), now_ns, NS_PER_MIN),
            rejects_last_30s=recent(counts.rejects, now_ns, REJECTS_NS),
        )

    def live_qty(self, s: int) -> tuple[int, int]:
        """(buys, sells): contracts of a symbol's live orders that may still trade, whatever state they wait in."""
        deal = self._deals.get(s)
        if deal is None:
            return 0, 0
        live = [order for order in (deal.entry, deal.reducer) if order is not None]
        return sum(o.leaves_qty for o in live if o.side > 0), sum(o.leaves_qty for o in live if o.side < 0)

    def market_state(self, s: int, now_ns: int) -> MarketState:
        """The market of symbol number `s`, as we know it."""
        row: list[int] = self._state.sym[s].tolist()
        session = self._hours.session(self._instruments[s].symbol, now_ns)
        has_book = row[at.L_OK] > at.UNUSABLE_BOOK
        seen = row[at.SEEN] + row[at.SEEN_BEFORE]
        return MarketState(
            is_open=session is not None and now_ns < session[1] - self._config.closeout_ns,
            is_quarantined=self._desk.quarantined[s],
            is_usable=row[at.L_OK] == at.OPEN_BOOK,
            bid_ticks=row[at.BID] if has_book else None,
            ask_ticks=row[at.ASK] if has_book else None,
            book_ts_ns=row[at.BOOK_TS] if has_book else None,
            defect_ppm=(row[at.BAD] + row[at.BAD_BEFORE]) * PPM_PER_ONE // seen if seen else None,
        )

    def flatten_ns(self, s: int, now_ns: int) -> int:
        """When a position of this symbol must be on its way out; now, if the market is closed."""
        session = self._hours.session(self._instruments[s].symbol, now_ns)
        return session[1] - self._config.flatten_lead_ns if session else now_ns

    def checks(self) -> tuple[RuleCheck, ...]:
        """The account's exposures beside their limits, for the page: the largest position and group, and the sum."""
        limits, equity = self._config.limits, self._account.equity_micros
        risks = {s: self.of_deal_micros(deal) for s, deal in self._deals.items()}
        groups: dict[str, int] = {}
        for s, risk in risks.items():
            groups[self._groups[s]] = groups.get(self._groups[s], 0) + risk
        return (
            RuleCheck(Rule.POSITION_EXPOSURE, max(risks.values(), default=0), share(equity, limits.position_exposure_bps_max)),
            RuleCheck(Rule.GROUP_EXPOSURE, max(groups.values(), default=0), share(equity, limits.group_exposure_bps_max)),
            RuleCheck(Rule.TOTAL_EXPOSURE, sum(risks.values()), share(equity, limits.total_exposure_bps_max)),
        )
