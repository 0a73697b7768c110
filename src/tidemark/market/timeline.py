"""When things happen and every random draw they will need, before the books are run: one row ("slot") per coming depth row.

Drawing everything here, vectorised, keeps the kernel free of a generator (so it gives the same bytes compiled or not) and makes
timing independent of the path: rates and volatility may be foreseen from the past, the sign of a move may not.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidemark.events import I8, I16, I64
from tidemark.market.config import BEHAVIOURS, MINUTES_MAX, MarketConfig
from tidemark.market.rule import F64, FLOW_DELAY_S, FLOW_HALF_LIFE_S, LEAD_HALF_LIFE_S, decay, leader_of
from tidemark.units import NS_PER_MS, NS_PER_S, NS_PER_US

# Kinds of slots.
SNAPSHOT, SIZE, MOVE, NEWS = range(4)
UNIFORMS = 8
POOL_PER_SLOT, POOL_SPARE = 3, 256
SIZE_SHAPE = 4.0  # of the gamma law of fresh level sizes: dispersion 1/2
TRADE_LEAD_NS = 500  # a trade's row stands this long before the depth row that shows its effect; below the microsecond between slots
GRID_US = 250_000  # step of the feature grid
REGIME_ACTIVITY = (0.65, 1.0, 1.8)  # quiet, normal, stress
REGIME_DWELL_S = (180.0, 240.0, 90.0)
ACTIVITY_SD, ACTIVITY_HALF_LIFE_S = 0.4, 20.0  # log activity beside the regimes
NEWS_PER_S = 1 / 1_500
NEWS_BOOST, NEWS_HALF_LIFE_S = 2.0, 25.0
SHARED_PER_S = 0.9  # market-wide moves at activity 1
CHILDREN_MEAN = 2.0  # events come in bursts: each starts so many followers on average,
CHILD_DELAY_S = 0.012  # this far apart,
REPEAT_PROB = 0.95  # and mostly repeat its
REPEATED = (2, 3, 5)  # place, side and mode: columns of `uniforms`, see the kernel
SWEEP_SHARE, SWEEP_FACTOR = 0.015, 6  # of moves that run through many levels, and how much further they go
FLOW_SD, HIDDEN_FLOW_HALF_LIFE_S = 0.9, 6.0
FLOW_STEP_S = 0.25
LIQUIDITY_DWELL_S = 7.0
LATENCY_MEDIAN_NS, LATENCY_SIGMA, LATENCY_MAX_NS = 400 * NS_PER_US, 0.5, 20 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class Timeline:
    """Slots of all symbols in feed order, `n` of them.

    Shapes  every array (n,) but `uniforms` (n, UNIFORMS) and `pool` (POOL_PER_SLOT n + POOL_SPARE,), multipliers of mean one.
    Units   `buy_prob` chance that a size change is on the buying side; `thick` 0 or 1, the far levels' state;
            `flow_keep`, `lead_keep` what is left of the rule's sums since the symbol's / the leader's last slot;
            `delayed` the symbol's last slot that is at least the rule's delay older, -1 where there is none.
    """

    symbol_i: I16
    kind: I8
    ts_ns: I64
    recv_ts_ns: I64
    move_ticks: I64
    sign_u: F64
    buy_prob: F64
    thick: I8
    flow_keep: F64
    delayed: I64
    lead_keep: F64
    uniforms: F64
    pool: F64

    def __len__(self) -> int:
        return len(self.ts_ns)


def draw_timeline(config: MarketConfig, open_ns: int, rng: np.random.Generator) -> Timeline:
    """Every slot of one session that opens at `open_ns`, a multiple of a second."""
    seconds = config.minutes * 60
    news_s = np.sort(rng.uniform(0, seconds, rng.poisson(NEWS_PER_S * seconds)))
    activity = config.rate * _season(open_ns, seconds) * _regimes(seconds, rng) * _wander(seconds, rng) * _news_boost(news_s, seconds)
    shared = _Common.draw(_even_us(_poisson_s(SHARED_PER_S * activity, rng)), rng)
    news = _Common.draw(_even_us(news_s), rng)
    parts = [_symbol_slots(i, config.symbols[i], seconds, activity, shared, news, rng) for i in range(len(config.symbols))]
    return _merge(config, open_ns, parts, rng)


@dataclass(frozen=True, slots=True)
class _Common:
    """Instants at which several symbols move at once, with the draw they share. In microseconds from the open."""

    at_us: I64
    sign_u: F64

    @classmethod
    def draw(cls, at_us: I64, rng: np.random.Generator) -> "_Common":
        return cls(at_us, rng.random(len(at_us)))


@dataclass(frozen=True, slots=True)
class _Slots:
    """One symbol's slots, in time order."""

    symbol_i: I16
    kind: I8
    at_us: I64
    sign_u: F64
    move_ticks: I64
    buy_prob: F64
    thick: I8
    uniforms: F64


