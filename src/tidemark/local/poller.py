"""Event source mappings, run: shards are read, batches go to the function, and Lambda's rules decide what follows.

Threads  one reader per shard, one runner per lane. A reader stops while its lanes hold much, so a slow function slows
         reading, not memory. Anything unexpected in a thread ends the host: the supervisor sees it at once.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from tidemark.latency import Histogram
from tidemark.local.environment import Environment, Invocation
from tidemark.local.lanes import Batch, Discard, Lane, Settled, StreamRecord, batch_event, lane_of
from tidemark.local.resources import FunctionSpec, MappingSpec
from tidemark.local.shard_reader import WAIT_MS, ShardReader
from tidemark.units import NS_PER_MS, NS_PER_S

HELD_BATCHES_MAX = 4  # batches that a lane may hold ready; more would only be memory
HELD_BYTES_MAX = 32 << 20
FULL_WAIT_S = 0.005
DRAIN_WAIT_MS = 20

Publish = Callable[[str, str], None]
"""(queue URL, message body): where records that are given up go."""


@dataclass(slots=True)
class Meter:
    """What a function did, counted. `age` is that of a batch's oldest record when the function gets it."""

    function: str
    counts: dict[str, int] = field(default_factory=dict)
    age: Histogram = field(default_factory=Histogram)
    duration: Histogram = field(default_factory=Histogram)
    rss_bytes_max: int = 0
    last_error: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        if by:
            with self._lock:
                self.counts[name] = self.counts.get(name, 0) + by

    def invoked(self, batch: Batch, invocation: Invocation, now_ns: int) -> None:
        """One call of the function that ended at `now_ns`."""
        began_ns = now_ns - invocation.duration_ns
        with self._lock:
            self.age.add(began_ns - batch.records[0].arrival_ns)
            self.duration.add(invocation.duration_ns)
            self.rss_bytes_max = max(self.rss_bytes_max, invocation.rss_bytes)
            self.last_error = invocation.outcome.error or self.last_error
        self.count("invocations")
        self.count("errors", int(invocation.outcome.error is not None))
        self.count("timeouts", int(invocation.timed_out))

    def settled(self, settled: Settled, discards: Sequence[Discard]) -> None:
        """What an invocation led to."""
        self.count("records", settled.succeeded)
        self.count("retries", int(settled.retried))
        self.count("bisections", int(settled.bisected))
        for discard in discards:
            self.count(f"discarded.{discard.condition}", len(discard.records))

    def figures(self) -> dict[str, Any]:
        """Everything, for the metrics file."""
        with self._lock:
            return {
                "function": self.function,
                "counts": dict(sorted(self.counts.items())),
                "latency_ns": self.legs(),
                "rss_bytes_max": self.rss_bytes_max,
                "last_error": self.last_error,
            }

    def legs(self) -> dict[str, dict[str, int | None]]:
        """The two legs measured here, by the names that the page shows."""
        return {f"{self.function}.record_age": self.age.figures(), f"{self.function}.duration": self.duration.figures()}


@dataclass(slots=True)
class GuardedLane:
    """A lane, the environment that serves it and the condition under which both are used."""

    lane: Lane
    shard_id: str
    environment: Environment
    environment_lock: threading.Lock
    changed: threading.Condition = field(default_factory=threading.Condition)


