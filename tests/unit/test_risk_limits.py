"""Every rule refuses at one above its limit and passes at it; what is missing refuses; exits have one rule."""

from typing import Any

import msgspec
import pytest

from tidemark.errors import InputError
from tidemark.risk.limits import (
    UNKNOWN,
    AccountState,
    EntryOrder,
    MarketState,
    RiskLimits,
    Rule,
    RuleCheck,
    budget_left_micros,
    check_entry,
    check_reduction,
    first_failure,
    share,
)

USD = 1_000_000
EQUITY = 100_000 * USD
LIMITS = RiskLimits()
NOW = 10**18

ORDER = EntryOrder(symbol="ES", side=1, qty=1, price_ticks=20_001, tier="TIER3", risk_micros=100 * USD, input_ts_ns=NOW)
MARKET = MarketState(is_open=True, is_quarantined=False, is_usable=True, bid_ticks=20_000, ask_ticks=20_001, book_ts_ns=NOW, defect_ppm=0)
ACCOUNT = AccountState(
    stage="paper",
    is_halted=False,
    equity_micros=EQUITY,
    position_qty=0,
    live_buy_qty=0,
    live_sell_qty=0,
    position_exposure_micros=0,
    group_exposure_micros=0,
    total_exposure_micros=0,
    day_start_micros=EQUITY,
    month_start_micros=EQUITY,
    quarter_start_micros=EQUITY,
    day_loss_micros=0,
    month_loss_micros=0,
    quarter_loss_micros=0,
)


def checks(**changes: Any) -> dict[Rule, RuleCheck]:
    """The verdict on the good order with some fields of order, account or market changed; names are unique over the three."""
    parts = [ORDER, ACCOUNT, MARKET]
    for i, part in enumerate(parts):
        own = {name: value for name, value in changes.items() if name in part.__struct_fields__}
        parts[i] = msgspec.structs.replace(part, **own)
    order, account, market = parts
    return {check.rule: check for check in check_entry(order, account, market, LIMITS, now_ns=NOW)}


def denied(**changes: Any) -> set[Rule]:
    return {rule for rule, check in checks(**changes).items() if not check.passed}


def test_a_good_order_passes_every_rule_and_every_rule_is_asked() -> None:
    """The list is closed: all rules but that of exits."""
    verdict = checks()
    assert list(verdict) == [rule for rule in Rule if rule is not Rule.REDUCE_ONLY]
    assert denied() == set()
    assert first_failure(tuple(verdict.values())) is None


