"""Object-store sinks of the processors: Firehose for the lake, S3 for quarantined records."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from tidemark.errors import UnavailableError

FIREHOSE_RECORD_BYTES_MAX = 900_000  # the quota is 1,000 KiB a record
FIREHOSE_BATCH_BYTES_MAX = 3_500_000  # the quota is 4 MiB a call
FIREHOSE_BATCH_RECORDS_MAX = 500
ATTEMPTS_MAX = 5


class FirehoseSink:
    """Puts rows on a delivery stream as newline-joined JSON objects, which its format conversion takes apart again."""

    def __init__(self, client: Any, delivery_stream: str) -> None:
        self._client = client
        self._stream = delivery_stream

    def put(self, rows: Sequence[bytes]) -> None:
        """`rows` are JSON objects. Raises UnavailableError when the stream stays unreachable."""
        for records in _calls(list(_joined(rows))):
            self._put(records)

    def _put(self, records: list[bytes]) -> None:
        waiting = records
        for _ in range(ATTEMPTS_MAX):
            try:
                reply = self._client.put_record_batch(DeliveryStreamName=self._stream, Records=[{"Data": data} for data in waiting])
            except (BotoCoreError, ClientError) as error:
                raise UnavailableError(f"firehose {self._stream}: {error}") from error
            if not reply["FailedPutCount"]:
                return
            waiting = [data for data, result in zip(waiting, reply["RequestResponses"], strict=True) if "ErrorCode" in result]
        raise UnavailableError(f"firehose {self._stream}: {len(waiting)} records refused {ATTEMPTS_MAX} times")


class QuarantineStore:
    """Keeps what could not be used, with its reason, under `quarantine/`. The name makes a repeat harmless."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, name: str, body: bytes, reason: str) -> bool:
        """Store once; False when `name` was there already (a redelivered record)."""
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=f"quarantine/{name}", Body=body, Metadata={"reason": reason[:200]}, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "412"):
                return False
            raise UnavailableError(f"s3 {self._bucket}: {error}") from error
        except BotoCoreError as error:
            raise UnavailableError(f"s3 {self._bucket}: {error}") from error
        return True

    def put_lines(self, name: str, lines: Sequence[dict[str, Any]], reason: str) -> bool:
        """Store several quarantined events as JSON lines."""
        return self.put(name, b"\n".join(msgspec.json.encode(line) for line in lines), reason)


def _joined(rows: Sequence[bytes]) -> Iterator[bytes]:
    group: list[bytes] = []
    size = 0
    for row in rows:
        if group and size + len(row) + 1 > FIREHOSE_RECORD_BYTES_MAX:
            yield b"\n".join(group) + b"\n"
            group, size = [], 0
        group.append(row)
        size += len(row) + 1
    if group:
        yield b"\n".join(group) + b"\n"


def _calls(records: list[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for record in records:
        if group and (len(group) == FIREHOSE_BATCH_RECORDS_MAX or size + len(record) > FIREHOSE_BATCH_BYTES_MAX):
            yield group
            group, size = [], 0
        group.append(record)
        size += len(record)
    if group:
        yield group
