"""The data plane of Kinesis in front of moto: the same streams, with order kept, bounded memory and long polling.

moto keeps the streams (create, describe, list, iterators). Its own data plane is unsafe for concurrent producers (two
records may get one sequence number), slower with every record kept, and has no way to wait. So PutRecord, PutRecords and
GetRecords of known streams are answered here; anything else, errors included, is left to moto.

A GetRecords with the header `X-Tidemark-Wait-Ms` returns when there is a record or when that time is over. Clients that
do not send it get Kinesis' own behaviour.
"""

import binascii
import io
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from moto.kinesis import models as moto_kinesis
from moto.kinesis.utils import compose_shard_iterator, decompose_shard_iterator

WAIT_HEADER = "HTTP_X_TIDEMARK_WAIT_MS"
WAIT_MS_MAX = 5_000
RECORDS_PER_PUT_MAX = 500  # Kinesis quotas, from here to RECORD_BYTES_MAX
PUT_BYTES_MAX = 5 << 20
RECORD_BYTES_MAX = 1 << 20
RECORDS_PER_GET_MAX = 10_000
GET_BYTES_MAX = 10 << 20
RETAINED_BYTES_MAX = 128 << 20  # per shard, base64; chosen: hours of five symbols
RETAINED_S_MIN = 60.0  # younger records stay, whatever they weigh

StartResponse = Callable[..., Any]


class StoredRecord:
    """A record as it came: `data` in base64, arrival in seconds. (moto's own class keeps a list of all its instances.)"""

    __slots__ = ("created_at", "data", "explicit_hash_key", "partition_key", "sequence_number")

    def __init__(self, partition_key: str, data: str, sequence_number: int, explicit_hash_key: str | None) -> None:
        self.partition_key = partition_key
        self.data = data
        self.sequence_number = sequence_number
        self.explicit_hash_key = explicit_hash_key
        self.created_at = time.time()


