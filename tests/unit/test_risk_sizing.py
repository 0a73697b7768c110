"""How many contracts: tables worked out by hand, and what no input may ever make of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.errors import InputError
from tidemark.risk.sizing import Bracket, SizingRules, kelly_share, risk_per_contract_micros, size_entry

USD = 1_000_000
ES = Bracket("TIER3", 0.7, 10, 20, 12_500_000, 2_400_000)  # risks (10 + 1) x 12.50 + 4.80 = 142.30 dollars
RULES = SizingRules()


def qty(
    bracket: Bracket = ES,
    *,
    equity: int = 100_000 * USD,
    left: int = 10**18,
    shown: int = 10**6,
    most: int = 1_000,
    rules: SizingRules = RULES,
) -> int:
    return size_entry(bracket, equity_micros=equity, budget_left_micros=left, displayed_qty=shown, order_qty_max=most, rules=rules).qty


def test_risk_of_a_contract_is_the_stop_a_slip_and_both_fees() -> None:
    """Capital at risk to the protective stop."""
    assert risk_per_contract_micros(ES, 1) == 142_300_000


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 3),  # 0.5 % of 100,000 is 500: 3 x 142.30
        ({"equity": 28_459 * USD}, 0),  # 142.295: not one
        ({"equity": 28_460 * USD}, 1),
        ({"left": 300 * USD}, 2),
        ({"left": -1}, 0),
        ({"shown": 11}, 2),  # a quarter of what is displayed, rounded down
        ({"shown": 3}, 0),
        ({"most": 1}, 1),
        ({"bracket": ES._replace(tier="TIER2")}, 7),
        ({"bracket": ES._replace(tier="TIER1")}, 21),
        ({"bracket": ES._replace(tier="UNTIERED")}, 3),
        ({"bracket": ES._replace(tier="NONE")}, 0),
        ({"bracket": ES._replace(p_win=0.30)}, 0),  # b = 232.7 / 142.3: break-even at 0.379
        ({"bracket": ES._replace(p_win=math.nan)}, 0),
        ({"bracket": ES._replace(p_win=1.01)}, 0),
        ({"bracket": ES._replace(target_ticks=1)}, 0),  # the target does not pay its costs
        ({"equity": -5}, 0),
    ],
)
def test_the_smallest_cap_decides(changes: dict[str, object], expected: int) -> None:
    """Risk budget, what is left of it, displayed size, Kelly, order limit."""
    assert qty(**changes) == expected  # type: ignore[arg-type]


def test_kelly_is_the_textbook_formula_after_costs() -> None:
    """p = 0.5, win 2, lose 1: a quarter of the capital; without costs in ticks of one dollar."""
    free = Bracket("TIER1", 0.5, 10, 20, USD, 0)
    assert kelly_share(free, 0) == pytest.approx(0.25)
    assert kelly_share(free._replace(p_win=1 / 3), 0) == pytest.approx(0.0, abs=1e-12)
    assert kelly_share(free._replace(p_win=1.0), 0) == 1.0


def test_kelly_is_fractional() -> None:
    """Kelly 0.0085 x a quarter x 100,000 = 213 dollars: one contract where the risk budget would buy three."""
    thin = ES._replace(p_win=0.385)
    full = kelly_share(thin, 1)
    assert 0.005 < full < 0.012
    assert qty(thin) == int(full * 0.25 * 100_000 // 142.3) == 1


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(-(10**15), 10**15),
    st.integers(-(10**15), 10**15),
    st.integers(0, 10**6),
)
def test_whatever_comes_in_the_size_is_whole_bounded_and_within_the_budget(
    p_win: float, stop: int, target: int, equity: int, left: int, shown: int
) -> None:
    """Never negative, never above a cap, never a risk above what is left."""
    bracket = Bracket("TIER1", p_win, stop, target, 12_500_000, 2_400_000)
    size = size_entry(bracket, equity_micros=equity, budget_left_micros=left, displayed_qty=shown, order_qty_max=50, rules=RULES)
    assert isinstance(size.qty, int)
    assert 0 <= size.qty <= min(50, shown // 4)
    assert size.qty * size.risk_per_contract_micros <= max(left, 0)
    assert size.qty * size.risk_per_contract_micros <= max(equity, 0) * 300 // 10_000


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 100), st.integers(1, 100))
def test_a_better_chance_never_buys_less(p: float, q: float, stop: int, target: int) -> None:
    """Monotone in the probability."""
    low, high = sorted((p, q))
    bracket = Bracket("TIER1", low, stop, target, 12_500_000, 2_400_000)
    assert qty(bracket) <= qty(bracket._replace(p_win=high))


@pytest.mark.parametrize(
    "changes", [{"kelly_ppm": 0}, {"participation_ppm": 1_000_001}, {"slippage_ticks": -1}, {"tier_risk_bps": {"TIER1": 1}}]
)
def test_sizing_rules_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    """More than Kelly, more than is displayed, negative slippage: no."""
    with pytest.raises(InputError, match="sizing"):
        SizingRules(**changes)  # type: ignore[arg-type]
