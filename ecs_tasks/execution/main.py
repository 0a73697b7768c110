"""Execution task: the engine over the direct feed and the signals stream, its journal in Postgres, its state on the page.

`REPLAY_CLOCK=event` makes a replay lock-step: a slice of the feed is taken only when the signal path has answered for it, and a signal
becomes visible at its input's time plus a seeded latency. Without it (live, or real-time replay) a signal is visible when it arrives.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidemark.adapters.cache import Cache, connect
from tidemark.adapters.emf import emit_milliseconds
from tidemark.adapters.feed_socket import FeedReader, Frame
from tidemark.adapters.kinesis import StreamReader
from tidemark.adapters.postgres_execution import ExecutionStore
from tidemark.adapters.settings import (
    cache_settings,
    client,
    database_conninfo,
    instruments_from_parameter,
    required,
    required_int,
    stage_name,
)
from tidemark.adapters.signal_source import SignalSource
from tidemark.budgets import LEG_BUDGETS_NS
from tidemark.engine.config import EngineConfig, decode_config
from tidemark.engine.journal import JournalRecord, JournalWriter, OrderEvent, SignalSeen
from tidemark.engine.loop import Engine
from tidemark.engine.orders import OrderState
from tidemark.engine.signal import visible_ns
from tidemark.errors import InputError, TidemarkError
from tidemark.latency import Histogram
from tidemark.signals.latency import seeded_latency_ns
from tidemark.signals.messages import Signal
from tidemark.units import NS_PER_MS

FEED_TIMEOUT_S = 10.0
SIGNAL_SILENCE_S = 120.0  # lock-step waits this long for the signal path before it gives up
FLUSH_NS = 50_000_000  # facts are durable within this
PAGE_NS = 200_000_000
HEALTH_NS = 3_000_000_000
METRIC_NAMES = {"feed": "FeedLatency", "risk": "RiskLatency", "order": "OrderLatency", "end_to_end": "EndToEndLatency"}
EXIT_OK, EXIT_INPUT, EXIT_DEPENDENCY = 0, 2, 3


class Meter:
    """Latency of each leg. `feed` and `risk` are wall clock; `order` and `end_to_end` are on the events' clock, from the journal."""

    def __init__(self) -> None:
        self.legs = {leg: Histogram() for leg in ("feed", "risk", "order", "end_to_end")}
        self._began_ns = 0
        self._seen: dict[str, SignalSeen] = {}

    def decision_begins(self) -> None:
        """Rules, sizing and order of one signal come next."""
        self._began_ns = time.perf_counter_ns()

    def decision_ends(self) -> None:
        """They are done."""
        self.legs["risk"].add(time.perf_counter_ns() - self._began_ns)

    def note(self, records: Sequence[JournalRecord]) -> None:
        """Signal seen → its entry at the venue; newest input → its entry sent."""
        for record in records:
            if isinstance(record, SignalSeen):
                self._seen[record.signal_id] = record
            elif isinstance(record, OrderEvent) and record.state in (OrderState.SENT, OrderState.WORKING) and record.leg == "entry":
                seen = self._seen.get(record.signal_id)
                if seen is not None and record.state == OrderState.SENT:
                    self.legs["end_to_end"].add(record.ts_ns - seen.input_ts_ns)
                elif seen is not None:
                    self.legs["order"].add(record.ts_ns - seen.ts_ns)

    def worst_ms(self) -> dict[str, float]:
        """The 99th percentile of each leg so far, by the names that the alarms watch."""
        p99 = {leg: histogram.quantile(0.99) for leg, histogram in self.legs.items()}
        return {METRIC_NAMES[leg]: value / NS_PER_MS for leg, value in p99.items() if value is not None}

    def figures(self) -> dict[str, dict[str, int | None]]:
        """For the page and the run's summary."""
        return {leg: histogram.figures(LEG_BUDGETS_NS[leg]) for leg, histogram in self.legs.items() if histogram.n or leg != "feed"}


