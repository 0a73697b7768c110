"""Compile the engine's kernels into numba's cache, by running each of them once on a few events."""

from fractions import Fraction

import numpy as np

from tidemark.engine.config import EngineConfig, EntryStyle, Pace
from tidemark.engine.hours import ALWAYS, FixedHours
from tidemark.engine.loop import Engine
from tidemark.events import LEVELS, EventBlock, Kind, empty_block
from tidemark.instruments import Instrument
from tidemark.units import NS_PER_S

SYMBOL = "WARMUP"


def warm_up() -> None:
    """A still market, an order every other event, taking and waiting by turns."""
    spec = Instrument(symbol=SYMBOL, tick_size=Fraction(1), tick_value_micros=1, venue="none")
    for entry in EntryStyle:
        config = EngineConfig(entry=entry, pace=Pace(events=2), order_latency_ns=0, report_latency_ns=0)
        engine = Engine(config, (spec,), FixedHours({SYMBOL: [ALWAYS]}))
        engine.feed(_still_market(16))
        engine.finish(16 * NS_PER_S)


def _still_market(count: int) -> EventBlock:
    block = empty_block([SYMBOL], count)
    block.seq[:] = np.arange(1, count + 1)
    block.event_ts_ns[:] = block.recv_ts_ns[:] = np.arange(count) * NS_PER_S
    block.px_ticks[:] = 1_000 + np.concatenate([-np.arange(LEVELS), 1 + np.arange(LEVELS)])
    block.qty[:] = 100
    prints = block[3::4]
    prints.kind[:], prints.aggressor[:] = Kind.TRADE, -1
    prints.px_ticks[:, 1:], prints.qty[:, 1:] = empty_block([SYMBOL], 1).px_ticks[0, 1:], 0
    return block
