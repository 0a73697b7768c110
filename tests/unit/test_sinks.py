"""The sinks of the stream processors against a real AWS API (moto): limits kept, repeats harmless, failures told apart."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tidemark.adapters import kinesis, sinks
from tidemark.adapters.kinesis import StreamPublisher, StreamReader
from tidemark.adapters.sinks import FirehoseSink, QuarantineStore
from tidemark.errors import UnavailableError


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


class Throttling:
    """A Kinesis client that refuses chosen records the first time, as an overloaded shard does."""

    def __init__(self, client: Any, refused: set[bytes]) -> None:
        self._client = client
        self._refused = refused

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        accepted = [record for record in Records if record["Data"] not in self._refused]
        if accepted:
            self._client.put_records(StreamName=StreamName, Records=accepted)
        results = [{"ErrorCode": "ProvisionedThroughputExceededException"} if record["Data"] in self._refused else {} for record in Records]
        failed = len(Records) - len(accepted)
        self._refused.clear()
        return {"FailedRecordCount": failed, "Records": results}


def stream() -> Any:
    """A client and its stream `s`."""
    client = boto3.client("kinesis")
    client.create_stream(StreamName="s", ShardCount=1)
    return client


def test_everything_published_is_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """More records than one call takes, cut by count and by bytes."""
    monkeypatch.setattr(kinesis, "PUT_RECORDS_MAX", 7)
    monkeypatch.setattr(kinesis, "PUT_BYTES_MAX", 300)
    client, sent = stream(), [f"record {i}".encode() * (1 + i % 9) for i in range(50)]
    StreamPublisher(client, "s").put([("ES", data) for data in sent])
    assert next(batch for batch in StreamReader(client, "s").records() if batch) == sent


def test_a_throttled_record_is_put_again_and_nothing_twice() -> None:
    """Kinesis refuses records one by one; the rest of the call has gone through."""
    client = stream()
    StreamPublisher(Throttling(client, {b"b"}), "s").put([("ES", b"a"), ("ES", b"b"), ("ES", b"c")])
    assert sorted(next(StreamReader(client, "s").records())) == [b"a", b"b", b"c"]


def test_a_missing_stream_is_unavailable_not_a_crash() -> None:
    """The caller hands the batch back and tries again later."""
    with pytest.raises(UnavailableError, match="kinesis nowhere"):
        StreamPublisher(boto3.client("kinesis"), "nowhere").put([("ES", b"a")])


def test_quarantine_keeps_a_record_once() -> None:
    """A redelivered poison record is not counted twice."""
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    store = QuarantineStore(client, "bucket")
    assert store.put("records/1", b"\x00bad", "CHECKSUM") is True
    assert store.put("records/1", b"\x00bad", "CHECKSUM") is False
    kept = client.get_object(Bucket="bucket", Key="quarantine/records/1")
    assert (kept["Body"].read(), kept["Metadata"]["reason"]) == (b"\x00bad", "CHECKSUM")


class Firehose:
    """Records what is put, refusing the first `refusals` records it sees."""

    def __init__(self, refusals: int) -> None:
        self.rows: list[bytes] = []
        self.calls: list[int] = []
        self._refusals = refusals

    def put_record_batch(self, DeliveryStreamName: str, Records: list[dict[str, bytes]]) -> dict[str, Any]:
        self.calls.append(len(Records))
        responses = []
        for record in Records:
            if self._refusals:
                self._refusals -= 1
                responses.append({"ErrorCode": "ServiceUnavailableException"})
            else:
                self.rows += record["Data"].splitlines()
                responses.append({"RecordId": "1"})
        return {"FailedPutCount": sum("ErrorCode" in response for response in responses), "RequestResponses": responses}


def test_lake_rows_are_joined_within_the_limits_and_refused_ones_go_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row reaches the lake once."""
    monkeypatch.setattr(sinks, "FIREHOSE_RECORD_BYTES_MAX", 100)
    monkeypatch.setattr(sinks, "FIREHOSE_BATCH_RECORDS_MAX", 3)
    rows = [f'{{"seq":{i}}}'.encode() for i in range(100)]
    client = Firehose(refusals=2)
    FirehoseSink(client, "f").put(rows)
    assert sorted(client.rows) == sorted(rows)
    assert max(client.calls) <= 3


def test_a_lake_that_keeps_refusing_is_unavailable() -> None:
    """Bounded tries, then the batch is handed back."""
    with pytest.raises(UnavailableError, match="refused"):
        FirehoseSink(Firehose(refusals=10**6), "f").put([b"{}"])
