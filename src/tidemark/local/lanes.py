"""Lambda's rules for a Kinesis batch, as a state machine without I/O, threads or clock.

A lane is one order of processing: a shard, or with a parallelisation factor the share of a shard's partition keys that
hash to it. At most one batch of a lane is with the function at any time, and nothing behind it starts before it is settled.

Source  AWS Lambda Developer Guide, "Using Lambda to process records from Amazon Kinesis Data Streams": batching window,
        partial batch responses ("the record with the lowest sequence number as the checkpoint"), bisect ("splitting a batch
        does not consume the retry quota"; with partial responses "bisected at the returned sequence number"), retained records.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import md5
from typing import Any

from tidemark.local.resources import UNLIMITED, MappingSpec
from tidemark.units import NS_PER_MS, NS_PER_S

PAYLOAD_BYTES_MAX = 6_000_000  # an invocation's event; Lambda quota of 6 MB
RECORD_OVERHEAD_BYTES = 500  # what a record's JSON adds to its data
BACKOFF_NS_MIN = 20 * NS_PER_MS  # chosen: Lambda does not publish its own
BACKOFF_NS_MAX = NS_PER_S


class Condition(StrEnum):
    """Why records were given up, in the words of the on-failure message."""

    RETRIES = "RetryAttemptsExhausted"
    AGE = "RecordAgeExceeded"


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A Kinesis record. `order` is the sequence number as a number: as text, "9" would come after "10"."""

    order: int
    sequence_number: str
    partition_key: str
    data_base64: str
    arrival_ns: int

    @property
    def payload_bytes(self) -> int:
        return len(self.data_base64) + RECORD_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an invocation: an error of the function, or its answer."""

    error: str | None = None
    response: Any = None


@dataclass(frozen=True, slots=True)
class Discard:
    """Records that the mapping gives up. `function_error` as the message reports it: None after a partial response."""

    records: tuple[StreamRecord, ...]
    condition: Condition
    invoke_count: int
    function_error: str | None = None


@dataclass(slots=True)
class Batch:
    """Records that go to the function together."""

    records: tuple[StreamRecord, ...]
    attempts: int = 0  # failed ones that count against the retry quota
    invocations: int = 0
    due_ns: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What an outcome led to, for counters and the on-failure destination."""

    succeeded: int = 0
    bisected: bool = False
    retried: bool = False
    discards: tuple[Discard, ...] = ()


