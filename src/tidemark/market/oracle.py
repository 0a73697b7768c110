"""The planted rule applied to observed books: what the best-informed forecaster would say, scored beside every model.

Works on any block of the symbols, simulated or not: it reads the rule from the manifest's `planted` and the books from the events.
Nothing later than a row's grid time enters that row.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemark.errors import bad_input
from tidemark.events import I32, I64, LEVELS, EventBlock, Kind
from tidemark.instruments import Instrument
from tidemark.jit import kernel
from tidemark.market.kernels import flow_weight, touch_imbalance
from tidemark.market.rule import F64, decay, vector_of
from tidemark.units import NS_PER_S

GRID_NS = NS_PER_S // 4  # step of the feature grid
HORIZONS_S = (5, 10, 30)
PACE_HALF_LIFE_S = 30.0  # of the observed speed and variance of the mid
SCORED_HORIZON_S = 10
_STEP_S = 0.25  # of the sum over times that the known flow does not reach
_VARIANCE_MIN = 0.02  # ticks squared per second: a quiet start must not claim certainty


@dataclass(frozen=True, slots=True)
class OracleRows:
    """One symbol's forecasts on the feature grid: a row for g where an event lies in [g - GRID_NS, g), state after the last of them.

    Shapes  grid_ts_ns, event_ts_ns, seq, mid2, spread_ticks (n,); move_ticks, sigma_ticks (n, len(HORIZONS_S)).
    Units   mid2 in half-ticks; expected mid move over each horizon and its standard deviation in ticks.
    """

    symbol: str
    grid_ts_ns: I64
    event_ts_ns: I64
    seq: I64
    mid2: I64
    spread_ticks: I64
    move_ticks: F64
    sigma_ticks: F64


def oracle_signal(block: EventBlock, instruments: Mapping[str, Instrument], planted: Mapping[str, Any]) -> dict[str, OracleRows]:
    """Forecasts per symbol of `block` (one session, feed order), for the symbols among `instruments`.

    Raises InputError where `planted` has no rule or does not name a symbol. Score it on a null market with `describe_rule(symbols)`.
    """
    if "flow_unit" not in planted:
        raise bad_input("planted", "rule", planted or "nothing", "the manifest's description of a planted rule")
    symbols = [symbol for symbol in block.symbols if symbol in instruments]
    for symbol in symbols:
        if symbol not in planted["flow_unit"]:
            raise bad_input("planted", "symbol", symbol, f"one of {', '.join(planted['flow_unit'])}")
    books = {symbol: _books_of(block, symbol) for symbol in symbols}
    leader = books.get(planted["leader"]) if planted["leader"] else None
    return {symbol: _forecast(symbol, books[symbol], leader, planted) for symbol in symbols}


def class_probabilities(move_ticks: F64, sigma_ticks: F64, threshold_ticks: F64) -> F64:
    """(n, 3) chances that the move ends below -threshold, between, above it, under a normal law."""
    down = _normal_cdf((-threshold_ticks - move_ticks) / sigma_ticks)
    up = 1.0 - _normal_cdf((threshold_ticks - move_ticks) / sigma_ticks)
    return np.stack((down, np.maximum(1.0 - down - up, 0.0), up), axis=1)


def future_moves(rows: OracleRows, horizon_s: int) -> F64:
    """Mid move in ticks from each row to the last row at or before `horizon_s` later; NaN where the session ends sooner."""
    until = rows.grid_ts_ns + horizon_s * NS_PER_S
    at = np.searchsorted(rows.grid_ts_ns, until, side="right") - 1
    return np.where(until <= rows.grid_ts_ns[-1], (rows.mid2[at] - rows.mid2) / 2.0, np.nan)


def score_oracle(blocks: Iterable[EventBlock], instruments: Mapping[str, Instrument], planted: Mapping[str, Any]) -> dict[str, Any]:
    """How much the rule explains, per symbol: squared correlation of forecast and move, and how often the sign is right."""
    pairs: dict[str, list[F64]] = {}
    column = HORIZONS_S.index(SCORED_HORIZON_S)
    for block in blocks:
        for symbol, rows in oracle_signal(block, instruments, planted).items():
            moves = future_moves(rows, SCORED_HORIZON_S)
            known = np.isfinite(moves)
            pairs.setdefault(symbol, []).append(np.stack((rows.move_ticks[known, column], moves[known])))
    return {symbol: _score(np.concatenate(parts, axis=1)) for symbol, parts in pairs.items()}


def _score(pair: F64) -> dict[str, Any]:
    forecast, move = pair
    moved = move != 0
    if len(move) < 2 or not moved.any() or forecast.std() == 0:
        return {"rows": len(move), "horizon_s": SCORED_HORIZON_S}
    return {
        "rows": len(move),
        "horizon_s": SCORED_HORIZON_S,
        "r2": round(float(np.corrcoef(forecast, move)[0, 1]) ** 2, 4),
        "sign_right_frac": round(float((np.sign(forecast) == np.sign(move))[moved].mean()), 4),
        "move_sd_ticks": round(float(move.std()), 3),
    }


@dataclass(frozen=True, slots=True)
class _Books:
    """Depth rows of one symbol."""

    ts_ns: I64
    seq: I64
    px: I64
    qty: I32
    last_ts_ns: I64  # of every event of the symbol, trades too: they make grid rows
    last_seq: I64

    @property
    def mid2(self) -> I64:
        return self.px[:, 0] + self.px[:, LEVELS]


def _books_of(block: EventBlock, symbol: str) -> _Books:
    rows = block[block.symbol_i == block.symbols.index(symbol)]
    depth = rows.kind == Kind.DEPTH
    return _Books(rows.event_ts_ns[depth], rows.seq[depth], rows.px_ticks[depth], rows.qty[depth], rows.event_ts_ns, rows.seq)


def _forecast(symbol: str, books: _Books, leader: _Books | None, planted: Mapping[str, Any]) -> OracleRows:
    cell = books.last_ts_ns // GRID_NS
    last = np.flatnonzero(np.diff(cell, append=cell[-1:] + 1))
    grid_ns = (cell[last] + 1) * GRID_NS
    at = np.searchsorted(books.ts_ns, grid_ns, side="left") - 1  # the newest book before each grid time
    last, grid_ns, at = last[at >= 0], grid_ns[at >= 0], at[at >= 0]
    drift_s = _own_drift(symbol, books, grid_ns, at, planted)
    if leader is not None and symbol != planted["leader"]:
        drift_s = drift_s + _lead_drift(symbol, leader, grid_ns, planted)
    keep = _keep(books.ts_ns, PACE_HALF_LIFE_S)
    steps = np.abs(np.diff(books.mid2, prepend=books.mid2[:1])).astype(np.float64)
    pace = _per_second(steps, keep)[at] / 2.0
    variance = np.maximum(_per_second(steps * steps, keep)[at] / 4.0, _VARIANCE_MIN)
    sigma = np.sqrt(variance[:, None] * np.array(HORIZONS_S, np.float64))
    spread = books.px[at, LEVELS] - books.px[at, 0]
    return OracleRows(symbol, grid_ns, books.last_ts_ns[last], books.last_seq[last], books.mid2[at], spread, pace[:, None] * drift_s, sigma)


def _own_drift(symbol: str, books: _Books, grid_ns: I64, at: I64, planted: Mapping[str, Any]) -> F64:
    """Integral over each horizon of the part of delta that the symbol's own flow gives, seconds. (n, horizons).

    Exact for the first `flow_delay_s`, whose flow has been seen; after that the sum decays, as flow to come has no expected weight.
    """
    rule = vector_of(planted)
    delay_s, half_life_s, scale = planted["flow_delay_s"], planted["flow_half_life_s"], planted["flow_scale"]
    flow = _flow_path(books.px, books.qty, _keep(books.ts_ns, half_life_s), float(planted["flow_unit"][symbol]), rule)
    acting = planted["own"] * np.clip(flow / scale, -1.0, 1.0)
    done = np.concatenate(([0.0], np.cumsum(acting[:-1] * np.diff(books.ts_ns) / NS_PER_S)))

    def integral(until_ns: I64) -> F64:
        row = np.searchsorted(books.ts_ns, until_ns, side="right") - 1
        inside = np.maximum(row, 0)
        value: F64 = np.where(row >= 0, done[inside] + acting[inside] * (until_ns - books.ts_ns[inside]) / NS_PER_S, 0.0)
        return value

    start_ns = grid_ns - int(delay_s * NS_PER_S)
    columns = []
    for horizon in HORIZONS_S:
        known = integral(start_ns + int(min(horizon, delay_s) * NS_PER_S)) - integral(start_ns)
        tail = _decaying_sum(flow[at], scale, half_life_s, max(horizon - delay_s, 0.0))
        columns.append(known + planted["own"] * tail)
    return np.stack(columns, axis=1)


def _lead_drift(symbol: str, leader: _Books, grid_ns: I64, planted: Mapping[str, Any]) -> F64:
    """Integral over each horizon of the part of delta that the leader's moves give, seconds. (n, horizons)."""
    half_life_s = planted["lead_half_life_s"]
    steps = np.diff(leader.mid2, prepend=leader.mid2[:1]).astype(np.float64)
    path = _decayed_sum(steps, _keep(leader.ts_ns, half_life_s))
    at = np.searchsorted(leader.ts_ns, grid_ns, side="left") - 1
    seen = np.maximum(at, 0)
    now = np.where(at >= 0, path[seen] * decay(grid_ns - leader.ts_ns[seen], half_life_s), 0.0) * planted["beta"][symbol]
    parts = [planted["lead"] * _decaying_sum(now, planted["lead_scale_half_ticks"], half_life_s, horizon) for horizon in HORIZONS_S]
    return np.stack(parts, axis=1)