class Poller:
    """All event sources of one function."""

    def __init__(
        self,
        function: FunctionSpec,
        mappings: Sequence[MappingSpec],
        environments: Sequence[Environment],
        *,
        port: int,
        region: str,
        shards: Callable[[str], list[str]],
        publish: Publish,
        checkpoints: dict[str, str] | None = None,
    ) -> None:
        """`shards` lists a stream's shard ids; `checkpoints` are {stream/shard: sequence number} of an earlier host."""
        self.meter = Meter(function.name)
        self.failed: BaseException | None = None
        self.ended = threading.Event()
        self._function = function
        self._region = region
        self._publish = publish
        self._stopping = threading.Event()
        self._draining = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lanes: dict[str, list[GuardedLane]] = {}
        self._at_end: set[str] = set()  # shards that were empty after the drain began
        self._read_to: dict[str, str] = dict(checkpoints or {})
        locks = [threading.Lock() for _ in environments]
        turn = 0
        for mapping in mappings:
            for shard_id in shards(mapping.stream):
                key = f"{mapping.stream}/{shard_id}"
                guarded = []
                for _ in range(mapping.parallelization):
                    guarded.append(
                        GuardedLane(Lane(mapping), shard_id, environments[turn % len(environments)], locks[turn % len(environments)])
                    )
                    turn += 1
                self._lanes[key] = guarded
                reader = ShardReader(port, region, mapping.stream, shard_id, self._read_to.get(key))
                self._threads.append(
                    threading.Thread(target=self._guard, args=(self._read, key, reader, guarded), daemon=True, name=f"read {key}")
                )
                self._threads += [
                    threading.Thread(target=self._guard, args=(self._run, lane), daemon=True, name=f"lane {i} {key}")
                    for i, lane in enumerate(guarded)
                ]

    def start(self) -> None:
        """Begin to read and to invoke."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Read every shard to its end, work that off, then end; returns at once, `ended` tells when."""
        self._draining.set()

    def stop(self) -> None:
        """Let invocations that run finish, begin no new one, and end."""
        self._stopping.set()
        for lanes in self._lanes.values():
            for guarded in lanes:
                with guarded.changed:
                    guarded.changed.notify_all()
        for thread in self._threads:
            thread.join(self._function.timeout_s + 5.0)

    def checkpoints(self) -> dict[str, str]:
        """Per shard the sequence number up to which every record is settled: where another host would go on."""
        result = {}
        for key, lanes in self._lanes.items():
            read_to = self._read_to.get(key)
            open_orders = []
            for guarded in lanes:
                with guarded.changed:
                    if guarded.lane.oldest is not None:
                        open_orders.append(guarded.lane.oldest)
            done = min(open_orders) - 1 if open_orders else None
            if done is not None and done > 0:
                result[key] = str(done)
            elif done is None and read_to is not None:
                result[key] = read_to
        return result

    def _guard(self, target: Callable[..., None], *args: Any) -> None:
        try:
            target(*args)
        except BaseException as error:  # noqa: BLE001  a thread's outermost loop: the host reports it and ends
            self.failed = self.failed or error
            self._stopping.set()
            self.ended.set()

    def _read(self, key: str, reader: ShardReader, lanes: list[GuardedLane]) -> None:
        while not self._stopping.is_set():
            if any(_full(guarded.lane) for guarded in lanes):
                time.sleep(FULL_WAIT_S)
                continue
            draining = self._draining.is_set()  # before the read: only an empty read after it counts as the end
            records = reader.read(DRAIN_WAIT_MS if draining else WAIT_MS)
            self._offer(key, records, lanes)
            if draining and not records:
                self._at_end.add(key)
                if len(self._at_end) == len(self._lanes) and self._idle():
                    self.ended.set()
        reader.close()

    def _offer(self, key: str, records: list[StreamRecord], lanes: list[GuardedLane]) -> None:
        if not records:
            return
        shares: list[list[StreamRecord]] = [[] for _ in lanes]
        for record in records:
            shares[lane_of(record.partition_key, len(lanes))].append(record)
        for guarded, share in zip(lanes, shares, strict=True):
            if share:
                with guarded.changed:
                    guarded.lane.offer(share, time.time_ns())
                    guarded.changed.notify_all()
        self._read_to[key] = records[-1].sequence_number

    def _idle(self) -> bool:
        for lanes in self._lanes.values():
            for guarded in lanes:
                with guarded.changed:
                    if not guarded.lane.idle:
                        return False
        return True

    def _run(self, guarded: GuardedLane) -> None:
        while (batch := self._take(guarded)) is not None:
            event = msgspec.json.encode(
                batch_event(batch.records, guarded.lane.spec, guarded.shard_id, self._function.role_arn, self._region)
            )
            with guarded.environment_lock:
                invocation = guarded.environment.invoke(event)
            now_ns = time.time_ns()
            self.meter.invoked(batch, invocation, now_ns)
            with guarded.changed:
                settled = guarded.lane.settle(invocation.outcome, now_ns)
            self._give_up(guarded, settled, settled.discards)

    def _take(self, guarded: GuardedLane) -> Batch | None:
        """The lane's next batch, waited for; None when the host stops."""
        while not self._stopping.is_set():
            with guarded.changed:
                batch, wait_ns, discards = guarded.lane.take(time.time_ns(), flush=self._draining.is_set())
                if batch is None and not discards:
                    guarded.changed.wait(None if wait_ns < 0 else wait_ns / NS_PER_S)
            self._give_up(guarded, Settled(), discards)
            if batch is not None:
                return batch
        return None

    def _give_up(self, guarded: GuardedLane, settled: Settled, discards: Sequence[Discard]) -> None:
        self.meter.settled(settled, discards)
        for discard in discards:
            if guarded.lane.spec.on_failure is not None:
                self._publish(
                    guarded.lane.spec.on_failure, json.dumps(failure_message(discard, guarded.lane.spec, guarded.shard_id, self._function))
                )


def _full(lane: Lane) -> bool:
    return lane.queued > HELD_BATCHES_MAX * lane.spec.batch_size or lane.queued_bytes > HELD_BYTES_MAX


def failure_message(discard: Discard, spec: MappingSpec, shard_id: str, function: FunctionSpec) -> dict[str, Any]:
    """What Lambda sends to a mapping's on-failure destination: where the records are, not the records."""
    first, last = discard.records[0], discard.records[-1]
    context: dict[str, Any] = {"statusCode": 200, "executedVersion": "$LATEST"}
    if discard.function_error is not None:
        context["functionError"] = "Unhandled"
    return {
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": function.arn,
            "condition": str(discard.condition),
            "approximateInvokeCount": discard.invoke_count,
        },
        "responseContext": context if discard.invoke_count else None,
        "version": "1.0",
        "timestamp": _iso(time.time_ns()),
        "KinesisBatchInfo": {
            "shardId": shard_id,
            "startSequenceNumber": first.sequence_number,
            "endSequenceNumber": last.sequence_number,
            "approximateArrivalOfFirstRecord": _iso(first.arrival_ns),
            "approximateArrivalOfLastRecord": _iso(last.arrival_ns),
            "batchSize": len(discard.records),
            "streamArn": spec.stream_arn,
        },
    }


def _iso(ts_ns: int) -> str:
    whole = datetime.fromtimestamp(ts_ns // NS_PER_S, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{ts_ns % NS_PER_S // NS_PER_MS:03d}Z"
