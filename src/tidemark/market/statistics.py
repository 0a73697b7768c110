"""Figures by which a simulated book is held against real ones. One symbol, one session; pure numpy, no units that a venue chose.

Sizes enter as ratios (venues count contracts, shares and coins), prices in ticks. A statistic is NaN where the block is too short for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidemark.errors import bad_input
from tidemark.events import I64, LEVELS, EventBlock, Kind
from tidemark.market.rule import F64
from tidemark.units import NS_PER_S

SECONDS_MIN = 60  # of book, for anything to be said about it


@dataclass(frozen=True, slots=True)
class Sample:
    """The arrays that the statistics share.

    Shapes  depth rows (n,): ts_s, spread_ticks, mid2; size (n, 20); trades (m,): trade_sign, trade_qty; one entry a second (k,):
            events, flow (order-flow imbalance in contracts), move2 (mid move in half-ticks).
    """

    ts_s: F64
    spread_ticks: F64
    mid2: I64
    size: F64
    trade_sign: F64
    trade_qty: F64
    events: F64
    flow: F64
    move2: F64


def sample_of(block: EventBlock) -> Sample:
    """Arrays of a block of one symbol with both sides quoted. Raises InputError where it is too short."""
    depth, trades = block[block.kind == Kind.DEPTH], block[block.kind == Kind.TRADE]
    if len(depth) < 2 or depth.event_ts_ns[-1] - depth.event_ts_ns[0] < SECONDS_MIN * NS_PER_S:
        raise bad_input("statistics", "block", f"{len(depth)} depth rows", f"at least {SECONDS_MIN} s of one symbol's book")
    ts_s = (depth.event_ts_ns - depth.event_ts_ns[0]) / NS_PER_S
    bid, ask = depth.px_ticks[:, 0], depth.px_ticks[:, LEVELS]
    size = depth.qty.astype(np.float64)
    edges = np.arange(int(ts_s[-1]) + 1)
    last = np.searchsorted(ts_s, edges, side="right") - 1  # the newest row at each whole second
    flow = np.concatenate(([0.0], np.cumsum(order_flow(bid, ask, size[:, 0], size[:, LEVELS]))))
    mid2 = bid + ask
    return Sample(
        ts_s=ts_s,
        spread_ticks=(ask - bid).astype(np.float64),
        mid2=mid2,
        size=size,
        trade_sign=trades.aggressor.astype(np.float64),
        trade_qty=trades.qty[:, 0].astype(np.float64),
        events=np.diff(last).astype(np.float64),
        flow=np.diff(flow[last]),
        move2=np.diff(mid2[last]).astype(np.float64),
    )


def order_flow(bid: I64, ask: I64, bid_qty: F64, ask_qty: F64) -> F64:
    """Order-flow imbalance of each step between rows, (n - 1,). Source: Cont, Kukanov & Stoikov (2014), the event contribution e_n."""
    bid_side = np.where(bid[1:] >= bid[:-1], bid_qty[1:], 0.0) - np.where(bid[1:] <= bid[:-1], bid_qty[:-1], 0.0)
    ask_side = np.where(ask[1:] <= ask[:-1], ask_qty[1:], 0.0) - np.where(ask[1:] >= ask[:-1], ask_qty[:-1], 0.0)
    contribution: F64 = bid_side - ask_side
    return contribution


def _autocorrelation(value: F64, lag: int) -> float:
    return _correlation(value[:-lag], value[lag:]) if len(value) > lag + 2 else float("nan")


def _correlation(x: F64, y: F64) -> float:
    if len(x) < 3 or x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _dispersion(value: F64) -> float:
    return float(value.std() / value.mean()) if len(value) and value.mean() > 0 else float("nan")


def _kurtosis(value: F64) -> float:
    centred = value - value.mean()
    variance = float((centred**2).mean())
    return float((centred**4).mean()) / variance**2 if variance > 0 else float("nan")


def _best(sample: Sample) -> F64:
    return np.concatenate((sample.size[:, 0], sample.size[:, LEVELS]))


def _depth_slope(sample: Sample) -> float:
    """Power of the level number with which mean cumulated size grows: 1 for a flat profile."""
    mean = (sample.size[:, :LEVELS] + sample.size[:, LEVELS:]).mean(axis=0)
    return float(np.polyfit(np.log(np.arange(1, LEVELS + 1)), np.log(np.cumsum(mean)), 1)[0])


def _trade_to_best(sample: Sample) -> float:
    return float(sample.trade_qty.mean() / _best(sample).mean()) if len(sample.trade_qty) else float("nan")


def _mean_move(sample: Sample) -> float:
    steps = np.abs(np.diff(sample.mid2))
    moved = steps[steps > 0]
    return float(moved.mean() / 2.0 / sample.spread_ticks.mean()) if len(moved) else float("nan")


STATISTICS: Mapping[str, tuple[str, Callable[[Sample], float]]] = {
    "spread_mean": ("mean spread, ticks", lambda s: float(s.spread_ticks.mean())),
    "spread_one_frac": ("share of rows at a one-tick spread", lambda s: float((s.spread_ticks == 1).mean())),
    "best_dispersion": ("best level size, standard deviation / mean", lambda s: _dispersion(_best(s))),
    "depth_ratio": ("ten-level size of a side / best level", lambda s: float(s.size.sum(axis=1).mean() / 2.0 / _best(s).mean())),
    "depth_dispersion": ("ten-level size, standard deviation / mean", lambda s: _dispersion(s.size.sum(axis=1))),
    "depth_slope": ("growth of cumulated size with level, power", _depth_slope),
    "events_per_s": ("depth rows per second", lambda s: len(s.ts_s) / s.ts_s[-1]),
    "event_burst": ("rows per second, standard deviation / mean", lambda s: _dispersion(s.events)),
    "trade_share": ("trades / depth rows", lambda s: len(s.trade_qty) / len(s.ts_s)),
    "trade_dispersion": ("trade size, standard deviation / mean", lambda s: _dispersion(s.trade_qty)),
    "trade_to_best": ("mean trade size / mean best level", _trade_to_best),
    "sign_memory": ("autocorrelation of trade signs, lag 1", lambda s: _autocorrelation(s.trade_sign, 1)),
    "flow_memory": ("autocorrelation of 1 s order-flow imbalance, lag 1", lambda s: _autocorrelation(s.flow, 1)),
    "flow_impact": ("correlation of 1 s order-flow imbalance and mid move", lambda s: _correlation(s.flow, s.move2)),
    "move_rate": ("mid moves / depth rows", lambda s: float((np.diff(s.mid2) != 0).mean())),
    "move_size": ("mean mid move / mean spread", _mean_move),
    "return_memory": ("autocorrelation of 1 s mid moves, lag 1", lambda s: _autocorrelation(s.move2, 1)),
    "kurtosis": ("kurtosis of 1 s mid moves", lambda s: _kurtosis(s.move2)),
    "volatility_memory": ("autocorrelation of absolute 1 s mid moves, lag 1", lambda s: _autocorrelation(np.abs(s.move2), 1)),
}  # fmt: skip


def statistics_of(block: EventBlock) -> dict[str, float]:
    """Every statistic of one symbol's block, by name."""
    sample = sample_of(block)
    return {name: float(formula(sample)) for name, (_, formula) in STATISTICS.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One statistic: its range over the real books, and the simulated value."""

    name: str
    low: float
    high: float
    simulated: float

    @property
    def inside(self) -> bool:
        return self.low <= self.simulated <= self.high


def compare(real: Sequence[Mapping[str, float]], simulated: Mapping[str, float]) -> list[Comparison]:
    """Each statistic of a simulated book against its least and greatest value over the real ones (NaN left out)."""
    result = []
    for name in STATISTICS:
        values = [figures[name] for figures in real if np.isfinite(figures[name])]
        result.append(Comparison(name, min(values, default=np.nan), max(values, default=np.nan), simulated[name]))
    return result


def markdown_table(real: Mapping[str, Mapping[str, float]], simulated: Mapping[str, Mapping[str, float]]) -> str:
    """The table of docs/simulated-market.md: real files, their range, and simulated symbols; a value outside the range is marked *."""
    ranges = compare(list(real.values()), next(iter(simulated.values())))
    header = ["statistic", *real, "real range", *simulated]
    lines = [header, ["---"] * len(header)]
    for row in ranges:
        cells = [f"{figures[row.name]:.2f}" for figures in real.values()]
        cells.append(f"{row.low:.2f} to {row.high:.2f}")
        for figures in simulated.values():
            value = figures[row.name]
            cells.append(f"{value:.2f}" if row.low <= value <= row.high else f"{value:.2f} *")
        lines.append([STATISTICS[row.name][0], *cells])
    inside = [f"{sum(c.inside for c in compare(list(real.values()), figures))} of {len(STATISTICS)}" for figures in simulated.values()]
    lines.append(["inside", *[""] * len(real), "", *inside])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