def _decaying_sum(value: F64, scale: float, half_life_s: float, length_s: float) -> F64:
    """Integral over `length_s` of clip(value 2^(-u / half-life) / scale), by midpoints."""
    total = np.zeros(len(value))
    for step in range(round(length_s / _STEP_S)):
        total += np.clip(value * 0.5 ** ((step + 0.5) * _STEP_S / half_life_s) / scale, -1.0, 1.0) * _STEP_S
    return total


def _keep(ts_ns: I64, half_life_s: float) -> F64:
    keep = np.ones(len(ts_ns))
    keep[1:] = decay(np.diff(ts_ns), half_life_s)
    return keep


def _per_second(value: F64, keep: F64) -> F64:
    """Decaying rate of `value` per second: its decayed sum over the decayed time."""
    mean_life_s = PACE_HALF_LIFE_S / math.log(2.0)
    elapsed = _decayed_sum((1.0 - keep) * mean_life_s, keep)
    rate: F64 = _decayed_sum(value, keep) / np.maximum(elapsed, 1.0)
    return rate


def _normal_cdf(z: F64) -> F64:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z.tolist()])


@kernel
def _flow_path(px: I64, qty: I32, keep: F64, flow_unit: float, rule: F64) -> F64:
    """The rule's decayed flow after each depth row of one symbol, as the simulator accumulates it."""
    out = np.zeros(len(px))
    flow = 0.0
    for i in range(1, len(px)):
        change = touch_imbalance(
            px[i, 0], qty[i, 0], px[i, LEVELS], qty[i, LEVELS], px[i - 1, 0], qty[i - 1, 0], px[i - 1, LEVELS], qty[i - 1, LEVELS]
        )
        flow = flow * keep[i] + flow_weight(qty[i - 1], rule) * change / flow_unit
        out[i] = flow
    return out


@kernel
def _decayed_sum(value: F64, keep: F64) -> F64:
    out = np.zeros(len(value))
    total = 0.0
    for i in range(len(value)):
        total = total * keep[i] + value[i]
        out[i] = total
    return out
