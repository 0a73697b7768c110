"""Which orders may go: every rule with its figure and its limit.

Pure and in integers: the caller passes the clock, the account and the book, so a replay reaches the same verdict, and no NaN slips past a
comparison. The same checks feed the order path, the journal, `tidemark risk check` and the tests. A missing input is a figure that
fails. Orders that only shrink a position go to `check_reduction`; no entry rule may block an exit.
"""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from tidemark.budgets import BOOK_AGE_NS_MAX, END_TO_END_NS_MAX, QUALITY_PPM_MIN
from tidemark.errors import bad_input
from tidemark.units import BPS_PER_ONE, INT64_MAX, PPM_PER_ONE

UNKNOWN: Final = INT64_MAX
"""Figure of a rule whose input is missing: above every limit."""
TIERS: Final = ("TIER1", "TIER2", "TIER3", "UNTIERED")


class Rule(StrEnum):
    """Closed list of reasons to refuse, in the order in which they are checked."""

    STAGE = "STAGE"  # a signal without evidence, on a stage where only evidence trades
    HALTED = "HALTED"
    SESSION_CLOSED = "SESSION_CLOSED"
    INSTRUMENT_QUARANTINED = "INSTRUMENT_QUARANTINED"
    BOOK_UNUSABLE = "BOOK_UNUSABLE"
    BOOK_AGE = "BOOK_AGE"
    DATA_QUALITY = "DATA_QUALITY"
    STALE_SIGNAL = "STALE_SIGNAL"
    DUPLICATE_SIGNAL = "DUPLICATE_SIGNAL"
    POSITION_OPEN = "POSITION_OPEN"
    DEPTH_QTY = "DEPTH_QTY"
    KELLY_QTY = "KELLY_QTY"
    ORDER_QTY = "ORDER_QTY"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    PRICE_COLLAR = "PRICE_COLLAR"
    WORST_POSITION = "WORST_POSITION"
    TRADE_RISK = "TRADE_RISK"
    POSITION_EXPOSURE = "POSITION_EXPOSURE"
    GROUP_EXPOSURE = "GROUP_EXPOSURE"
    TOTAL_EXPOSURE = "TOTAL_EXPOSURE"
    OPEN_ORDERS = "OPEN_ORDERS"
    DAY_LOSS = "DAY_LOSS"
    MONTH_LOSS = "MONTH_LOSS"
    QUARTER_LOSS = "QUARTER_LOSS"
    SELF_TRADE = "SELF_TRADE"
    MESSAGE_RATE = "MESSAGE_RATE"
    ENTRY_RATE = "ENTRY_RATE"
    REJECT_RATE = "REJECT_RATE"
    REDUCE_ONLY = "REDUCE_ONLY"


UNITS: Final[dict[Rule, str]] = {
    **dict.fromkeys((Rule.TRADE_RISK, Rule.POSITION_EXPOSURE, Rule.GROUP_EXPOSURE, Rule.TOTAL_EXPOSURE), "micros"),
    **dict.fromkeys((Rule.DAY_LOSS, Rule.MONTH_LOSS, Rule.QUARTER_LOSS), "micros"),
    **dict.fromkeys((Rule.STALE_SIGNAL, Rule.BOOK_AGE), "ns"),
    **dict.fromkeys((Rule.ORDER_QTY, Rule.WORST_POSITION, Rule.DEPTH_QTY, Rule.KELLY_QTY, Rule.REDUCE_ONLY), "contracts"),
    Rule.DATA_QUALITY: "ppm",
    Rule.PRICE_COLLAR: "ticks",
}


