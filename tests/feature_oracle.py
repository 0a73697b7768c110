"""Every feature computed again from its formula in the catalogue: slow, in floats and Python loops, sharing no code with the kernels."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemark.events import EventBlock
from tidemark.features.params import FeatureParams

S = 10**9
EMPTY = -(2**63)
LEVELS = 10
SILENCE = 15 * 60 * S


@dataclass
class Seen:
    """What one event contributed."""

    ts: int
    flow: list[int] | None = None
    touch: int = 0
    square: float = 0.0
    signed: int = 0
    volume: int = 0


@dataclass
class World:
    params: FeatureParams
    events: list[Seen] = field(default_factory=list)
    book: tuple[list[int], list[int], list[int], list[int]] | None = None
    last_trade: tuple[int, int] | None = None
    spread_average: float = math.nan
    flows: list[int] = field(default_factory=list)


def oracle_rows(block: EventBlock, params: FeatureParams) -> list[dict[str, float] | None]:
    """One dictionary by feature name per event; None while there is no book."""
    world = World(params)
    rows = []
    for i in range(len(block)):
        _take(world, block, i)
        rows.append(_row(world) if world.book is not None else None)
    return rows


def _take(world: World, block: EventBlock, i: int) -> None:
    ts = int(block.event_ts_ns[i])
    dt = ts - world.events[-1].ts if world.events else 0
    if dt >= SILENCE:
        world.book = None
    seen = Seen(ts)
    if world.book is not None:
        standing = world.book[2][0] - world.book[0][0]
        world.spread_average = standing + (world.spread_average - standing) * math.exp(-dt / (60 * S))
    px, qty = block.px_ticks[i].tolist(), block.qty[i].tolist()
    if block.kind[i] == 1:
        sign = _sign(world, px[0], int(block.aggressor[i]))
        seen.signed, seen.volume = sign * qty[0], qty[0]
        world.last_trade = (px[0], sign)
    else:
        book = (px[:LEVELS], qty[:LEVELS], px[LEVELS:], qty[LEVELS:])
        if world.book is None:
            world.spread_average = book[2][0] - book[0][0]
        else:
            seen.flow = [_flow(world.book, book, level) for level in range(LEVELS)]
            seen.touch = book[1][0] + book[3][0]
            seen.square = min(abs(_mid(book) - _mid(world.book)), 2**19) ** 2
            world.flows.append(seen.flow[0])
        world.book = book
    world.events.append(seen)


def _mid(book: Any) -> float:
    return (book[0][0] + book[2][0]) / 2


def _sign(world: World, price: int, aggressor: int) -> int:
    if aggressor:
        return aggressor
    if world.book is not None and price != _mid(world.book):
        return 1 if price > _mid(world.book) else -1
    if world.last_trade is None:
        return 0
    before, sign = world.last_trade
    return sign if price == before else (1 if price > before else -1)


def _flow(before: Any, now: Any, level: int) -> int:
    """Cont, Kukanov & Stoikov's e at one level; an empty level's price is below every bid or above every ask."""
    bid, bid_q, ask, ask_q = (now[k][level] for k in range(4))
    bid_, bid_q_, ask_, ask_q_ = (before[k][level] for k in range(4))
    ask, ask_ = (math.inf if p == EMPTY else p for p in (ask, ask_))
    bid, bid_ = (-math.inf if p == EMPTY else p for p in (bid, bid_))
    return (bid >= bid_) * bid_q - (bid <= bid_) * bid_q_ - (ask <= ask_) * ask_q + (ask >= ask_) * ask_q_


def _window(world: World, seconds: int) -> list[Seen]:
    """Events of the current 1/64 slot and of the 63 before it."""
    slot_ns = seconds * S // 64
    first = world.events[-1].ts // slot_ns - 63
    return [seen for seen in world.events if seen.ts // slot_ns >= first]


def _filled(prices: list[int], sizes: list[int], away: int) -> list[int]:
    filled: list[int] = []
    for price, size in zip(prices, sizes, strict=True):
        filled.append(price if size else filled[-1] + away)
    return filled


def _row(world: World) -> dict[str, float]:
    assert world.book is not None
    row: dict[str, float] = {}
    bid, bid_q, ask, ask_q = world.book
    mid = _mid(world.book)
    bids, asks = _filled(bid, bid_q, -1), _filled(ask, ask_q, 1)
    for i in range(LEVELS):
        row[f"lob_ask_px_{i}"], row[f"lob_ask_qty_{i}"] = asks[i] - mid, math.log1p(ask_q[i])
        row[f"lob_bid_px_{i}"], row[f"lob_bid_qty_{i}"] = mid - bids[i], math.log1p(bid_q[i])
    row["mid2"], row["spread"], row["spread_ewma_60s"] = 2 * mid, ask[0] - bid[0], world.spread_average
    for i in (0, 2, 4, 9):
        b, a = sum(bid_q[: i + 1]), sum(ask_q[: i + 1])
        row[f"qi_{i}"] = (b - a) / (b + a)
    share = bid_q[0] / (bid_q[0] + ask_q[0])
    row["micro_w"] = (ask[0] * bid_q[0] + bid[0] * ask_q[0]) / (bid_q[0] + ask_q[0]) - mid
    row["micro_s"] = world.params.micro_table[min(9, 10 * bid_q[0] // (bid_q[0] + ask_q[0]))][min(ask[0] - bid[0], 3) - 1]
    assert 0 <= share <= 1
    for side, prices, sizes in (("bid", bids, bid_q), ("ask", asks, ask_q)):
        for levels in (1, 5, 10):
            row[f"depth_{side}_{levels}"] = math.log1p(sum(sizes[:levels]))
        distance = np.minimum(np.abs(np.array(prices, float) - prices[0]), 2**20)
        cumulated = np.cumsum(np.array(sizes, float))
        x = distance - distance.mean()
        row[f"slope_{side}"] = float((x * (cumulated - cumulated.mean())).sum() / (x * x).sum())
    _flows(world, row)
    _activity(world, row)
    return row


def _flows(world: World, row: dict[str, float]) -> None:
    for w in (1, 5, 30, 300):
        seen = _window(world, w)
        flows = [s.flow for s in seen if s.flow is not None]
        touches = [s.touch / 2 for s in seen if s.flow is not None]
        row[f"ofi_{w}s"] = sum(flow[0] for flow in flows)
        row[f"ofi_rel_{w}s"] = row[f"ofi_{w}s"] / (sum(touches) / len(touches)) if touches else 0.0
        volume = sum(s.volume for s in seen)
        row[f"tfi_{w}s"] = sum(s.signed for s in seen) / volume if volume else 0.0
        if w != 300:
            for i in range(LEVELS):
                row[f"mlofi_{i}_{w}s"] = sum(flow[i] for flow in flows)
    row["ofi_100ev"] = sum(world.flows[-100:])
    row["iofi_5s"] = sum(w * row[f"mlofi_{i}_5s"] for i, w in enumerate(world.params.iofi_loadings))


def _activity(world: World, row: dict[str, float]) -> None:
    """Intensities as the sum that the recursion stands for."""
    now = world.events[-1].ts
    for tau in (1, 60):
        row[f"intens_events_{tau}s"] = math.log1p(sum(math.exp(-(now - s.ts) / (tau * S)) for s in world.events) / tau)
        row[f"intens_trades_{tau}s"] = math.log1p(sum(math.exp(-(now - s.ts) / (tau * S)) for s in world.events if s.volume) / tau)
    row["rv_10s"] = sum(s.square for s in _window(world, 10))
    dt = now - world.events[-2].ts if len(world.events) > 1 else 0
    row["ln_dt"] = math.log1p(dt / 1e6)