MS = 1_000_000
AT_AND_BEYOND: list[tuple[Rule, dict[str, Any], dict[str, Any]]] = [
    (Rule.STAGE, {"tier": "UNTIERED", "stage": "backtest"}, {"tier": "UNTIERED", "stage": "prod"}),
    (Rule.STAGE, {"tier": "TIER3", "stage": "prod"}, {"tier": "UNTIERED", "stage": "staging"}),
    (Rule.HALTED, {"is_halted": False}, {"is_halted": True}),
    (Rule.SESSION_CLOSED, {"is_open": True}, {"is_open": False}),
    (Rule.INSTRUMENT_QUARANTINED, {"is_quarantined": False}, {"is_quarantined": True}),
    (Rule.BOOK_UNUSABLE, {"is_usable": True}, {"is_usable": False}),
    (Rule.BOOK_AGE, {"book_ts_ns": NOW - 500 * MS}, {"book_ts_ns": NOW - 500 * MS - 1}),
    (Rule.DATA_QUALITY, {"defect_ppm": 10_000}, {"defect_ppm": 10_001}),
    (Rule.STALE_SIGNAL, {"input_ts_ns": NOW - 500 * MS}, {"input_ts_ns": NOW - 500 * MS - 1}),
    (Rule.DUPLICATE_SIGNAL, {"duplicates": 0}, {"duplicates": 1}),
    (Rule.DEPTH_QTY, {"qty": 3, "depth_qty_max": 3}, {"qty": 4, "depth_qty_max": 3}),
    (Rule.KELLY_QTY, {"qty": 3, "kelly_qty_max": 3}, {"qty": 1, "kelly_qty_max": 0}),
    (Rule.PRICE_OFF_TICK, {"off_tick_nanos": 0}, {"off_tick_nanos": 1}),
    (Rule.PRICE_COLLAR, {"price_ticks": 20_021}, {"price_ticks": 20_022}),
    (Rule.PRICE_COLLAR, {"price_ticks": 19_981}, {"price_ticks": 19_980}),
    (Rule.TRADE_RISK, {"risk_micros": 1_000 * USD}, {"risk_micros": 1_000 * USD + 1}),
    (Rule.TRADE_RISK, {"tier": "TIER1", "risk_micros": 3_000 * USD}, {"tier": "TIER2", "risk_micros": 2_000 * USD + 1}),
    (Rule.TRADE_RISK, {"tier": "UNTIERED", "risk_micros": 500 * USD}, {"tier": "UNTIERED", "risk_micros": 500 * USD + 1}),
    (Rule.POSITION_EXPOSURE, {"position_exposure_micros": 4_900 * USD}, {"position_exposure_micros": 4_900 * USD + 1}),
    (Rule.GROUP_EXPOSURE, {"group_exposure_micros": 9_900 * USD}, {"group_exposure_micros": 9_900 * USD + 1}),
    (Rule.TOTAL_EXPOSURE, {"total_exposure_micros": 19_900 * USD}, {"total_exposure_micros": 19_900 * USD + 1}),
    (Rule.OPEN_ORDERS, {"open_orders": 15}, {"open_orders": 16}),
    (Rule.DAY_LOSS, {"day_loss_micros": 2_900 * USD}, {"day_loss_micros": 2_900 * USD + 1}),
    (Rule.MONTH_LOSS, {"month_loss_micros": 7_900 * USD}, {"month_loss_micros": 7_900 * USD + 1}),
    (Rule.QUARTER_LOSS, {"quarter_loss_micros": 14_900 * USD}, {"quarter_loss_micros": 14_900 * USD + 1}),
    (Rule.SELF_TRADE, {"crossing_qty": 0}, {"crossing_qty": 1}),
    (Rule.MESSAGE_RATE, {"messages_last_s": 39}, {"messages_last_s": 40}),
    (Rule.ENTRY_RATE, {"entries_last_min": 9}, {"entries_last_min": 10}),
    (Rule.REJECT_RATE, {"rejects_last_30s": 4}, {"rejects_last_30s": 5}),
]


@pytest.mark.parametrize(("rule", "at_limit", "beyond"), AT_AND_BEYOND)
def test_a_rule_passes_at_its_limit_and_refuses_one_beyond_it_alone(rule: Rule, at_limit: dict[str, Any], beyond: dict[str, Any]) -> None:
    """One unit is the difference, and no other rule speaks up."""
    assert denied(**at_limit) == set()
    assert denied(**beyond) == {rule}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"qty": 20, "risk_micros": USD}, set()),
        ({"qty": 21, "risk_micros": USD}, {Rule.ORDER_QTY, Rule.WORST_POSITION}),
        ({"qty": 0}, {Rule.ORDER_QTY}),
        ({"position_qty": 1}, {Rule.POSITION_OPEN}),
        ({"position_qty": -1}, {Rule.POSITION_OPEN}),
        ({"live_buy_qty": 1}, {Rule.POSITION_OPEN}),
        ({"live_buy_qty": 20}, {Rule.POSITION_OPEN, Rule.WORST_POSITION}),
        ({"position_qty": 15, "live_sell_qty": 36, "side": -1, "price_ticks": 20_000}, {Rule.POSITION_OPEN, Rule.WORST_POSITION}),
        ({"tier": "TIER9"}, {Rule.STAGE, Rule.TRADE_RISK}),
        ({"risk_micros": 0}, {Rule.TRADE_RISK}),
        ({"risk_micros": 5_001 * USD, "tier": "TIER1"}, {Rule.TRADE_RISK, Rule.POSITION_EXPOSURE, Rule.DAY_LOSS}),
        ({"equity_micros": -1}, {Rule.TRADE_RISK, Rule.POSITION_EXPOSURE, Rule.GROUP_EXPOSURE, Rule.TOTAL_EXPOSURE}),
    ],
)
def test_some_orders_break_more_than_one_rule(changes: dict[str, Any], expected: set[Rule]) -> None:
    """And all of them are named."""
    assert denied(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"ask_ticks": None}, Rule.PRICE_COLLAR),
        ({"book_ts_ns": None}, Rule.BOOK_AGE),
        ({"defect_ppm": None}, Rule.DATA_QUALITY),
    ],
)
def test_a_missing_input_refuses(changes: dict[str, Any], rule: Rule) -> None:
    """Unknown means no."""
    assert checks(**changes)[rule].figure == UNKNOWN
    assert denied(**changes) == {rule}


