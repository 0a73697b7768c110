"""Reads one shard from the laptop's Kinesis. The only place that waits for records.

Our data plane holds a GetRecords until there is a record (long polling). Against an endpoint that does not, empty
replies come at once, and the wait is made up here in short, growing steps.
"""

import http.client
import json
import time
from collections.abc import Mapping

import msgspec

from tidemark.errors import UnavailableError
from tidemark.local.lanes import StreamRecord
from tidemark.units import NS_PER_MS

WAIT_MS = 250  # also how late a reader notices that it shall stop
IDLE_S_MIN, IDLE_S_MAX = 0.005, 0.05
RECORDS_PER_READ = 2_000
RETRIES_MAX = 5
RETRY_S = 0.1
HTTP_TIMEOUT_S = 30.0
SIGNED_BY = "AWS4-HMAC-SHA256"


class _Record(msgspec.Struct):
    SequenceNumber: str
    PartitionKey: str
    Data: str
    ApproximateArrivalTimestamp: float


class _Reply(msgspec.Struct):
    Records: list[_Record]
    NextShardIterator: str | None = None


class _Iterator(msgspec.Struct):
    ShardIterator: str


class ShardReader:
    """A position in one shard. `after` is the sequence number to go on behind; None begins at the oldest record."""

    def __init__(self, port: int, region: str, stream: str, shard_id: str, after: str | None = None) -> None:
        self._port = port
        self._region = region
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_S)
        self._idle_s = IDLE_S_MIN
        start: dict[str, str] = {"StreamName": stream, "ShardId": shard_id, "ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            start |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        self._iterator = msgspec.json.decode(self._call("GetShardIterator", start), type=_Iterator).ShardIterator

    def read(self, wait_ms: int = WAIT_MS) -> list[StreamRecord]:
        """Records since the last read, waiting up to about `wait_ms` for the first; empty when there was none.

        Raises UnavailableError when Kinesis does not answer.
        """
        began_s = time.monotonic()
        reply = msgspec.json.decode(
            self._call("GetRecords", {"ShardIterator": self._iterator, "Limit": RECORDS_PER_READ}, wait_ms), type=_Reply
        )
        if reply.NextShardIterator is None:
            raise UnavailableError("kinesis: the shard was closed; the laptop stage does not follow a change of the shard count")
        self._iterator = reply.NextShardIterator
        if reply.Records:
            self._idle_s = IDLE_S_MIN
        elif wait_ms and time.monotonic() - began_s < wait_ms / 2_000:
            time.sleep(self._idle_s)
            self._idle_s = min(2 * self._idle_s, IDLE_S_MAX)
        return [_stream_record(item) for item in reply.Records]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, action: str, request: Mapping[str, str | int], wait_ms: int = 0) -> bytes:
        headers = {
            "X-Amz-Target": f"Kinesis_20131202.{action}",
            "Content-Type": "application/x-amz-json-1.1",
            # moto reads service and region out of it and checks no signature
            "Authorization": f"{SIGNED_BY} Credential=local/20000101/{self._region}/kinesis/aws4_request, SignedHeaders=host, Signature=0",
        }
        if wait_ms:
            headers["X-Tidemark-Wait-Ms"] = str(wait_ms)
        body = json.dumps(request)
        for attempt in range(RETRIES_MAX):
            try:
                self._connection.request("POST", "/", body=body, headers=headers)
                reply = self._connection.getresponse()
                data = reply.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if attempt == RETRIES_MAX - 1:
                    raise UnavailableError(f"kinesis on port {self._port}: {error}") from error
                time.sleep(RETRY_S)
                continue
            if reply.status != 200:
                raise UnavailableError(f"kinesis {action}: HTTP {reply.status}: {data[:200].decode(errors='replace')}")
            return data
        raise AssertionError("the loop returns or raises")


def _stream_record(item: _Record) -> StreamRecord:
    arrival_ns = round(item.ApproximateArrivalTimestamp * 1_000) * NS_PER_MS  # Kinesis gives milliseconds
    return StreamRecord(int(item.SequenceNumber), item.SequenceNumber, item.PartitionKey, item.Data, arrival_ns)