class RuleCheck(NamedTuple):
    """One rule's verdict as data. `figure` equal to `limit` passes."""

    rule: Rule
    figure: int
    limit: int

    @property
    def passed(self) -> bool:
        return self.figure <= self.limit


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits. Shares of equity in basis points: the requirements' risk table; the rest is chosen, without a source."""

    tier_risk_bps_max: dict[str, int] = msgspec.field(default_factory=lambda: {"TIER1": 500, "TIER2": 200, "TIER3": 100, "UNTIERED": 50})
    position_exposure_bps_max: int = 500
    total_exposure_bps_max: int = 2_000
    group_exposure_bps_max: int = 1_000
    day_loss_bps_max: int = 300
    month_loss_bps_max: int = 800
    quarter_loss_bps_max: int = 1_500
    signal_age_ns_max: int = END_TO_END_NS_MAX
    book_age_ns_max: int = BOOK_AGE_NS_MAX
    defect_ppm_max: int = PPM_PER_ONE - QUALITY_PPM_MIN
    order_qty_max: int = 20
    position_qty_max: int = 20
    collar_ticks_max: int = 20
    collar_bps_max: int = 50
    open_orders_max: int = 16
    messages_per_s_max: int = 50
    reserved_bps: int = 2_000  # of the messages, for cancels and reductions
    entries_per_min_max: int = 10  # per symbol and side
    rejects_per_30s_max: int = 4
    untiered_stages: tuple[str, ...] = ("local", "paper", "backtest")

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and value <= 0:
                raise bad_input("limits", name, value, "a positive integer", "to stop trading, switch the strategy off")
        if sorted(self.tier_risk_bps_max) != sorted(TIERS):
            raise bad_input("limits", "tier_risk_bps_max", sorted(self.tier_risk_bps_max), f"one entry for each of {', '.join(TIERS)}")
        for tier, bps in self.tier_risk_bps_max.items():
            if not 0 < bps <= self.position_exposure_bps_max:
                bound = f"1 to position_exposure_bps_max ({self.position_exposure_bps_max})"
                raise bad_input("limits", f"tier_risk_bps_max.{tier}", bps, bound)
        _require_order(self, "position_exposure_bps_max", "group_exposure_bps_max", "total_exposure_bps_max")
        _require_order(self, "day_loss_bps_max", "month_loss_bps_max", "quarter_loss_bps_max")
        _require_order(self, "order_qty_max", "position_qty_max")
        if self.quarter_loss_bps_max >= BPS_PER_ONE or self.reserved_bps >= BPS_PER_ONE:
            raise bad_input("limits", "quarter_loss_bps_max, reserved_bps", "10000 or more", "less than the whole")

    @property
    def entry_messages_per_s_max(self) -> int:
        return self.messages_per_s_max * (BPS_PER_ONE - self.reserved_bps) // BPS_PER_ONE


def _require_order(limits: RiskLimits, *names: str) -> None:
    for lower, upper in zip(names, names[1:], strict=False):
        if getattr(limits, lower) > getattr(limits, upper):
            raise bad_input("limits", lower, getattr(limits, lower), f"at most {upper} ({getattr(limits, upper)})")


class EntryOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order that would open or add to a position. `risk_micros`: lost if its stop is hit, with slippage and both fees."""

    symbol: str
    side: int
    qty: int
    price_ticks: int
    tier: str
    risk_micros: int
    input_ts_ns: int  # event time of the newest input of the decision
    off_tick_nanos: int = 0  # distance of the asked price from the tick grid, 1e-9 of its unit; 0 in the engine, where prices are ticks
    duplicates: int = 0  # 0 new, 1 seen before, 2 seen before with other content
    kelly_qty_max: int = UNKNOWN
    depth_qty_max: int = UNKNOWN


class MarketState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What we know of the order's market at the instant of the check."""

    is_open: bool  # in session, and not so near its end that entries are off
    is_quarantined: bool
    is_usable: bool  # two-sided, not crossed, not locked
    bid_ticks: int | None
    ask_ticks: int | None
    book_ts_ns: int | None
    defect_ppm: int | None