def _symbol_slots(index: int, symbol: str, seconds: int, activity: F64, shared: _Common, news: _Common, rng: np.random.Generator) -> _Slots:
    spec = BEHAVIOURS[symbol]
    own_us, own_u = _own_events(_poisson_s(spec.events_per_s * activity / (1 + CHILDREN_MEAN), rng), seconds, rng)
    own_share = max(0.0, spec.move_share - SHARED_PER_S * spec.shared_prob / spec.events_per_s)
    own_kind = np.where(rng.random(len(own_us)) < own_share, MOVE, SIZE)
    joins = rng.random(len(shared.at_us)) < spec.shared_prob
    follows = rng.random(len(shared.at_us)) < spec.shared_same_prob
    shared_u = np.where(follows, shared.sign_u if spec.beta > 0 else 1.0 - shared.sign_u, rng.random(len(shared.at_us)))
    news_u = news.sign_u if spec.beta > 0 else 1.0 - news.sign_u
    at_us = np.concatenate((np.zeros(1, np.int64), own_us, shared.at_us[joins], news.at_us))
    kind = np.concatenate(([SNAPSHOT], own_kind, np.full(joins.sum(), MOVE), np.full(len(news.at_us), NEWS)))
    sign_u = np.concatenate(([0.5], rng.random(len(own_us)), shared_u[joins], news_u))
    order = np.argsort(at_us, kind="stable")
    at_us, kind, sign_u = at_us[order], kind[order], sign_u[order]
    uniforms = np.concatenate((rng.random((1, UNIFORMS)), own_u, rng.random((len(at_us) - 1 - len(own_us), UNIFORMS))))[order]
    steps = rng.geometric(1 / spec.move_ticks_mean, len(at_us)) * np.where(rng.random(len(at_us)) < SWEEP_SHARE, SWEEP_FACTOR, 1)
    steps = np.where(kind == NEWS, 1 + rng.poisson(spec.news_ticks, len(at_us)), steps)
    return _Slots(
        np.full(len(at_us), index, np.int16), kind.astype(np.int8), at_us, sign_u, steps.astype(np.int64), _buy_prob(at_us, seconds, rng),
        _thick(at_us, seconds, rng), uniforms,
    )  # fmt: skip


