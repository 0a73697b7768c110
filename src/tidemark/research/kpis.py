"""Key figures of a run, each with an interval, its sample size and what that says about a target.

A figure without data is None, never 0. Intervals are the stationary bootstrap's, over sessions for returns and over trades in their order
for trades, joined with Wilson's for shares, so that a short run of wins is not certainty. Under ten sessions no return target is `met`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tidemark.engine.result import EngineResult
from tidemark.units import BPS_PER_ONE

F64 = npt.NDArray[np.float64]
Statistic = Callable[[F64], F64]

DRAWS: Final = 2_000
DRAWS_PER_CHUNK: Final = 100  # bounds memory with many trades
Z95: Final = 1.959964
SESSIONS_PER_YEAR: Final = 252
SESSIONS_PER_MONTH: Final = 21
SESSIONS_FOR_MET: Final = 10
SESSIONS_FOR_MONTH: Final = 20
SESSIONS_FOR_YEAR: Final = 60
VAR_SESSIONS_MIN: Final = 20


@dataclass(frozen=True, slots=True)
class Target:
    """What was hoped for: at least `value`, or at most."""

    value: float
    is_upper: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured key figure. `n` counts what it was measured on."""

    value: float | None
    ci95: tuple[float, float] | None
    n: int
    may_be_met: bool = True

    def to_json(self, target: Target | None) -> dict[str, Any]:
        """The summary's entry, with the verdict against a target."""
        ci95 = [round(bound, 6) for bound in self.ci95] if self.ci95 else None
        value = None if self.value is None else round(self.value, 6)
        return {"value": value, "ci95": ci95, "n": self.n, "target": target.value if target else None, "verdict": self.verdict(target)}

    def verdict(self, target: Target | None) -> str:
        """`met` if the whole interval is on the right side, `not met` if it is on the wrong one, else `undecided`."""
        if self.value is None:
            return "no data"
        if target is None or self.ci95 is None:
            return "undecided"
        low, high = self.ci95 if not target.is_upper else (-self.ci95[1], -self.ci95[0])
        bound = -target.value if target.is_upper else target.value
        if low >= bound:
            return "met" if self.may_be_met else "undecided"
        return "not met" if high < bound else "undecided"


def targets_of(plain: Mapping[str, Mapping[str, float]]) -> dict[str, Target]:
    """Targets from plain data, {name: {"min": value}} or {name: {"max": value}}."""
    return {name: Target(bound["max"], is_upper=True) if "max" in bound else Target(bound["min"]) for name, bound in plain.items()}


