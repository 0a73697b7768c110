"""Small hand-made and random markets for tests of the engine, and an engine config in which only what a test is about can refuse."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np

from tidemark.engine.config import EngineConfig
from tidemark.engine.hours import ALWAYS, FixedHours
from tidemark.engine.loop import Engine
from tidemark.engine.signal import PacedSignal
from tidemark.events import LEVELS, Depth, Event, EventBlock, Trade, block_of
from tidemark.instruments import Instrument
from tidemark.risk.limits import RiskLimits
from tidemark.units import NO_PRICE, NS_PER_MS, NS_PER_S

T0 = 1_700_000_000 * NS_PER_S
MS = NS_PER_MS
TICK_MICROS = 10_000_000
FEE_MICROS = 2_000_000


def instrument(symbol: str = "AA", *, group: str = "", tick_micros: int = TICK_MICROS, fee_micros: int = FEE_MICROS) -> Instrument:
    """A future with round figures: 10 dollars a tick, 2 dollars a side."""
    return Instrument(
        symbol=symbol, tick_size=Fraction(1, 4), tick_value_micros=tick_micros, venue="TEST", group=group, fee_micros=fee_micros
    )


AA = instrument("AA")
LIMITS = RiskLimits(entries_per_min_max=10_000, messages_per_s_max=10_000, rejects_per_30s_max=10_000, defect_ppm_max=1_000_000)


def levels(best: int, step: int, sizes: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ten levels from `best` outwards; a size of 0 ends the side."""
    shown = [size for size in sizes if size]
    prices = [best + step * i for i in range(len(shown))]
    empty = LEVELS - len(shown)
    return (*prices, *([NO_PRICE] * empty)), (*shown, *([0] * empty))


@dataclass
class Tape:
    """Events of a hand-made market; times in milliseconds after T0. Receive times are 1 ms later unless said otherwise."""

    events: list[Event] = field(default_factory=list)
    seqs: dict[str, int] = field(default_factory=dict)
    lag_ns: int = MS

    def book(
        self, ms: float, bid: int, ask: int, *, bids: list[int] | None = None, asks: list[int] | None = None, symbol: str = "AA"
    ) -> "Tape":
        """A book: best prices, and sizes from the best outwards (ten of 100 by default)."""
        bid_ticks, bid_qty = levels(bid, -1, [100] * LEVELS if bids is None else bids)
        ask_ticks, ask_qty = levels(ask, 1, [100] * LEVELS if asks is None else asks)
        ts = T0 + int(ms * MS)
        self.events.append(Depth(symbol, self._seq(symbol), ts, ts + self.lag_ns, bid_ticks, bid_qty, ask_ticks, ask_qty))
        return self

    def trade(self, ms: float, price: int, qty: int, aggressor: int, *, symbol: str = "AA") -> "Tape":
        """A print."""
        ts = T0 + int(ms * MS)
        self.events.append(Trade(symbol, self._seq(symbol), ts, ts + self.lag_ns, price, qty, aggressor))
        return self

    def skip_seq(self, symbol: str = "AA") -> "Tape":
        """Lose a message."""
        self._seq(symbol)
        return self

    def block(self, *symbols: str) -> EventBlock:
        """Everything so far."""
        return block_of(self.events, symbols or ("AA",))

    def _seq(self, symbol: str) -> int:
        self.seqs[symbol] = self.seqs.get(symbol, 0) + 1
        return self.seqs[symbol]


def config(**changes: Any) -> EngineConfig:
    """A million dollars, no throttles, any data quality; 10 ms each way."""
    limits = changes.pop("limits", LIMITS)
    base = EngineConfig(
        cash_micros=10**12,
        limits=limits,
        order_latency_ns=10 * MS,
        report_latency_ns=10 * MS,
        flatten_lead_ns=1_000 * MS,
        closeout_ns=2_000 * MS,
    )
    return msgspec.structs.replace(base, **changes)


def signal(
    name: str,
    side: int,
    ms: float,
    *,
    stop: int = 5,
    target: int = 5,
    horizon_ms: int = 60_000,
    p_win: float = 0.9,
    tier: str = "UNTIERED",
    symbol: str = "AA",
) -> PacedSignal:
    """A signal whose newest input is at `ms`."""
    return PacedSignal(name, symbol, side, tier, p_win, stop, target, horizon_ms * MS, T0 + int(ms * MS))


def engine(settings: EngineConfig | None = None, *specs: Instrument, hours: FixedHours | None = None) -> Engine:
    """An engine over always-open markets."""
    instruments = specs or (AA,)
    return Engine(settings or config(), instruments, hours or FixedHours({spec.symbol: [ALWAYS] for spec in instruments}))