def _merge(config: MarketConfig, open_ns: int, parts: list[_Slots], rng: np.random.Generator) -> Timeline:
    """All symbols in feed order, with the draws that need it. Simultaneous slots follow the order of the symbols."""
    at_us = np.concatenate([part.at_us for part in parts])
    symbol_i = np.concatenate([part.symbol_i for part in parts])
    order = np.lexsort((symbol_i, at_us))
    at_us, symbol_i = at_us[order], symbol_i[order]
    count = len(order)
    leader = leader_of(config.symbols)
    is_lead = symbol_i == config.symbols.index(leader) if leader else np.zeros(count, np.bool_)
    ts_ns = open_ns + at_us * NS_PER_US
    flow_keep, delayed = _own_history(ts_ns, symbol_i, len(parts))
    latency_ns = np.minimum(LATENCY_MEDIAN_NS * np.exp(LATENCY_SIGMA * rng.standard_normal(count)), LATENCY_MAX_NS).astype(np.int64)
    return Timeline(
        symbol_i=symbol_i,
        kind=np.concatenate([part.kind for part in parts])[order],
        ts_ns=ts_ns,
        recv_ts_ns=ts_ns + latency_ns,
        move_ticks=np.concatenate([part.move_ticks for part in parts])[order],
        sign_u=np.concatenate([part.sign_u for part in parts])[order],
        buy_prob=np.concatenate([part.buy_prob for part in parts])[order],
        thick=np.concatenate([part.thick for part in parts])[order],
        flow_keep=flow_keep,
        delayed=delayed,
        lead_keep=decay(ts_ns - _previous(ts_ns, is_lead), LEAD_HALF_LIFE_S),
        uniforms=np.concatenate([part.uniforms for part in parts])[order],
        pool=rng.standard_gamma(SIZE_SHAPE, POOL_PER_SLOT * count + POOL_SPARE) / SIZE_SHAPE,
    )


def delayed_rows(ts_ns: I64) -> I64:
    """For each row of one symbol, its last row that is at least the rule's delay older; -1 where there is none."""
    return np.searchsorted(ts_ns, ts_ns - int(FLOW_DELAY_S * NS_PER_S), side="right") - 1


def _own_history(ts_ns: I64, symbol_i: I16, symbol_count: int) -> tuple[F64, I64]:
    """(`flow_keep`, `delayed`) of the merged slots."""
    keep = np.ones(len(ts_ns))
    delayed = np.full(len(ts_ns), -1)
    for index in range(symbol_count):
        rows = np.flatnonzero(symbol_i == index)
        keep[rows[1:]] = decay(np.diff(ts_ns[rows]), FLOW_HALF_LIFE_S)
        at = delayed_rows(ts_ns[rows])
        delayed[rows] = np.where(at >= 0, rows[at], -1)
    return keep, delayed


def _previous(ts_ns: I64, marked: npt.NDArray[np.bool_]) -> I64:
    """Time of the last marked row before each row; the row's own time where there is none."""
    rows = np.flatnonzero(marked)
    if not len(rows):
        return ts_ns
    at = np.searchsorted(rows, np.arange(len(ts_ns)), side="left") - 1
    return np.where(at >= 0, ts_ns[rows[np.maximum(at, 0)]], ts_ns)


def _season(open_ns: int, seconds: int) -> F64:
    """Activity by time of day, one figure a second: high at the open, low over lunch, high again into the close."""
    minute = np.arange(seconds) / 60.0
    lunch = np.exp(-(((minute - 210.0) / 70.0) ** 2))
    close = np.exp(-np.maximum(MINUTES_MAX - minute, 0.0) / 25.0)
    shape: F64 = 0.85 + 0.3 * np.exp(-minute / 30.0) - 0.35 * lunch + 0.5 * close
    return shape


def _regimes(seconds: int, rng: np.random.Generator) -> F64:
    """Activity of a three-state chain with exponential dwell times; from each state either other one follows."""
    level = np.empty(seconds)
    state, second = int(rng.integers(3)), 0.0
    while second < seconds:
        end = second + rng.exponential(REGIME_DWELL_S[state])
        level[int(second) : int(end) + 1] = REGIME_ACTIVITY[state]
        state, second = (state + 1 + int(rng.integers(2))) % 3, end
    return level


def _wander(seconds: int, rng: np.random.Generator) -> F64:
    """Slow lognormal drift of activity, mean one."""
    level: F64 = np.exp(ACTIVITY_SD * _ar1(seconds, 0.5 ** (1.0 / ACTIVITY_HALF_LIFE_S), rng) - ACTIVITY_SD**2 / 2)
    return level