class OrderedShard(moto_kinesis.Shard):  # type: ignore[misc]
    """A shard whose sequence numbers are contiguous: appending and reading cost what they touch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.records: dict[int, StoredRecord] = {}
        self.appended = threading.Condition()
        self._first = 1
        self._last = 0
        self._bytes = 0

    def put_record(self, partition_key: str, data: str, explicit_hash_key: str | None) -> str:
        """Append one record; its sequence number."""
        with self.appended:
            self._last += 1
            self.records[self._last] = StoredRecord(partition_key, data, self._last, explicit_hash_key)
            self._bytes += len(data)
            self._trim()
            self.appended.notify_all()
            return str(self._last)

    def get_records(self, last_sequence_id: str, limit: int | None) -> tuple[list[StoredRecord], int, int]:
        """(records after `last_sequence_id`, sequence number of the last one, milliseconds behind the newest)."""
        with self.appended:
            found: list[StoredRecord] = []
            size = 0
            number = max(int(last_sequence_id) + 1, self._first)
            while number <= self._last and len(found) < (limit or RECORDS_PER_GET_MAX) and size < GET_BYTES_MAX:
                record = self.records[number]
                found.append(record)
                size += len(record.data)
                number += 1
            behind_s = time.time() - found[-1].created_at if found and number <= self._last else 0.0
        return found, found[-1].sequence_number if found else int(last_sequence_id), int(behind_s * 1000)

    def wait_for_record(self, last_sequence_id: int, timeout_s: float) -> None:
        """Return when a record after `last_sequence_id` is there, or after `timeout_s`."""
        with self.appended:
            self.appended.wait_for(lambda: self._last > last_sequence_id, timeout_s)

    def get_min_sequence_number(self) -> int:
        """The oldest record kept, 0 in a shard that never had one."""
        return self._first if self._last else 0

    def get_max_sequence_number(self) -> int:
        """The newest record, 0 in a shard that never had one."""
        return self._last

    def _trim(self) -> None:
        horizon = time.time() - RETAINED_S_MIN
        while self._bytes > RETAINED_BYTES_MAX and self.records[self._first].created_at < horizon:
            self._bytes -= len(self.records.pop(self._first).data)
            self._first += 1


def install() -> None:
    """Make streams that moto creates from now on use OrderedShard."""
    moto_kinesis.Shard = OrderedShard


class KinesisPlane:
    """WSGI application: answers the three data calls, passes everything else on to moto."""

    def __init__(self, moto_app: Callable[..., Iterable[bytes]], account: str, region: str) -> None:
        self._moto = moto_app
        self._backend = moto_kinesis.kinesis_backends[account][region]
        self._calls: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any] | None]] = {
            "Kinesis_20131202.PutRecord": self._put_record,
            "Kinesis_20131202.PutRecords": self._put_records,
            "Kinesis_20131202.GetRecords": self._get_records,
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        call = self._calls.get(environ.get("HTTP_X_AMZ_TARGET", ""))
        if call is not None:
            body = environ["wsgi.input"].read()
            reply = call(environ, msgspec.json.decode(body))
            if reply is not None:
                answer = msgspec.json.encode(reply)
                start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(answer)))])
                return [answer]
            environ["wsgi.input"] = io.BytesIO(body)
        return self._moto(environ, start_response)

    def _put_record(self, environ: dict[str, Any], request: dict[str, Any]) -> dict[str, Any] | None:
        stream = self._stream(request)
        if stream is None or _raw_bytes(request) > RECORD_BYTES_MAX:
            return None
        shard_id, number = _append(stream, request)
        return {"ShardId": shard_id, "SequenceNumber": number, "EncryptionType": stream.encryption_type}

    def _put_records(self, environ: dict[str, Any], request: dict[str, Any]) -> dict[str, Any] | None:
        stream = self._stream(request)
        records = request.get("Records", [])
        sizes = [_raw_bytes(record) for record in records]
        if stream is None or not 0 < len(records) <= RECORDS_PER_PUT_MAX or max(sizes) > RECORD_BYTES_MAX or sum(sizes) > PUT_BYTES_MAX:
            return None
        results = [{"ShardId": shard_id, "SequenceNumber": number} for shard_id, number in (_append(stream, record) for record in records)]
        return {"FailedRecordCount": 0, "Records": results, "EncryptionType": stream.encryption_type}

    def _get_records(self, environ: dict[str, Any], request: dict[str, Any]) -> dict[str, Any] | None:
        try:
            name, shard_id, last = decompose_shard_iterator(request["ShardIterator"])
            shard = self._backend.streams[name].shards[shard_id]
            last_number = int(last)
        except (KeyError, ValueError, binascii.Error, UnicodeDecodeError):
            return None
        if not shard.is_open:
            return None  # the end of a shard has its own reply
        limit = request.get("Limit", RECORDS_PER_GET_MAX)
        wait_ms = min(int(environ.get(WAIT_HEADER, "0")), WAIT_MS_MAX)
        if wait_ms:
            shard.wait_for_record(last_number, wait_ms / 1000)
        records, newest, behind_ms = shard.get_records(last, limit)
        return {
            "Records": [
                {
                    "SequenceNumber": str(record.sequence_number),
                    "ApproximateArrivalTimestamp": round(record.created_at, 3),
                    "Data": record.data,
                    "PartitionKey": record.partition_key,
                }
                for record in records
            ],
            "NextShardIterator": compose_shard_iterator(name, shard, newest).strip(),
            "MillisBehindLatest": behind_ms,
        }

    def _stream(self, request: dict[str, Any]) -> Any:
        name = request.get("StreamName") or str(request.get("StreamARN", "")).rpartition("/")[2]
        return self._backend.streams.get(name)


def _append(stream: Any, record: dict[str, Any]) -> tuple[str, str]:
    shard = stream.get_shard_for_key(record["PartitionKey"], record.get("ExplicitHashKey"))
    return shard.shard_id, shard.put_record(record["PartitionKey"], record["Data"], record.get("ExplicitHashKey"))


def _raw_bytes(record: dict[str, Any]) -> int:
    """Decoded size of a record with its key, without decoding it."""
    data: str = record.get("Data", "")
    return len(data) * 3 // 4 - data.count("=", -2) + len(record.get("PartitionKey", "").encode())
