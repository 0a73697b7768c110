"""Kinesis Data Streams: publishing with order kept per partition key, and a small consumer for one long-running task."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tidemark.errors import UnavailableError

PUT_RECORDS_MAX = 500  # per call; Kinesis quota
PUT_BYTES_MAX = 4_000_000  # per call; the quota is 5 MiB including keys
RECORD_BYTES_MAX = 1_000_000  # per record; the quota is 1 MiB including the key
ATTEMPTS_MAX = 8
BACKOFF_S = 0.05
READ_RECORDS_MAX = 2_000


class StreamPublisher:
    """Puts records on one stream. A record that the service throttles is put again before any later one of its key."""

    def __init__(self, client: Any, stream: str) -> None:
        self._client = client
        self.stream = stream

    def put(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Publish (partition key, data) pairs in order. Raises UnavailableError when the stream stays unreachable."""
        for batch in _batches(records):
            self._put_batch(batch)

    def _put_batch(self, batch: list[tuple[str, bytes]]) -> None:
        waiting = batch
        for attempt in range(ATTEMPTS_MAX):
            try:
                reply = self._client.put_records(
                    StreamName=self.stream, Records=[{"PartitionKey": key, "Data": data} for key, data in waiting]
                )
            except (BotoCoreError, ClientError) as error:
                raise UnavailableError(f"kinesis {self.stream}: {error}") from error
            if not reply["FailedRecordCount"]:
                return
            waiting = [record for record, result in zip(waiting, reply["Records"], strict=True) if "ErrorCode" in result]
            time.sleep(BACKOFF_S * 2**attempt)
        raise UnavailableError(f"kinesis {self.stream}: {len(waiting)} records were throttled {ATTEMPTS_MAX} times")


class StreamReader:
    """Reads every shard of a stream from its start, as the only consumer in its process.

    In AWS the same records come by enhanced fan-out; the port is the same, the pace differs.
    """

    def __init__(self, client: Any, stream: str, *, idle_s: float = 0.01) -> None:
        self._client = client
        self._stream = stream
        self._idle_s = idle_s
        self._iterators: dict[str, str] = {}

    def records(self) -> Iterator[list[bytes]]:
        """Endless batches of record data, each batch of one shard in its order; an empty batch after an idle round."""
        self._open()
        while True:
            found = False
            for shard in list(self._iterators):
                data = self._read(shard)
                if data:
                    found = True
                    yield data
            if not found:
                time.sleep(self._idle_s)
                yield []

    def _open(self) -> None:
        try:
            shards = self._client.list_shards(StreamName=self._stream)["Shards"]
            for shard in shards:
                reply = self._client.get_shard_iterator(StreamName=self._stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
                self._iterators[shard["ShardId"]] = reply["ShardIterator"]
        except (BotoCoreError, ClientError) as error:
            raise UnavailableError(f"kinesis {self._stream}: {error}") from error

    def _read(self, shard: str) -> list[bytes]:
        try:
            reply = self._client.get_records(ShardIterator=self._iterators[shard], Limit=READ_RECORDS_MAX)
        except (BotoCoreError, ClientError) as error:
            raise UnavailableError(f"kinesis {self._stream}: {error}") from error
        self._iterators[shard] = reply["NextShardIterator"]
        return [record["Data"] for record in reply["Records"]]


def _batches(records: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for key, data in records:
        assert len(data) <= RECORD_BYTES_MAX, "the caller cuts records to the stream's limit"
        if batch and (len(batch) == PUT_RECORDS_MAX or size + len(data) > PUT_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append((key, data))
        size += len(data)
    if batch:
        yield batch
