"""Positions and money from executions, in integers, whatever the order they come in."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_market import FEE_MICROS, TICK_MICROS, instrument
from tidemark.portfolio.ledger import Execution, Ledger, drawdown_bps

AA, BB = instrument("AA"), instrument("BB", tick_micros=15_625_000)
CASH = 10**12


def execution(n: int, side: int, qty: int, price: int, *, symbol: str = "AA", ts: int | None = None, revision: int = 0) -> Execution:
    return Execution(n if ts is None else ts, f"e{n:03d}", symbol, side, qty, price, FEE_MICROS * qty, revision)


def ledger_of(executions: list[Execution]) -> Ledger:
    ledger = Ledger((AA, BB), CASH)
    for one in executions:
        ledger.apply(one)
    return ledger


def test_lots_are_closed_first_in_first_out() -> None:
    """3 @ 100 and 2 @ 104; selling 4 @ 106 takes the three and one of the two: 3 x 6 + 1 x 2 = 20 ticks."""
    ledger = ledger_of([execution(1, 1, 3, 100), execution(2, 1, 2, 104), execution(3, -1, 4, 106)])
    position = ledger.positions["AA"]
    assert (position.qty, position.cost_ticks_qty) == (1, 104)
    assert position.realised_micros == 20 * TICK_MICROS
    assert ledger.cash_micros == CASH + 20 * TICK_MICROS - 9 * FEE_MICROS
    assert ledger.equity_micros({"AA": 110}) == ledger.cash_micros + 6 * TICK_MICROS


def test_a_sell_through_flat_opens_a_short_at_its_own_price() -> None:
    """Long 2 @ 50, sell 5 @ 48: two lots lose 2 ticks each, three short contracts at 48 remain."""
    position = ledger_of([execution(1, 1, 2, 50), execution(2, -1, 5, 48)]).positions["AA"]
    assert (position.qty, position.cost_ticks_qty, position.realised_micros) == (-3, -144, -4 * TICK_MICROS)
    assert position.unrealised_micros(45) == 9 * TICK_MICROS


def test_a_correction_replaces_and_a_bust_removes_an_execution() -> None:
    """The broker may change its mind; the ledger is that of the final set."""
    ledger = ledger_of([execution(1, 1, 3, 100), execution(2, -1, 3, 110)])
    assert ledger.apply(execution(1, 1, 2, 101, revision=1))
    assert ledger.positions["AA"].qty == -1
    assert ledger.apply(execution(2, -1, 0, 110, revision=1)._replace(fee_micros=0))
    assert (ledger.positions["AA"].qty, ledger.realised_micros) == (2, 0)
    assert not ledger.apply(execution(1, 1, 3, 100)), "an older revision changes nothing"


executions_strategy = st.lists(
    st.tuples(st.sampled_from(["AA", "BB"]), st.sampled_from([-1, 1]), st.integers(1, 9), st.integers(-50, 50), st.integers(0, 5)),
    min_size=1,
    max_size=25,
)


@given(executions_strategy, st.randoms(use_true_random=False))
def test_any_order_of_arrival_with_duplicates_ends_in_the_same_ledger(rows: list[tuple[str, int, int, int, int]], random: object) -> None:
    """Late, repeated and reordered reports are the normal life of a broker connection."""
    executions = [execution(n, side, qty, price, symbol=symbol, ts=ts) for n, (symbol, side, qty, price, ts) in enumerate(rows)]
    arrivals = executions + executions[::2]
    random.shuffle(arrivals)  # type: ignore[attr-defined]
    straight, shuffled = ledger_of(sorted(executions)), ledger_of(arrivals)
    assert shuffled.positions == straight.positions
    assert shuffled.cash_micros == straight.cash_micros


@given(executions_strategy)
def test_profit_equals_that_of_an_independent_ledger_in_dollars(rows: list[tuple[str, int, int, int, int]]) -> None:
    """The oracle knows no lots: money in minus money out, plus what is held at the mark, in floats."""
    executions = [execution(n, side, qty, price, symbol=symbol) for n, (symbol, side, qty, price, _) in enumerate(rows)]
    ledger, marks = ledger_of(executions), {"AA": 7, "BB": -3}
    dollars = float(CASH) / 1e6
    for one in executions:
        tick_usd = (AA if one.symbol == "AA" else BB).tick_value_micros / 1e6
        dollars += one.side * one.qty * (marks[one.symbol] - one.price_ticks) * tick_usd - one.fee_micros / 1e6
    assert ledger.equity_micros(marks) / 1e6 == pytest.approx(dollars, abs=1e-6)
    assert ledger.cash_micros == CASH + ledger.realised_micros - ledger.fees_micros


def test_money_is_exact_where_floats_are_not() -> None:
    """A tick of ZN is 15.625 dollars; ten million round trips of a tick each way must leave exactly nothing but fees."""
    position = ledger_of([execution(1, 1, 10**7, 7_040, symbol="BB"), execution(2, -1, 10**7, 7_041, symbol="BB")]).positions["BB"]
    assert position.realised_micros == Fraction(15_625, 1_000) * 10**6 * 10**7


@pytest.mark.parametrize(
    ("equity", "high", "bps"), [(90, 100, 1_000), (100, 100, 0), (110, 100, 0), (99_999, 100_000, 0), (1, 0, 0), (0, 100, 10_000)]
)
def test_drawdown_is_measured_from_the_high_water_mark(equity: int, high: int, bps: int) -> None:
    """Rounded down to whole basis points; without a mark above zero there is none."""
    assert drawdown_bps(equity, high) == bps