def play(
    tape: Tape, *signals: PacedSignal, settings: EngineConfig | None = None, delay_ms: float = 0, hours: FixedHours | None = None
) -> list[Any]:
    """The journal of a tape with signals, each visible `delay_ms` after its input; ends at the last event."""
    machine = engine(settings, hours=hours)
    for one in signals:
        machine.add_signal(one, one.input_ts_ns + int(delay_ms * MS))
    block = tape.block()
    machine.feed(block)
    machine.finish(int(block.event_ts_ns[-1]))
    return machine.drain()


def of(records: list[Any], kind: type[Any]) -> list[Any]:
    """The records of one kind."""
    return [record for record in records if isinstance(record, kind)]


def states(records: list[Any], leg: str) -> list[str]:
    """The states that the orders of a leg went through."""
    from tidemark.engine.journal import OrderEvent

    return [record.state for record in of(records, OrderEvent) if record.leg == leg]


def ms_of(ts_ns: int) -> float:
    """Milliseconds after T0."""
    return (ts_ns - T0) / MS


def random_block(seed: int, count: int, symbols: tuple[str, ...] = ("AA", "BB"), *, defects: float = 0.03) -> EventBlock:
    """A wild little market: thin books that jump, prints anywhere, now and then a crossed, locked, one-sided, lost or repeated record."""
    rng = np.random.default_rng(seed)
    tape, ts_ms = Tape(lag_ns=int(rng.integers(0, 3)) * MS), 0.0
    mids = dict.fromkeys(symbols, 1000)
    for _ in range(count):
        symbol = symbols[int(rng.integers(len(symbols)))]
        ts_ms += float(rng.choice([0, 1, 1, 5, 20, 200]))
        mids[symbol] += int(rng.choice([-3, -1, 0, 0, 0, 0, 1, 3]))
        mid, kind = mids[symbol], rng.random()
        sizes = [int(size) for size in rng.integers(1, 30, 2 * LEVELS)]
        if rng.random() < defects:
            _spoil(tape, rng, ts_ms, mid, symbol, sizes)
        elif kind < 0.3:
            tape.trade(ts_ms, mid + int(rng.integers(-2, 4)), int(rng.integers(1, 40)), int(rng.choice([-1, 0, 1])), symbol=symbol)
        else:
            deep = int(rng.integers(1, LEVELS + 1))
            tape.book(ts_ms, mid, mid + int(rng.integers(1, 4)), bids=sizes[:deep], asks=sizes[LEVELS : LEVELS + deep], symbol=symbol)
    return tape.block(*symbols)


def _spoil(tape: Tape, rng: np.random.Generator, ts_ms: float, mid: int, symbol: str, sizes: list[int]) -> None:
    match int(rng.integers(5)):
        case 0:
            tape.book(ts_ms, mid + 2, mid, bids=sizes[:3], asks=sizes[3:6], symbol=symbol)
        case 1:
            tape.book(ts_ms, mid, mid, bids=sizes[:3], asks=sizes[3:6], symbol=symbol)
        case 2:
            tape.book(ts_ms, mid, mid + 1, bids=[], asks=sizes[3:6], symbol=symbol)
        case 3:
            tape.skip_seq(symbol)
        case _:
            if tape.events:
                tape.events.append(tape.events[-1])


def random_signals(seed: int, block: EventBlock, count: int) -> list[tuple[PacedSignal, int]]:
    """Signals at random events, with the times at which they become visible; some repeat, some are stale, some ask for nonsense tiers."""
    rng = np.random.default_rng([seed, 1])
    found = []
    for n in range(count):
        ts = int(block.event_ts_ns[int(rng.integers(len(block)))])
        name = f"s{n if rng.random() < 0.9 else 0}"
        one = PacedSignal(
            signal_id=name,
            symbol=block.symbols[int(rng.integers(len(block.symbols)))],
            side=int(rng.choice([-1, 1])),
            tier=str(rng.choice(["UNTIERED", "TIER1", "TIER2", "TIER3"])),
            p_win=float(rng.choice([0.3, 0.6, 0.9])),
            stop_ticks=int(rng.choice([1, 3, 7, 40])),
            target_ticks=int(rng.choice([1, 3, 7, 40])),
            horizon_ns=int(rng.choice([100, 1_000, 60_000])) * MS,
            input_ts_ns=ts,
        )
        found.append((one, ts + int(rng.choice([0, 120, 150, 400, 700])) * MS))
    return found