def stationary_draws(n: int, draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices (draws, n): blocks of geometric length with mean n^(1/3), wrapped around. Source: Politis & Romano (1994), JASA 89."""
    starts = rng.integers(0, n, (draws, n))
    is_start = rng.random((draws, n)) < 1.0 / max(1.0, n ** (1.0 / 3.0))
    is_start[:, 0] = True
    position = np.arange(n)
    last_start = np.maximum.accumulate(np.where(is_start, position, 0), axis=1)
    return np.asarray((np.take_along_axis(starts, last_start, axis=1) + position - last_start) % n, np.int64)


def bootstrap(values: F64, statistic: Statistic, seed: int, draws: int = DRAWS) -> tuple[float, float] | None:
    """95 % interval of `statistic`, which maps rows (draws, n) to (draws,). None when it cannot be computed on most resamples."""
    if len(values) < 2:
        return None
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(draws // DRAWS_PER_CHUNK):
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(statistic(values[stationary_draws(len(values), DRAWS_PER_CHUNK, rng)]))
    results = np.concatenate(parts)
    finite = results[np.isfinite(results)]
    if len(finite) < draws // 2:
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def wilson(wins: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share. Source: Wilson (1927), JASA 22."""
    share, spread = wins / n, Z95 * Z95 / n
    centre = (share + spread / 2.0) / (1.0 + spread)
    half = Z95 * math.sqrt(share * (1.0 - share) / n + spread / (4.0 * n)) / (1.0 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def sharpe(returns: F64) -> F64:
    """Annualised mean over standard deviation of session returns (.., n); infinite or NaN where nothing varies."""
    return np.asarray(np.sqrt(SESSIONS_PER_YEAR) * returns.mean(axis=-1) / returns.std(axis=-1, ddof=1))


def sortino(returns: F64) -> F64:
    """Annualised mean over downside deviation from 0."""
    downside = np.sqrt((np.minimum(returns, 0.0) ** 2).mean(axis=-1))
    return np.asarray(np.sqrt(SESSIONS_PER_YEAR) * returns.mean(axis=-1) / downside)


def max_drawdown(returns: F64) -> F64:
    """Largest fall from a high of the compounded curve, as a share of it."""
    curve = np.cumprod(1.0 + returns, axis=-1)
    high = np.maximum(np.maximum.accumulate(curve, axis=-1), 1.0)
    return np.asarray((1.0 - curve / high).max(axis=-1))


def profit_factor(nets: F64) -> F64:
    """Sum of gains over sum of losses; infinite without a loss."""
    return np.asarray(np.maximum(nets, 0.0).sum(axis=-1) / np.maximum(-nets, 0.0).sum(axis=-1))


def growth(periods: int) -> Statistic:
    """Compound return over `periods` sessions at the mean log return."""
    return lambda returns: np.asarray(np.expm1(np.log1p(returns).mean(axis=-1) * periods))


def value_at_risk(returns: F64) -> F64:
    """95 % one-session loss: the 5 % quantile of returns, with the sign of a loss."""
    return np.asarray(-np.quantile(returns, 0.05, axis=-1))


def expected_shortfall(returns: F64) -> F64:
    """Mean loss of the sessions at or below the 5 % quantile."""
    cut = np.quantile(returns, 0.05, axis=-1, keepdims=True)
    tail = returns <= cut
    return np.asarray(-(np.where(tail, returns, 0.0).sum(axis=-1) / tail.sum(axis=-1)))


def measure(result: EngineResult, seed: int) -> dict[str, Figure]:
    """All key figures of a run, by name. Equal runs and seeds give equal figures."""
    equities = np.asarray(result.day_equities_micros(), np.float64)
    returns = np.diff(equities) / equities[:-1] if (equities > 0.0).all() else np.empty(0)
    nets = np.asarray([trade.net_micros for trade in result.trades], np.float64)
    gross = np.asarray([trade.gross_micros for trade in result.trades], np.float64)
    risks = np.asarray([trade.risk_micros for trade in result.trades], np.float64)
    figures = _of_returns(returns, result, seed)
    figures["win_rate"] = _share(nets > 0.0, seed)
    figures["signal_accuracy"] = _share(gross > 0.0, seed)
    for tier in ("TIER1", "TIER2", "TIER3"):
        of_tier = np.asarray([trade.tier == tier for trade in result.trades], bool)
        figures[f"{tier.lower()}_win_rate"] = _share(nets[of_tier] > 0.0, seed)
        figures[f"{tier.lower()}_reward_risk"] = _trades(nets[of_tier], _reward_risk, seed)
    figures["profit_factor"] = _trades(nets, profit_factor, seed)
    figures["expectancy_r"] = _trades(nets / risks if len(nets) and (risks > 0.0).all() else np.empty(0), _mean, seed)
    figures["risk_limit_breaches"] = _breaches(result)
    figures["data_quality"] = _quality(result)
    return figures


def kpis_json(figures: Mapping[str, Figure], targets: Mapping[str, Target]) -> dict[str, dict[str, Any]]:
    """The summary's `kpis`."""
    return {name: figure.to_json(targets.get(name)) for name, figure in figures.items()}


def _of_returns(returns: F64, result: EngineResult, seed: int) -> dict[str, Figure]:
    n = len(returns)
    is_enough = n >= SESSIONS_FOR_MET

    def figure(statistic: Statistic, sessions_min: int = 2) -> Figure:
        if n < sessions_min:
            return Figure(None, None, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(returns))
        return Figure(value if math.isfinite(value) else None, bootstrap(returns, statistic, seed), n, is_enough)

    total = result.final_equity_micros / result.cash0_micros - 1.0
    return {
        "total_return": Figure(total if result.equity else None, bootstrap(returns, growth(n), seed) if n else None, n, is_enough),
        "sharpe": figure(sharpe),
        "sortino": figure(sortino),
        "max_drawdown": _drawdown(returns, result, seed, is_enough),
        "monthly_return": figure(growth(SESSIONS_PER_MONTH), SESSIONS_FOR_MONTH),
        "annual_return": figure(growth(SESSIONS_PER_YEAR), SESSIONS_FOR_YEAR),
        "calmar": figure(_calmar, SESSIONS_FOR_YEAR),
        "var_95": figure(value_at_risk, VAR_SESSIONS_MIN),
        "expected_shortfall_95": figure(expected_shortfall, VAR_SESSIONS_MIN),
    }


def _drawdown(returns: F64, result: EngineResult, seed: int, is_enough: bool) -> Figure:
    """Measured at every book; the interval is that of resampled sessions, widened to hold what was measured."""
    if not result.equity:
        return Figure(None, None, len(returns))
    value = result.drawdown_bps_max / BPS_PER_ONE
    bounds = bootstrap(returns, max_drawdown, seed)
    ci95 = (min(bounds[0], value), max(bounds[1], value)) if bounds else None
    return Figure(value, ci95, len(returns), is_enough)


def _calmar(returns: F64) -> F64:
    return np.asarray(growth(SESSIONS_PER_YEAR)(returns) / max_drawdown(returns))


def _mean(values: F64) -> F64:
    return np.asarray(values.mean(axis=-1))


def _reward_risk(nets: F64) -> F64:
    """Mean gain over mean loss."""
    wins, losses = nets > 0.0, nets < 0.0
    gain = np.where(wins, nets, 0.0).sum(axis=-1) / wins.sum(axis=-1)
    loss = np.where(losses, -nets, 0.0).sum(axis=-1) / losses.sum(axis=-1)
    return np.asarray(gain / loss)


def _share(hits: npt.NDArray[np.bool_], seed: int) -> Figure:
    n = len(hits)
    if n == 0:
        return Figure(None, None, 0)
    low, high = wilson(int(hits.sum()), n)
    drawn = bootstrap(hits.astype(np.float64), _mean, seed)
    if drawn:
        low, high = min(low, drawn[0]), max(high, drawn[1])
    return Figure(float(hits.mean()), (low, high), n)


def _trades(values: F64, statistic: Statistic, seed: int) -> Figure:
    if len(values) == 0:
        return Figure(None, None, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(values))
    return Figure(value if math.isfinite(value) else None, bootstrap(values, statistic, seed), len(values))


def _breaches(result: EngineResult) -> Figure:
    """Share of entries after which more was at risk than had been decided."""
    if result.entries == 0:
        return Figure(None, None, 0)
    return Figure(len(result.breaches) / result.entries, wilson(len(result.breaches), result.entries), result.entries)


def _quality(result: EngineResult) -> Figure:
    """Share of usable events over all symbols."""
    events = sum(seen.events for seen in result.data.values())
    if events == 0:
        return Figure(None, None, 0)
    usable = sum(seen.usable_events for seen in result.data.values())
    return Figure(usable / events, wilson(usable, events), events)