class AccountState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the account has at stake. Exposure is capital at risk to the protective stops, live entry orders included.

    `*_loss_micros`: start of the period's equity less the equity that is left if every stop is hit now, at least 0.
    """

    stage: str
    is_halted: bool
    equity_micros: int
    position_qty: int  # of the order's symbol, signed
    live_buy_qty: int
    live_sell_qty: int
    position_exposure_micros: int
    group_exposure_micros: int
    total_exposure_micros: int
    day_start_micros: int
    month_start_micros: int
    quarter_start_micros: int
    day_loss_micros: int
    month_loss_micros: int
    quarter_loss_micros: int
    open_orders: int = 0
    crossing_qty: int = 0  # contracts of our own live orders that this one could trade with
    messages_last_s: int = 0
    entries_last_min: int = 0
    rejects_last_30s: int = 0


def share(micros: int, bps: int) -> int:
    """Part of an amount, rounded down; nothing of a debt."""
    return max(micros, 0) * bps // BPS_PER_ONE


def check_entry(order: EntryOrder, account: AccountState, market: MarketState, limits: RiskLimits, *, now_ns: int) -> tuple[RuleCheck, ...]:
    """Every entry rule, in the order of `Rule`; the order may go only if all pass."""
    equity, risk = account.equity_micros, order.risk_micros
    position = account.position_exposure_micros + risk
    group = account.group_exposure_micros + risk
    total = account.total_exposure_micros + risk
    lacks_evidence = order.tier == "UNTIERED" and account.stage not in limits.untiered_stages
    off_collar, collar = _collar(order, market, limits)
    worst_qty = max(account.position_qty + account.live_buy_qty, account.live_sell_qty - account.position_qty)
    if order.side > 0:
        worst_qty = max(worst_qty, account.position_qty + account.live_buy_qty + order.qty)
    else:
        worst_qty = max(worst_qty, account.live_sell_qty + order.qty - account.position_qty)
    return (
        RuleCheck(Rule.STAGE, int(lacks_evidence or order.tier not in TIERS), 0),
        RuleCheck(Rule.HALTED, int(account.is_halted), 0),
        RuleCheck(Rule.SESSION_CLOSED, int(not market.is_open), 0),
        RuleCheck(Rule.INSTRUMENT_QUARANTINED, int(market.is_quarantined), 0),
        RuleCheck(Rule.BOOK_UNUSABLE, int(not market.is_usable), 0),
        RuleCheck(Rule.BOOK_AGE, UNKNOWN if market.book_ts_ns is None else now_ns - market.book_ts_ns, limits.book_age_ns_max),
        RuleCheck(Rule.DATA_QUALITY, UNKNOWN if market.defect_ppm is None else market.defect_ppm, limits.defect_ppm_max),
        RuleCheck(Rule.STALE_SIGNAL, now_ns - order.input_ts_ns, limits.signal_age_ns_max),
        RuleCheck(Rule.DUPLICATE_SIGNAL, order.duplicates, 0),
        RuleCheck(Rule.POSITION_OPEN, abs(account.position_qty) + account.live_buy_qty + account.live_sell_qty, 0),
        RuleCheck(Rule.DEPTH_QTY, order.qty, order.depth_qty_max),
        RuleCheck(Rule.KELLY_QTY, order.qty, order.kelly_qty_max),
        RuleCheck(Rule.ORDER_QTY, order.qty if order.qty > 0 else UNKNOWN, limits.order_qty_max),
        RuleCheck(Rule.PRICE_OFF_TICK, order.off_tick_nanos, 0),
        RuleCheck(Rule.PRICE_COLLAR, off_collar, collar),
        RuleCheck(Rule.WORST_POSITION, worst_qty, limits.position_qty_max),
        RuleCheck(Rule.TRADE_RISK, risk if risk > 0 else UNKNOWN, share(equity, limits.tier_risk_bps_max.get(order.tier, 0))),
        RuleCheck(Rule.POSITION_EXPOSURE, position, share(equity, limits.position_exposure_bps_max)),
        RuleCheck(Rule.GROUP_EXPOSURE, group, share(equity, limits.group_exposure_bps_max)),
        RuleCheck(Rule.TOTAL_EXPOSURE, total, share(equity, limits.total_exposure_bps_max)),
        RuleCheck(Rule.OPEN_ORDERS, account.open_orders + 1, limits.open_orders_max),
        RuleCheck(Rule.DAY_LOSS, account.day_loss_micros + risk, share(account.day_start_micros, limits.day_loss_bps_max)),
        RuleCheck(Rule.MONTH_LOSS, account.month_loss_micros + risk, share(account.month_start_micros, limits.month_loss_bps_max)),
        RuleCheck(Rule.QUARTER_LOSS, account.quarter_loss_micros + risk, share(account.quarter_start_micros, limits.quarter_loss_bps_max)),
        RuleCheck(Rule.SELF_TRADE, account.crossing_qty, 0),
        RuleCheck(Rule.MESSAGE_RATE, account.messages_last_s + 1, limits.entry_messages_per_s_max),
        RuleCheck(Rule.ENTRY_RATE, account.entries_last_min + 1, limits.entries_per_min_max),
        RuleCheck(Rule.REJECT_RATE, account.rejects_last_30s, limits.rejects_per_30s_max),
    )


def _collar(order: EntryOrder, market: MarketState, limits: RiskLimits) -> tuple[int, int]:
    """How far beyond the side it would trade with the price is, and how far it may be: the tighter of ticks and share of the price."""
    touch = market.ask_ticks if order.side > 0 else market.bid_ticks
    if touch is None:
        return UNKNOWN, limits.collar_ticks_max
    beyond = abs(order.price_ticks - touch)
    return beyond, min(limits.collar_ticks_max, max(abs(touch) * limits.collar_bps_max // BPS_PER_ONE, 1))


def check_reduction(qty: int, *, position_qty: int, live_reducing_qty: int) -> tuple[RuleCheck, ...]:
    """The one rule of an exit: with what already reduces, it must not turn the position over."""
    return (RuleCheck(Rule.REDUCE_ONLY, qty + live_reducing_qty if qty > 0 else UNKNOWN, abs(position_qty)),)


def budget_left_micros(account: AccountState, limits: RiskLimits) -> int:
    """What the next trade may risk: the tightest of the exposure limits and of what is left of day, month and quarter. May be negative."""
    equity = account.equity_micros
    return min(
        share(equity, limits.position_exposure_bps_max) - account.position_exposure_micros,
        share(equity, limits.group_exposure_bps_max) - account.group_exposure_micros,
        share(equity, limits.total_exposure_bps_max) - account.total_exposure_micros,
        share(account.day_start_micros, limits.day_loss_bps_max) - account.day_loss_micros,
        share(account.month_start_micros, limits.month_loss_bps_max) - account.month_loss_micros,
        share(account.quarter_start_micros, limits.quarter_loss_bps_max) - account.quarter_loss_micros,
    )


def first_failure(checks: tuple[RuleCheck, ...]) -> RuleCheck | None:
    """The refusal that is reported; the others follow from the same tuple."""
    return next((check for check in checks if check.figure > check.limit), None)
