"""How fast the engine is, on one core, with everything on: data check, book, queues, latency, risk rules, journal records.

Figures are medians of CPU time, so that what else runs on the machine does not show. The market is a random walk made for speed, not for
trading: `tidemark bench` compares machines and versions with it, nothing else.
"""

import statistics
import time
from typing import Any, Final

import msgspec
import numpy as np

from tidemark.engine.config import EngineConfig, EntryStyle, Pace, TargetStyle
from tidemark.engine.hours import ALWAYS, FixedHours
from tidemark.engine.journal import Fill, OrderEvent
from tidemark.engine.loop import Engine
from tidemark.events import LEVELS, EventBlock, Kind, empty_block
from tidemark.instruments import lookup
from tidemark.jit import JIT_ENABLED
from tidemark.risk.limits import RiskLimits
from tidemark.units import NO_PRICE, NS_PER_MS, NS_PER_S

EVENTS_PER_ORDER: Final = 1_000
START_NS: Final = 1_700_000_000 * NS_PER_S
MID_TICKS: Final = 20_000


def walk_block(event_count: int, seed: int, *, symbol: str = "ES", step_ns: int = NS_PER_MS // 2, trades_frac: float = 0.2) -> EventBlock:
    """A book that walks: a tick up or down at one event in fifty, sizes redrawn, a print at every fifth event."""
    rng = np.random.default_rng(seed)
    block = empty_block([symbol], event_count)
    block.seq[:] = np.arange(1, event_count + 1)
    block.event_ts_ns[:] = START_NS + np.arange(event_count) * step_ns
    block.recv_ts_ns[:] = block.event_ts_ns + 100_000
    steps = rng.choice([-1, 0, 1], event_count, p=[0.01, 0.98, 0.01])
    is_trade = rng.random(event_count) < trades_frac
    is_trade[0] = False
    bid = MID_TICKS + np.cumsum(np.where(is_trade, 0, steps))
    levels = np.arange(LEVELS)
    block.px_ticks[:, :LEVELS] = bid[:, None] - levels
    block.px_ticks[:, LEVELS:] = bid[:, None] + 1 + levels
    block.qty[:] = rng.integers(20, 200, (event_count, 2 * LEVELS), np.int32)
    aggressor = rng.choice(np.array([-1, 1], np.int8), event_count)
    block.kind[:] = np.where(is_trade, Kind.TRADE, Kind.DEPTH)
    block.aggressor[:] = np.where(is_trade, aggressor, 0)
    block.px_ticks[is_trade] = NO_PRICE
    block.px_ticks[is_trade, 0] = np.where(aggressor > 0, bid + 1, bid)[is_trade]
    block.qty[is_trade, 1:] = 0
    block.qty[is_trade, 0] = rng.integers(1, 20, int(is_trade.sum()))
    return block


def paced_config(entry: EntryStyle, events_per_order: int = EVENTS_PER_ORDER) -> EngineConfig:
    """An order every so many events; limits wide enough that the rules are computed and never the reason to stop."""
    limits = RiskLimits(entries_per_min_max=100_000, messages_per_s_max=100_000, signal_age_ns_max=10 * NS_PER_S)
    pace = Pace(events=events_per_order)
    return EngineConfig(cash_micros=10**13, limits=limits, entry=entry, pace=pace, reverse=False, target=TargetStyle.MARKET)


def run_paced(config: EngineConfig, block: EventBlock) -> tuple[Engine, float]:
    """(engine after the block, CPU seconds of feeding it)."""
    engine = Engine(config, (lookup(block.symbols[0]),), FixedHours({block.symbols[0]: [ALWAYS]}))
    start = time.process_time()
    engine.feed(block)
    return engine, time.process_time() - start


def bench_engine(event_count: int = 1_000_000, repeats: int = 5, seed: int = 1) -> dict[str, Any]:
    """Events per second of the backtest engine with an order every 1,000 events, and without any.

    Returns  per case: ns_per_event and events_per_s (medians of CPU time), orders, fills, refusals, records.
    """
    block = walk_block(event_count, seed)
    idle = msgspec.structs.replace(paced_config(EntryStyle.IOC), pace=None)
    cases = {"idle": idle, "order_per_1000_ioc": paced_config(EntryStyle.IOC), "order_per_1000_passive": paced_config(EntryStyle.PASSIVE)}
    figures: dict[str, Any] = {"events": event_count, "repeats": repeats, "compiled": JIT_ENABLED}
    for name, config in cases.items():
        run_paced(config, block[:2_000])  # compile
        engines, seconds = zip(*(run_paced(config, block) for _ in range(repeats)), strict=True)
        cpu_s = statistics.median(seconds)
        records = engines[0].drain()
        figures[name] = {
            "ns_per_event": round(cpu_s * 1e9 / event_count, 2),
            "events_per_s": round(event_count / cpu_s),
            "orders": sum(isinstance(record, OrderEvent) and record.state == "INTENT" for record in records),
            "fills": sum(isinstance(record, Fill) for record in records),
            "records": len(records),
        }
    return figures
