"""How many contracts: what the risk budget buys, never more than the book shows and Kelly allows. The result is a floored integer.

The only place on the order path where a float is allowed: `p_win` comes from a model. A probability that is no probability buys nothing.
"""

import math
from typing import NamedTuple

import msgspec

from tidemark.errors import bad_input
from tidemark.risk.limits import TIERS, share
from tidemark.units import PPM_PER_ONE


class SizingRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares used for sizing. Tier risk starts at the low end of the allowed range, until evidence says more."""

    tier_risk_bps: dict[str, int] = msgspec.field(default_factory=lambda: {"TIER1": 300, "TIER2": 100, "TIER3": 50, "UNTIERED": 50})
    kelly_ppm: int = 250_000  # a quarter of Kelly: half the growth loss of an overestimated edge. Chosen.
    participation_ppm: int = 250_000  # of the displayed size within the collar. Chosen.
    slippage_ticks: int = 1  # planned for a stop

    def __post_init__(self) -> None:
        if sorted(self.tier_risk_bps) != sorted(TIERS):
            raise bad_input("sizing", "tier_risk_bps", sorted(self.tier_risk_bps), f"one entry for each of {', '.join(TIERS)}")
        for name in ("kelly_ppm", "participation_ppm"):
            if not 0 < getattr(self, name) <= PPM_PER_ONE:
                raise bad_input("sizing", name, getattr(self, name), f"1 to {PPM_PER_ONE}")
        if self.slippage_ticks < 0 or min(self.tier_risk_bps.values()) <= 0:
            raise bad_input("sizing", "slippage_ticks, tier_risk_bps", self.slippage_ticks, "no negative slippage, positive shares")


class Bracket(NamedTuple):
    """The trade to be sized, per contract."""

    tier: str
    p_win: float
    stop_ticks: int
    target_ticks: int
    tick_value_micros: int
    fee_micros: int  # per side


class Size(NamedTuple):
    """Contracts, the figure that each cap came to, and what one contract risks."""

    qty: int
    risk_per_contract_micros: int
    budget_micros: int
    budget_qty: int
    kelly_qty: int
    depth_qty: int


def risk_per_contract_micros(bracket: Bracket, slippage_ticks: int) -> int:
    """Capital at risk to the protective stop: the distance, planned slippage and both fees."""
    return (bracket.stop_ticks + slippage_ticks) * bracket.tick_value_micros + 2 * bracket.fee_micros


def kelly_share(bracket: Bracket, slippage_ticks: int) -> float:
    """Share of capital to risk that maximises log growth, p - (1 - p) / b, with b the reward to risk after costs; 0 without an edge.

    Source  Kelly (1956), Bell System Technical Journal 35(4).
    """
    p = bracket.p_win
    if not (math.isfinite(p) and 0.0 <= p <= 1.0):
        return 0.0
    costs = slippage_ticks * bracket.tick_value_micros + 2 * bracket.fee_micros
    reward = bracket.target_ticks * bracket.tick_value_micros - costs
    if reward <= 0:
        return 0.0
    return max(p - (1.0 - p) * risk_per_contract_micros(bracket, slippage_ticks) / reward, 0.0)


def size_entry(
    bracket: Bracket, *, equity_micros: int, budget_left_micros: int, displayed_qty: int, order_qty_max: int, rules: SizingRules
) -> Size:
    """The largest whole number of contracts that the tier's risk, what is left of the budgets, fractional Kelly and the displayed
    size all allow; 0 when one of them allows none.
    """
    per_contract = risk_per_contract_micros(bracket, rules.slippage_ticks)
    budget = min(share(equity_micros, rules.tier_risk_bps.get(bracket.tier, 0)), budget_left_micros)
    budget_qty = max(budget, 0) // per_contract
    at_risk = kelly_share(bracket, rules.slippage_ticks) * rules.kelly_ppm / PPM_PER_ONE * max(equity_micros, 0)
    kelly_qty = int(at_risk // per_contract)
    depth_qty = max(displayed_qty, 0) * rules.participation_ppm // PPM_PER_ONE
    return Size(min(budget_qty, kelly_qty, depth_qty, order_qty_max), per_contract, budget, budget_qty, kelly_qty, depth_qty)
