"""A backtest: the engine over a recorded stream, with the signals that the signal path would have made of it.

The same intake, features, signal pipeline and engine as in a running stack, called in this process; what differs is that the latency of
the signal path is drawn from each signal's name instead of being lived through. The stream is cut on the feature grid, so every signal is
known to the engine before the first event that it could act on, and where it is cut changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tidemark.book.slicing import GRID_NS, SliceRule, cut_slices
from tidemark.engine.config import EngineConfig
from tidemark.engine.hours import Hours
from tidemark.engine.journal import JournalRecord
from tidemark.engine.loop import Engine
from tidemark.engine.result import EngineResult
from tidemark.engine.signal import EntrySignal, visible_ns
from tidemark.events import EventBlock
from tidemark.instruments import Instrument
from tidemark.units import NS_PER_S

SLICES: Final = SliceRule(step_ns=GRID_NS, events_min=65_536, span_ns_max=600 * NS_PER_S)
"""Large, for throughput: an inference or a scan costs the same for few events as for many."""


class SignalSource(Protocol):
    """Whatever turns events into signals. `as_of_ns` promises that every event before it has been given."""

    def on_events(self, events: EventBlock, as_of_ns: int) -> Sequence[tuple[EntrySignal, int]]:
        """(signal, when the engine may see it) of these events."""
        ...


class Intake(Protocol):
    """One symbol's validation and features (`features.intake.SymbolIntake`)."""

    def take(self, block: EventBlock, as_of_ns: int) -> Any:
        """What a block led to; `.rows` are the feature rows."""
        ...


class Pipeline(Protocol):
    """Feature rows to predictions and signals (`signals.pipeline.SignalPipeline`)."""

    def on_rows(self, rows: Any) -> tuple[list[Any], list[Any]]:
        """(predictions, signals) of one symbol's next rows."""
        ...


class Latency(Protocol):
    """How long the signal path takes for a signal (`signals.latency.seeded_latency_ns`)."""

    def __call__(self, seed: int, signal_id: str, /) -> int: ...


@dataclass
class SignalPath:
    """The signal path in this process: intake per symbol, one pipeline, a latency drawn per signal. Keeps the predictions."""

    intakes: Mapping[str, Intake]
    pipeline: Pipeline
    latency: Latency
    seed: int
    predictions: list[Any] = field(default_factory=list)

    def on_events(self, events: EventBlock, as_of_ns: int) -> Sequence[tuple[EntrySignal, int]]:
        """Signals of a slice, symbol by symbol; symbols without an intake make none."""
        found: list[tuple[EntrySignal, int]] = []
        for s, symbol in enumerate(events.symbols):
            if symbol not in self.intakes:
                continue
            rows = self.intakes[symbol].take(of_symbol(events, s), as_of_ns).rows
            predictions, signals = self.pipeline.on_rows(rows)
            self.predictions += predictions
            for signal in signals:
                latency_ns = self.latency(self.seed, signal.signal_id)
                found.append((signal, visible_ns(signal.input_ts_ns, signal.created_ts_ns, latency_ns)))
        return found


@dataclass(frozen=True)
class Backtest:
    """What a backtest came to. `records` is the whole journal."""

    records: list[JournalRecord]
    result: EngineResult
    digest: str


def of_symbol(events: EventBlock, s: int) -> EventBlock:
    """The events of one symbol, as a block of that symbol alone."""
    rows = events[events.symbol_i == s]
    symbol_i = rows.symbol_i.copy()
    symbol_i[:] = 0
    _, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty = rows.columns()
    return EventBlock((events.symbols[s],), symbol_i, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty)


def run_backtest(
    blocks: Iterable[EventBlock],
    instruments: Sequence[Instrument],
    config: EngineConfig,
    *,
    source: SignalSource | None = None,
    signals: Sequence[tuple[EntrySignal, int]] = (),
    hours: Hours | None = None,
) -> Backtest:
    """Feed blocks (feed order) through the engine, and through `source` if there is one; flatten at the end of the data.

    `signals` are known beforehand, with the times at which they become visible. Raises InputError on symbols without an instrument.
    """
    engine = Engine(config, instruments, hours)
    for signal, ts_ns in signals:
        engine.add_signal(signal, ts_ns)
    records: list[JournalRecord] = []
    end_ns = 0
    for events, as_of_ns in cut_slices(blocks, SLICES):
        if source is not None:
            for signal, ts_ns in source.on_events(events, as_of_ns):
                engine.add_signal(signal, ts_ns)
        engine.feed(events)
        records += engine.drain()
        end_ns = as_of_ns
    engine.finish(end_ns)
    digest = engine.digest()
    records += engine.drain()
    return Backtest(records, EngineResult.from_journal(records), digest)
