"""The laptop's Firehose: takes records by its API, buffers, converts to Parquet and puts objects into the lake bucket.

    python -m tidemark.local.firehose --config FILE

moto's Firehose neither buffers nor converts. Unlike the real one, what is buffered here is lost when the process is
killed; SIGTERM delivers it first. Buffering is per delivery stream, not per partition.
"""

import argparse
import base64
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from tidemark.errors import TidemarkError
from tidemark.local.files import write_whole
from tidemark.local.processes import notify_ready
from tidemark.local.record_conversion import Converter, Rejected, expand_prefix, split_rows
from tidemark.local.resources import DeliverySpec

TARGET = "Firehose_20150804."
RECORD_BYTES_MAX = 1_000 << 10  # Firehose quotas, these three
BATCH_BYTES_MAX = 4 << 20
BATCH_RECORDS_MAX = 500
HELD_BUFFERS_MAX = 3  # buffers' worth held while S3 does not answer; beyond that records are refused
PUT_RETRY_S = 0.5
PutObject = Callable[[str, str, bytes], None]
"""(bucket, key, body); raises OSError-like errors of its client, which are retried."""


@dataclass(frozen=True, slots=True)
class FirehoseConfig:
    """The port, the delivery streams and where their objects go."""

    port: int
    aws_port: int
    region: str
    deliveries: list[DeliverySpec]
    metrics_file: str


class PutRecord(msgspec.Struct):
    """A record of a request; msgspec decodes the base64."""

    Data: bytes


class PutRequest(msgspec.Struct):
    """PutRecord and PutRecordBatch."""

    DeliveryStreamName: str
    Record: PutRecord | None = None
    Records: list[PutRecord] = []


class ApiError(Exception):
    """An error reply: Firehose's code and words."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Delivery:
    """One delivery stream: a buffer and the thread that empties it when it is full or old."""

    def __init__(self, spec: DeliverySpec, put_object: PutObject) -> None:
        self.spec = spec
        self.counts = {"records": 0, "rows": 0, "rejected": 0, "objects": 0}
        self._converter = Converter(spec)
        self._put_object = put_object
        self._records: list[bytes] = []
        self._bytes = 0
        self._since_s = 0.0
        self._busy = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"deliver {spec.name}")
        self._thread.start()

    @property
    def _size_max(self) -> int:
        return self.spec.buffer_mib << 20

    def put(self, records: list[bytes]) -> None:
        """Buffer records. Raises ApiError when too much is held already."""
        with self._changed:
            if self._bytes > HELD_BUFFERS_MAX * self._size_max:
                raise ApiError("ServiceUnavailableException", "Slow down.", 503)
            if not self._records:
                self._since_s = time.monotonic()
            self._records += records
            self._bytes += sum(map(len, records))
            self.counts["records"] += len(records)
            self._changed.notify_all()

    def close(self) -> None:
        """Deliver what is buffered and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and not self._due():
                    self._changed.wait(max(0.001, self._since_s + self.spec.buffer_s - time.monotonic()) if self._records else None)
                records, self._records, self._bytes = self._records, [], 0
            if records:
                self._deliver(records)
            elif self._closing:
                return

    def _due(self) -> bool:
        return bool(self._records) and (self._bytes >= self._size_max or time.monotonic() - self._since_s >= self.spec.buffer_s)

    def _deliver(self, records: list[bytes]) -> None:
        rows = [row for record in records for row in split_rows(record)]
        converted = self._converter.convert(rows)
        now = datetime.now(UTC)
        for values, body in converted.files.items():
            keys = dict(zip(self._converter.keys, values, strict=True))
            self._put(expand_prefix(self.spec.prefix, now, keys), now, body, ".parquet")
        for kind in {item.kind for item in converted.rejected}:
            lines = [_error_line(item, self.spec, now) for item in converted.rejected if item.kind == kind]
            self._put(expand_prefix(self.spec.error_prefix, now, {}, kind), now, b"\n".join(lines) + b"\n", "")
        self.counts["rows"] += converted.rows
        self.counts["rejected"] += len(converted.rejected)

    def _put(self, prefix: str, now: datetime, body: bytes, suffix: str) -> None:
        """Put one object, for as long as it takes: what was acknowledged is delivered, unless we are killed."""
        from botocore.exceptions import BotoCoreError, ClientError

        key = f"{prefix}{self.spec.name}-1-{now:%Y-%m-%d-%H-%M-%S}-{uuid.uuid4()}{suffix}"
        while True:
            try:
                self._put_object(self.spec.bucket, key, body)
            except (BotoCoreError, ClientError) as error:
                sys.stderr.write(f"s3://{self.spec.bucket}/{key}: {error}\n")
                if self._closing:
                    self.counts["lost"] = self.counts.get("lost", 0) + 1
                    return
                time.sleep(PUT_RETRY_S)
            else:
                self.counts["objects"] += 1
                return