class Execution:
    """Wires the ports and owns the loop and the clock."""

    def __init__(self) -> None:
        self.stage = stage_name()
        self.lock_step = os.environ.get("REPLAY_CLOCK") == "event"
        self.seed = required_int("REPLAY_SEED", minimum=0) if self.lock_step else 0
        instruments = instruments_from_parameter()
        account = required("ACCOUNT")
        self.config = self.settings(account)
        self.engine = Engine(self.config, list(instruments.values()))
        self.meter = Meter()
        self.engine.core.observer = self.meter
        self.store = ExecutionStore(database_conninfo(), account, instruments, holder=f"{socket.gethostname()}:{os.getpid()}")
        self.cache = Cache(connect(cache_settings()))
        self.signals = SignalSource(StreamReader(client("kinesis"), required("SIGNALS_STREAM")), list(instruments))
        self.recorder = Recorder(os.environ.get("JOURNAL_FILE"))
        self.waiting: list[JournalRecord] = []
        self.flushed_ns = self.shown_ns = self.stated_ns = 0
        self.refused_signals = 0
        self.stopping = False

    def settings(self, account: str) -> EngineConfig:
        """Engine settings from ENGINE_CONFIG (a JSON file) or the defaults, for this account and stage."""
        import msgspec

        path = os.environ.get("ENGINE_CONFIG", "")
        config = decode_config(Path(path).read_bytes(), source=path) if path else EngineConfig()
        return msgspec.structs.replace(config, account=account, stage=self.stage)

    def run(self) -> None:
        """Work until the feed ends or we are told to stop; then flatten, write everything, and close."""
        feed = FeedReader(Path(required("FEED_SOCKET")), FEED_TIMEOUT_S)
        self.signals.start()
        as_of_ns = 0
        for frame in feed.frames():
            if frame.end or self.stopping:
                break
            as_of_ns = frame.as_of_ns
            self.take(frame)
            self.keep_up()
        self.engine.finish(as_of_ns)
        self.collect()
        self.flush()
        self.show()
        self.signals.stop()
        feed.close()
        self.recorder.close()
        self.store.close()

    def take(self, frame: Frame) -> None:
        """Signals first, then the events that they may meet."""
        assert frame.block is not None, "not the end"
        arrived_ns = time.time_ns()
        if not self.lock_step:  # there a frame waits for the signal path, and its age says nothing of the feed
            self.meter.legs["feed"].add(arrived_ns - frame.sent_wall_ns)
        for item in self.signals.take_up_to(frame.as_of_ns, SIGNAL_SILENCE_S) if self.lock_step else self.signals.take():
            self.add(item, frame.as_of_ns + arrived_ns - frame.sent_wall_ns)
        self.engine.feed(frame.block)
        if not self.lock_step:
            self.engine.advance(frame.as_of_ns)
        self.collect()

    def add(self, item: Signal, event_now_ns: int) -> None:
        """Give one signal to the engine, visible when it would be live. One that cannot be traded here is counted, not swallowed."""
        if self.lock_step:
            seen_ns = visible_ns(item.input_ts_ns, item.created_ts_ns, seeded_latency_ns(self.seed, item.signal_id))
        else:
            seen_ns = max(event_now_ns, item.created_ts_ns)
        try:
            self.engine.add_signal(item, seen_ns)
        except InputError as error:
            self.refused_signals += 1
            print(f"signal refused: {error}", file=sys.stderr, flush=True)

    def collect(self) -> None:
        """Take what the engine decided: to the recorder at once, to Postgres within the flush interval."""
        records = self.engine.drain()
        self.meter.note(records)
        self.recorder.write(records)
        self.waiting += records

    def keep_up(self) -> None:
        """Flush, show and state health when each is due."""
        now_ns = time.monotonic_ns()
        if now_ns - self.flushed_ns >= FLUSH_NS:
            self.flush()
            self.flushed_ns = now_ns
        if now_ns - self.shown_ns >= PAGE_NS:
            self.show()
            self.shown_ns = now_ns
        if now_ns - self.stated_ns >= HEALTH_NS:
            self.state_health("READY")
            emit_milliseconds(self.meter.worst_ms())
            self.stated_ns = now_ns

    def flush(self) -> None:
        """Make everything decided so far durable, in one transaction."""
        self.store.append(self.waiting)
        self.waiting = []

    def show(self) -> None:
        """The engine at a glance, and the latency of our legs."""
        latency: dict[str, Any] = {"type": "latency", **self.meter.figures()}
        self.cache.page([("exec", {"type": "exec", **self.engine.status()}), ("latency:execution", latency)])
        if metrics := os.environ.get("METRICS_FILE"):
            write_whole(Path(metrics), {"legs": self.meter.figures(), "refused_signals": self.refused_signals})

    def state_health(self, state: str) -> None:
        """A statement for the container's health check."""
        if path := os.environ.get("HEALTH_FILE"):
            write_whole(Path(path), {"state": state, "detail": ""})


class Recorder:
    """The local flight recorder: the journal as a file beside the database's. Without a path it records nothing."""

    def __init__(self, path: str | None) -> None:
        self._file = open(path, "xb") if path else None  # noqa: SIM115 - closed by close()
        self._writer = JournalWriter()

    def write(self, records: Sequence[JournalRecord]) -> None:
        """Append records."""
        if self._file is not None and records:
            self._file.write(self._writer.encode(records))

    def close(self) -> None:
        """Have everything on disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def write_whole(path: Path, value: dict[str, Any]) -> None:
    """Replace a small JSON file, so that readers see the old one or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value))
    part.replace(path)


def main() -> int:
    """Exit codes: 0 done, 2 bad settings, 3 a dependency is gone; a bug ends with a traceback."""
    try:
        execution = Execution()
        signal.signal(signal.SIGTERM, lambda *_: setattr(execution, "stopping", True))
        execution.run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INPUT
    except TidemarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_DEPENDENCY
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