@dataclass(slots=True)
class Lane:
    """Queue, open batch and pending retries of one order of processing.

    `take` gives the next batch or says how long to wait; `settle` must follow before the next `take`.
    """

    spec: MappingSpec
    _queue: deque[StreamRecord] = field(default_factory=deque)
    _queue_bytes: int = 0
    _pending: deque[Batch] = field(default_factory=deque)
    _first_queued_ns: int = 0
    _taken: Batch | None = None

    def offer(self, records: Sequence[StreamRecord], now_ns: int) -> None:
        """Records behind all earlier ones of this lane."""
        if not records:
            return
        if not self._queue:
            self._first_queued_ns = now_ns
        self._queue.extend(records)
        self._queue_bytes += sum(record.payload_bytes for record in records)

    @property
    def queued(self) -> int:
        """Records that wait for their first invocation."""
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        return self._queue_bytes

    @property
    def idle(self) -> bool:
        """Whether every record that was offered is settled."""
        return not self._queue and not self._pending

    @property
    def oldest(self) -> int | None:
        """Order of the first record that is not settled; None when idle."""
        if self._pending:
            return self._pending[0].records[0].order
        return self._queue[0].order if self._queue else None

    def take(self, now_ns: int, *, flush: bool = False) -> tuple[Batch | None, int, tuple[Discard, ...]]:
        """(batch, nanoseconds to wait without one, records that grew too old).

        A wait of -1 means: until more is offered. `flush` does not wait for the batching window.
        """
        assert self._taken is None, "a batch of this lane is still with the function"
        discards = self._expire(now_ns)
        if not self._pending:
            wait_ns = 0 if flush else self._window_left_ns(now_ns)
            if wait_ns or not self._queue:
                return None, wait_ns if self._queue else -1, discards
            self._pending.append(self._next_batch(now_ns))
        batch = self._pending[0]
        if batch.due_ns > now_ns:
            return None, batch.due_ns - now_ns, discards
        self._taken = batch
        return batch, 0, discards

    def settle(self, outcome: Outcome, now_ns: int) -> Settled:
        """Apply the result of the batch that `take` gave."""
        batch = self._taken
        assert batch is not None, "no batch is with the function"
        self._taken = None
        batch.invocations += 1
        first_failed = first_failure(batch.records, outcome, partial=self.spec.partial)
        if first_failed is None:
            self._pending.popleft()
            return Settled(succeeded=len(batch.records))
        batch.last_error = outcome.error
        if first_failed > 0:
            return self._resume_at(batch, first_failed, now_ns)
        if self.spec.bisect and len(batch.records) > 1:
            return self._bisect(batch, now_ns)
        return self._retry(batch, now_ns)

    def _expire(self, now_ns: int) -> tuple[Discard, ...]:
        if self.spec.max_age_s == UNLIMITED:
            return ()
        horizon_ns = now_ns - self.spec.max_age_s * NS_PER_S
        discards = []
        while self._pending and self._pending[0].records[0].arrival_ns < horizon_ns:
            batch = self._pending.popleft()
            old = tuple(record for record in batch.records if record.arrival_ns < horizon_ns)
            discards.append(Discard(old, Condition.AGE, batch.invocations, batch.last_error))
            if len(old) < len(batch.records):
                self._pending.appendleft(Batch(batch.records[len(old) :], 0, batch.invocations, batch.due_ns, batch.last_error))
                break
        old_queued = []
        while self._queue and self._queue[0].arrival_ns < horizon_ns:
            old_queued.append(self._pop())
        if old_queued:
            discards.append(Discard(tuple(old_queued), Condition.AGE, 0))
        return tuple(discards)

    def _window_left_ns(self, now_ns: int) -> int:
        if not self._queue or len(self._queue) >= self.spec.batch_size or self._queue_bytes >= PAYLOAD_BYTES_MAX:
            return 0
        return max(0, self._first_queued_ns + int(self.spec.window_s * NS_PER_S) - now_ns)

    def _next_batch(self, now_ns: int) -> Batch:
        records = [self._pop()]
        size = records[0].payload_bytes
        while self._queue and len(records) < self.spec.batch_size and size + self._queue[0].payload_bytes <= PAYLOAD_BYTES_MAX:
            size += self._queue[0].payload_bytes
            records.append(self._pop())
        self._first_queued_ns = now_ns  # the next window begins with this invocation
        return Batch(tuple(records))

    def _pop(self) -> StreamRecord:
        record = self._queue.popleft()
        self._queue_bytes -= record.payload_bytes
        return record

    def _resume_at(self, batch: Batch, first_failed: int, now_ns: int) -> Settled:
        """What came before is done; the rest is a new batch whose head has failed once."""
        rest = Batch(batch.records[first_failed:], 0, batch.invocations, 0, batch.last_error)
        self._pending[0] = rest
        if self.spec.bisect and len(rest.records) > 1:
            rest.due_ns = now_ns + BACKOFF_NS_MIN
            return Settled(succeeded=first_failed, bisected=True, retried=True)
        settled = self._retry(rest, now_ns)
        return Settled(first_failed, settled.bisected, settled.retried, settled.discards)

    def _bisect(self, batch: Batch, now_ns: int) -> Settled:
        middle = len(batch.records) // 2
        self._pending.popleft()
        for half in (batch.records[middle:], batch.records[:middle]):
            self._pending.appendleft(Batch(half, batch.attempts, batch.invocations, now_ns + BACKOFF_NS_MIN, batch.last_error))
        return Settled(bisected=True, retried=True)

    def _retry(self, batch: Batch, now_ns: int) -> Settled:
        batch.attempts += 1
        if self.spec.retries != UNLIMITED and batch.attempts > self.spec.retries:
            self._pending.popleft()
            return Settled(discards=(Discard(batch.records, Condition.RETRIES, batch.invocations, batch.last_error),))
        batch.due_ns = now_ns + min(BACKOFF_NS_MIN * 2 ** min(batch.attempts - 1, 10), BACKOFF_NS_MAX)
        return Settled(retried=True)


def first_failure(records: Sequence[StreamRecord], outcome: Outcome, *, partial: bool) -> int | None:
    """Index of the record to go on from, None when all are done.

    Lambda's reading of the answer: nothing, null or an empty list is success; an identifier that is empty, malformed or
    not of this batch fails the whole batch; of several the lowest sequence number counts.
    """
    if outcome.error is not None:
        return 0
    if not partial or not outcome.response:
        return None
    failures = outcome.response.get("batchItemFailures") if isinstance(outcome.response, dict) else None
    if failures is None or failures == []:
        return None
    index = {record.order: i for i, record in enumerate(records)}
    found = []
    for failure in failures if isinstance(failures, list) else [None]:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or not identifier.isdigit() or int(identifier) not in index:
            return 0
        found.append(int(identifier))
    return index[min(found)]


def lane_of(partition_key: str, lanes: int) -> int:
    """Which lane a partition key belongs to: always the same one, so that its records keep their order."""
    return int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest()[:8]) % lanes if lanes > 1 else 0


def batch_event(records: Sequence[StreamRecord], spec: MappingSpec, shard_id: str, role_arn: str, region: str) -> dict[str, Any]:
    """The event of an invocation, field by field as Lambda sends it."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": record.partition_key,
                    "sequenceNumber": record.sequence_number,
                    "data": record.data_base64,
                    "approximateArrivalTimestamp": round(record.arrival_ns / NS_PER_S, 3),
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard_id}:{record.sequence_number}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": role_arn,
                "awsRegion": region,
                "eventSourceARN": spec.stream_arn,
            }
            for record in records
        ]
    }