def _error_line(item: Rejected, spec: DeliverySpec, now: datetime) -> bytes:
    """A rejected row in the form of Firehose's error output."""
    stamp = int(now.timestamp() * 1000)
    return msgspec.json.encode(
        {
            "attemptsMade": 1,
            "arrivalTimestamp": stamp,
            "lastErrorCode": item.code,
            "lastErrorMessage": item.message,
            "attemptEndingTimestamp": stamp,
            "rawData": base64.b64encode(item.row).decode(),
            "dataCatalogTable": {"databaseName": spec.database, "tableName": spec.table},
        }
    )


class FirehoseServer(ThreadingHTTPServer):
    """The API of all delivery streams on one port."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, deliveries: dict[str, Delivery]) -> None:
        self.deliveries = deliveries
        super().__init__(("127.0.0.1", port), _Handler)

    def call(self, action: str, body: bytes) -> dict[str, Any]:
        """One API call. Raises ApiError."""
        if action not in ("PutRecord", "PutRecordBatch"):
            raise ApiError("UnknownOperationException", f"the laptop's Firehose does not know {action}")
        try:
            request = msgspec.json.decode(body, type=PutRequest)
        except msgspec.DecodeError as error:
            raise ApiError("SerializationException", str(error)) from error
        records = [record.Data for record in ([request.Record] if request.Record is not None else request.Records)]
        delivery = self.deliveries.get(request.DeliveryStreamName)
        if delivery is None:
            raise ApiError("ResourceNotFoundException", f"Firehose {request.DeliveryStreamName} not found under account.")
        _check_sizes(records)
        delivery.put(records)
        if action == "PutRecord":
            return {"RecordId": uuid.uuid4().hex, "Encrypted": False}
        return {"FailedPutCount": 0, "Encrypted": False, "RequestResponses": [{"RecordId": uuid.uuid4().hex} for _ in records]}


def _check_sizes(records: list[bytes]) -> None:
    if not 0 < len(records) <= BATCH_RECORDS_MAX:
        raise ApiError("InvalidArgumentException", f"{len(records)} records; 1 to {BATCH_RECORDS_MAX} are allowed in a call.")
    if max(map(len, records)) > RECORD_BYTES_MAX:
        raise ApiError("InvalidArgumentException", f"A record has more than {RECORD_BYTES_MAX} bytes.")
    if sum(map(len, records)) > BATCH_BYTES_MAX:
        raise ApiError("InvalidArgumentException", f"The records have more than {BATCH_BYTES_MAX} bytes.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FirehoseServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, reply = 200, self.server.call(self.headers.get("X-Amz-Target", "").removeprefix(TARGET), body)
        except ApiError as error:
            status, reply = error.status, {"__type": error.code, "message": str(error)}
        data = msgspec.json.encode(reply)
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """No line per request."""


def _s3_put(aws_port: int, region: str) -> PutObject:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{aws_port}", region_name=region, aws_access_key_id="local", aws_secret_access_key="local"
    )

    def put(bucket: str, key: str, body: bytes) -> None:
        client.put_object(Bucket=bucket, Key=key, Body=body)

    return put


def _end_process(args: threading.ExceptHookArgs) -> None:
    """A delivery thread that died would swallow records from now on: end, so that the supervisor sees it."""
    threading.__excepthook__(args)
    sys.stderr.flush()
    os._exit(70)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM (or SIGUSR1, which means the same here), then deliver what is buffered."""
    parser = argparse.ArgumentParser(description="The laptop's Firehose")
    parser.add_argument("--config", type=Path, required=True)
    config = msgspec.json.decode(parser.parse_args(argv).config.read_bytes(), type=FirehoseConfig)
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread starts: only sigwait gets them
    try:
        put_object = _s3_put(config.aws_port, config.region)
        deliveries = {spec.name: Delivery(spec, put_object) for spec in config.deliveries}
        server = FirehoseServer(config.port, deliveries)
    except TidemarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    threading.excepthook = _end_process
    threading.Thread(target=server.serve_forever, daemon=True, name="api").start()
    notify_ready(port=config.port)
    signal.sigwait(signals)
    server.shutdown()
    for delivery in deliveries.values():
        delivery.close()
    write_whole(Path(config.metrics_file), msgspec.json.encode({name: delivery.counts for name, delivery in deliveries.items()}))
    return 1 if any("lost" in delivery.counts for delivery in deliveries.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