def test_the_loss_an_order_could_add_counts_before_it_is_sent() -> None:
    """2,950 of the day's 3,000 dollars are gone or at stake: 50 more may be risked, 100 not."""
    spent = {"day_loss_micros": 2_950 * USD}
    assert denied(**spent, risk_micros=50 * USD) == set()
    assert denied(**spent, risk_micros=100 * USD) == {Rule.DAY_LOSS}


def test_the_budget_of_the_next_trade_is_what_the_tightest_limit_has_left() -> None:
    """5,000 a position, 10,000 a group, 20,000 in all, 3,000 a day, 8,000 a month, 15,000 a quarter."""

    def left(**changes: int) -> int:
        return budget_left_micros(msgspec.structs.replace(ACCOUNT, **changes), LIMITS) // USD

    assert left() == 3_000
    assert left(day_loss_micros=500 * USD) == 2_500
    assert left(month_loss_micros=7_000 * USD) == 1_000
    assert left(quarter_loss_micros=14_990 * USD) == 10
    assert left(position_exposure_micros=4_000 * USD) == 1_000
    assert left(group_exposure_micros=9_500 * USD) == 500
    assert left(total_exposure_micros=21_000 * USD) == -1_000


@pytest.mark.parametrize(
    ("qty", "position", "live", "passes"),
    [(5, 5, 0, True), (5, -5, 0, True), (6, 5, 0, False), (3, 5, 3, False), (1, 0, 0, False), (0, 5, 0, False)],
)
def test_an_exit_may_take_what_is_there_and_no_more(qty: int, position: int, live: int, passes: bool) -> None:
    """Reduce-only, summed over what is on its way already. Nothing else can stop it."""
    (check,) = check_reduction(qty, position_qty=position, live_reducing_qty=live)
    assert check.passed is passes


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"day_loss_bps_max": 0}, "day_loss_bps_max"),
        ({"order_qty_max": -1}, "order_qty_max"),
        ({"order_qty_max": 21}, "order_qty_max"),
        ({"group_exposure_bps_max": 2_500}, "group_exposure_bps_max"),
        ({"month_loss_bps_max": 200}, "day_loss_bps_max"),
        ({"quarter_loss_bps_max": 10_000}, "quarter_loss_bps_max"),
        ({"tier_risk_bps_max": {"TIER1": 100}}, "tier_risk_bps_max"),
        ({"tier_risk_bps_max": {"TIER1": 600, "TIER2": 1, "TIER3": 1, "UNTIERED": 1}}, "TIER1"),
    ],
)
def test_limits_that_contradict_each_other_or_mean_unlimited_are_refused(changes: dict[str, Any], named: str) -> None:
    """Zero is not `no limit`; a trade limit above the position's would be one in name only."""
    with pytest.raises(InputError, match=named):
        RiskLimits(**changes)


def test_a_share_of_a_debt_is_nothing() -> None:
    """A negative equity must not become a budget by two minus signs."""
    assert (share(10_001, 1), share(-5, 100)) == (1, 0)
