"""Which tier may a signal claim? Only what a table of past trades has earned, cell by cell; no cell, no tier.

A cell is a kind of situation, fixed before its trades are counted. The table is made by research (`qualify`), travels
with the model, and is only looked up here. An empty table is the normal state: everything is UNTIERED.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from tidemark.errors import bad_input
from tidemark.models.description import canonical_json
from tidemark.signals.messages import Tier

ALPHA = 0.05
TRADES_MIN = 50
SESSIONS_MIN = 20
MONTH_WINS_FRAC_MAX = 0.4
LAST_TRADE_SESSIONS_MAX = 60
SCORE_BINS = 20
BOOTSTRAP_DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class TierRule:
    """What a tier promises: win rate and reward to risk (the requirements' figures)."""

    tier: Tier
    win_rate: float
    reward_risk: float


RULES: tuple[TierRule, ...] = (TierRule(Tier.TIER1, 0.8, 2.0), TierRule(Tier.TIER2, 0.7, 1.5), TierRule(Tier.TIER3, 0.6, 1.0))


@dataclass(frozen=True, slots=True)
class Cell:
    """A kind of situation. `score_bin` is the twentieth that P(win) falls in."""

    setup: str
    group: str
    horizon_ns: int
    regime: str
    score_bin: int


def score_bin(p_win: float) -> int:
    """0..19."""
    return min(int(p_win * SCORE_BINS), SCORE_BINS - 1)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a cell has its tier. `bound` is the lower bound of its win rate at the level that `cells_examined` leaves."""

    cell: Cell
    tier: Tier
    trades: int
    wins: int
    bound: float
    expectancy_low_r: float
    sessions: int
    first_date: str
    last_date: str
    cells_examined: int
    data_hash: str

    @property
    def evidence_id(self) -> str:
        """Hash of the whole entry."""
        return "ev-" + sha256(canonical_json({**asdict(self), "tier": self.tier.value})).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TierGate:
    """The table, by cell. Later entries for a cell replace earlier ones."""

    evidence: Mapping[Cell, Evidence] = field(default_factory=dict)

    def tier(self, cell: Cell) -> tuple[Tier, str | None]:
        """(tier, id of its evidence) of a cell; UNTIERED without evidence."""
        found = self.evidence.get(cell)
        return (found.tier, found.evidence_id) if found is not None else (Tier.UNTIERED, None)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain form, `evidence.json`."""
        return [{**asdict(entry), "tier": entry.tier.value} for entry in self.evidence.values()]

    @classmethod
    def from_json(cls, spec: Any, source: str = "evidence.json") -> "TierGate":
        """Inverse of `to_json`. Raises InputError; an entry whose own figures do not earn its tier is refused, too."""
        if not isinstance(spec, list):
            raise bad_input(source, "entries", type(spec).__name__, "a list")
        table: dict[Cell, Evidence] = {}
        for item in spec:
            try:
                entry = Evidence(**{**item, "cell": Cell(**item["cell"]), "tier": Tier(item["tier"])})
                rule = next(rule for rule in RULES if rule.tier is entry.tier)
                earned = entry.bound >= rule.win_rate and entry.expectancy_low_r > 0.0 and entry.trades >= TRADES_MIN
            except (KeyError, TypeError, ValueError, StopIteration) as error:
                raise bad_input(source, "entry", str(error), "an evidence entry of TIER1 to TIER3") from error
            if not earned or entry.sessions < SESSIONS_MIN or not entry.wins <= entry.trades:
                raise bad_input(source, "entry", entry.evidence_id, "figures that earn the tier it claims")
            table[entry.cell] = entry
        return cls(table)


@dataclass(frozen=True, slots=True)
class TradeRecord:
    """One walk-forward trade of a cell, net of costs. `result_r` in units of its risk; `session_i` counts sessions."""

    session_i: int
    date: str
    won: bool
    result_r: float
    reward_risk: float


def qualify(
    cell: Cell, trades: Sequence[TradeRecord], *, cells_examined: int, sessions_now: int, gates_passed: bool, data_hash: str, seed: int = 0
) -> Evidence | None:
    """The best tier that these trades earn, or None.

    The win rate's lower bound is the smaller of Clopper-Pearson and a session bootstrap, one-sided at 1 - 0.05 / cells
    examined: of many worthless cells the best looks good. Beside it: 50 trades over 20 sessions, the last at most 60
    sessions old, no month with more than 40 % of the wins, expectancy above zero at 95 %, and realised reward to risk at
    least the tier's. `gates_passed` says that calibration, coverage, drift and the strategy's own gates hold.
    """
    if cells_examined < 1:
        raise bad_input("tiers", "cells_examined", cells_examined, "the number of cells that were looked at, at least one")
    sessions = len({trade.session_i for trade in trades})
    if not gates_passed or len(trades) < TRADES_MIN or sessions < SESSIONS_MIN:
        return None
    wins = sum(trade.won for trade in trades)
    stale = sessions_now - max(trade.session_i for trade in trades) > LAST_TRADE_SESSIONS_MAX
    if stale or _largest_month(trades) > MONTH_WINS_FRAC_MAX * max(wins, 1):
        return None
    alpha = ALPHA / cells_examined
    bound = min(clopper_pearson_low(wins, len(trades), alpha), _session_bound([float(t.won) for t in trades], trades, alpha, seed))
    expectancy_low = _session_bound([t.result_r for t in trades], trades, ALPHA, seed)
    reward_risk = float(np.mean([trade.reward_risk for trade in trades]))
    for rule in RULES:
        if bound >= rule.win_rate and reward_risk >= rule.reward_risk - 1e-9 and expectancy_low > 0.0:
            dates = sorted(trade.date for trade in trades)
            return Evidence(
                cell, rule.tier, len(trades), wins, bound, expectancy_low, sessions, dates[0], dates[-1], cells_examined, data_hash
            )
    return None


def clopper_pearson_low(wins: int, trades: int, alpha: float) -> float:
    """Exact one-sided lower bound of a win rate: the p at which `wins` or more have probability alpha.

    Source: Clopper & Pearson (1934). Found by bisection on the binomial tail, in logarithms; exact to 1e-12.
    """
    if not 0 <= wins <= trades or trades == 0 or not 0.0 < alpha < 1.0:
        raise bad_input("tiers", "wins", f"{wins} of {trades} at {alpha}", "0 <= wins <= trades, at least one trade")
    if wins == 0:
        return 0.0
    low, high = 0.0, wins / trades
    for _ in range(60):
        middle = (low + high) / 2.0
        if _tail(wins, trades, middle) > alpha:
            high = middle
        else:
            low = middle
    return low


def _tail(wins: int, trades: int, p: float) -> float:
    """P(X >= wins) of a binomial."""
    if p <= 0.0:
        return 0.0
    logs = [
        math.lgamma(trades + 1) - math.lgamma(k + 1) - math.lgamma(trades - k + 1) + k * math.log(p) + (trades - k) * math.log1p(-p)
        for k in range(wins, trades + 1)
        if p < 1.0 or k == trades
    ]
    largest = max(logs)
    return math.exp(largest) * math.fsum(math.exp(value - largest) for value in logs)


def _session_bound(values: Sequence[float], trades: Sequence[TradeRecord], alpha: float, seed: int) -> float:
    """Lower quantile of the mean over resampled sessions; with too few draws for a small alpha, the smallest draw."""
    _, member = np.unique([trade.session_i for trade in trades], return_inverse=True)
    sums, counts = np.bincount(member, values), np.bincount(member)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (BOOTSTRAP_DRAWS, len(sums)))
    means = np.sort(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return float(means[int(alpha * BOOTSTRAP_DRAWS)])


def _largest_month(trades: Sequence[TradeRecord]) -> int:
    months: dict[str, int] = {}
    for trade in trades:
        months[trade.date[:7]] = months.get(trade.date[:7], 0) + trade.won
    return max(months.values())