def _news_boost(news_s: F64, seconds: int) -> F64:
    elapsed = np.arange(seconds)[:, None] - news_s[None, :]
    boost: F64 = 1.0 + NEWS_BOOST * np.where(elapsed > 0, 0.5 ** (np.maximum(elapsed, 0) / NEWS_HALF_LIFE_S), 0.0).sum(axis=1)
    return boost


def _ar1(count: int, keep: float, rng: np.random.Generator) -> F64:
    """Stationary first-order autoregression of unit variance."""
    noise = rng.standard_normal(count)
    path = np.empty(count)
    value = noise[0]
    spread = (1.0 - keep * keep) ** 0.5
    for i, shock in enumerate(noise.tolist()):
        value = keep * value + spread * shock if i else shock
        path[i] = value
    return path


def _buy_prob(at_us: I64, seconds: int, rng: np.random.Generator) -> F64:
    """Chance that a size change favours buyers: orders of one kind follow each other (split orders), so it drifts slowly."""
    steps = int(seconds / FLOW_STEP_S) + 1
    pressure = FLOW_SD * _ar1(steps, 0.5 ** (FLOW_STEP_S / HIDDEN_FLOW_HALF_LIFE_S), rng)
    at = np.minimum((at_us / (FLOW_STEP_S * 1e6)).astype(np.int64), steps - 1)
    chance: F64 = 0.5 * (1.0 + np.clip(pressure, -0.9, 0.9)[at])
    return chance


def _thick(at_us: I64, seconds: int, rng: np.random.Generator) -> I8:
    """State of the far levels: alternating, with exponential dwell times."""
    dwell = rng.exponential(LIQUIDITY_DWELL_S, int(4 * seconds / LIQUIDITY_DWELL_S) + 16)
    first = int(rng.integers(2))
    return ((np.searchsorted(np.cumsum(dwell), at_us / 1e6) + first) % 2).astype(np.int8)


def _poisson_s(rate_per_s: F64, rng: np.random.Generator) -> F64:
    """Times in seconds of a Poisson process whose rate is given second by second."""
    counts = rng.poisson(rate_per_s)
    starts = np.repeat(np.arange(len(rate_per_s), dtype=np.float64), counts)
    return np.sort(starts + rng.random(len(starts)))


def _own_events(parents_s: F64, seconds: int, rng: np.random.Generator) -> tuple[I64, F64]:
    """Times and uniform draws of a symbol's own events: each parent with its followers shortly behind.

    A follower mostly repeats its parent's kind and side, as the pieces of one split order do; that is where trade signs get their memory.
    """
    children = rng.geometric(1.0 / (1.0 + CHILDREN_MEAN), len(parents_s)) - 1
    parent = np.concatenate((np.arange(len(parents_s)), np.repeat(np.arange(len(parents_s)), children)))
    rank = np.arange(children.sum()) - np.repeat(np.cumsum(children) - children, children)
    delays = rng.exponential(CHILD_DELAY_S, len(rank)) * (1.0 + rank)
    times = parents_s[parent] + np.concatenate((np.zeros(len(parents_s)), delays))
    uniforms = rng.random((len(times), UNIFORMS))
    repeats = np.flatnonzero(rng.random(len(times)) < REPEAT_PROB)
    for column in REPEATED:
        uniforms[repeats, column] = uniforms[parent[repeats], column]
    at_us, chosen = np.unique(_even(times) + 1, return_index=True)
    inside = at_us < seconds * 1_000_000
    return at_us[inside], uniforms[chosen[inside]]


def _even(times_s: F64) -> I64:
    """Whole even microseconds."""
    return 2 * (times_s * 5e5).astype(np.int64)


def _even_us(times_s: F64) -> I64:
    """Whole even microseconds, each once, off the session's first instant and off the feature grid.

    Off the grid because a trade's row stands `TRADE_LEAD_NS` before its depth row: a grid edge between them would show the cause without
    its effect. Even, so that no symbol's own event (odd) can collide with a common one.
    """
    at_us = np.unique(_even(times_s))
    kept: I64 = at_us[at_us % GRID_US != 0]
    return kept
