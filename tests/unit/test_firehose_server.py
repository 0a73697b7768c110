"""The laptop's Firehose behind its API: accepts what Firehose accepts, delivers all of it, says why it refuses."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_support import eventually, slack
from tidemark.local.firehose import BATCH_RECORDS_MAX, ApiError, Delivery, FirehoseServer
from tidemark.local.resources import DeliverySpec

SPEC = DeliverySpec(
    name="lake-trades",
    arn="arn",
    bucket="lake",
    prefix="trades/symbol=!{partitionKeyFromQuery:symbol}/",
    error_prefix="errors/!{firehose:error-output-type}/",
    buffer_mib=1,
    buffer_s=3_600,
    database="d",
    table="trades",
    columns=[("px", "bigint"), *((f"c{i}", "bigint") for i in range(40))],
    partition_query="{symbol: .symbol}",
)
ROW = {"symbol": "ES", **{f"c{i}": 10**6 + i for i in range(40)}}


class Bucket:
    """Remembers objects; fails as often as told."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failures = 0

    def put(self, bucket: str, key: str, body: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise ClientError({"Error": {"Code": "503"}}, "PutObject")
        self.objects[f"{bucket}/{key}"] = body

    def rows(self) -> list[dict[str, Any]]:
        return [
            row for key, data in self.objects.items() if key.endswith(".parquet") for row in pq.read_table(io.BytesIO(data)).to_pylist()
        ]


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def serve(bucket: Bucket) -> Iterator[Callable[..., tuple[Any, Delivery]]]:
    """Starts a server for a delivery stream; gives a real client and the stream."""
    servers = []

    def start(**changes: Any) -> tuple[Any, Delivery]:
        delivery = Delivery(replace(SPEC, **changes), bucket.put)
        server = FirehoseServer(0, {delivery.spec.name: delivery})
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        client = boto3.client(
            "firehose",
            endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 1}),
        )
        return client, delivery

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def record(*prices: int) -> dict[str, bytes]:
    return {"Data": b"\n".join(json.dumps({**ROW, "px": px}).encode() for px in prices) + b"\n"}


def test_what_was_acknowledged_is_delivered_when_the_server_ends(serve, bucket):
    """SIGTERM closes the delivery: the end of a run must not cost its last minute of data."""
    client, delivery = serve()
    reply = client.put_record_batch(DeliveryStreamName="lake-trades", Records=[record(1, 2), record(3)])
    client.put_record(DeliveryStreamName="lake-trades", Record=record(4))
    assert reply["FailedPutCount"] == 0
    assert len(reply["RequestResponses"]) == 2
    assert bucket.objects == {}
    delivery.close()
    assert [row["px"] for row in bucket.rows()] == [1, 2, 3, 4]
    (key,) = bucket.objects
    assert key.startswith("lake/trades/symbol=ES/lake-trades-1-")


def test_a_full_buffer_is_delivered_without_waiting_for_its_time(serve, bucket):
    """The template's size in MiB is a limit on what a delivery holds."""
    client, delivery = serve()
    for _ in range(3):
        client.put_record_batch(DeliveryStreamName="lake-trades", Records=[record(*range(40))] * 16)
    eventually(lambda: bucket.objects)
    delivery.close()
    assert len(bucket.rows()) == 3 * 16 * 40


def test_an_old_buffer_is_delivered_without_being_full(serve, bucket):
    """The template's interval is a limit on how late the lake is."""
    client, _ = serve(buffer_s=0)
    client.put_record(DeliveryStreamName="lake-trades", Record=record(5))
    assert eventually(bucket.rows)[0]["px"] == 5


def test_rows_that_cannot_be_converted_are_kept_in_the_error_folder(serve, bucket):
    """As Firehose keeps them: the row in base64 with its reason."""
    client, delivery = serve()
    client.put_record(DeliveryStreamName="lake-trades", Record={"Data": b'{"px":"x","symbol":"ES"}\n' + record(6)["Data"]})
    delivery.close()
    assert [row["px"] for row in bucket.rows()] == [6]
    (line,) = [json.loads(data) for key, data in bucket.objects.items() if key.startswith("lake/errors/format-conversion-failed/")]
    assert line["lastErrorCode"] == "DataFormatConversion.MalformedData"
    assert line["rawData"] == "eyJweCI6IngiLCJzeW1ib2wiOiJFUyJ9"


def test_an_object_store_that_fails_is_tried_again(serve, bucket):
    """Acknowledged records may come late, but they come."""
    bucket.failures = 1
    client, _ = serve(buffer_s=0)
    client.put_record(DeliveryStreamName="lake-trades", Record=record(7))
    assert eventually(bucket.rows)[0]["px"] == 7


def test_an_object_store_that_stays_away_stops_intake_instead_of_filling_memory(bucket):
    """Producers are told to slow down; what they hold is theirs to repeat."""
    held = threading.Event()
    delivery = Delivery(SPEC, lambda *args: held.wait(10) and None)
    server = FirehoseServer(0, {SPEC.name: delivery})
    body = json.dumps({"DeliveryStreamName": SPEC.name, "Records": [{"Data": "A" * 1_300_000}] * 2}).encode()
    codes = []
    for _ in range(6):
        try:
            server.call("PutRecordBatch", body)
        except ApiError as error:
            codes.append(error.code)
        time.sleep(0.02)
    held.set()
    server.server_close()
    assert set(codes) == {"ServiceUnavailableException"}


@pytest.mark.parametrize(
    ("stream", "records", "code"),
    [
        ("nobody", [{"Data": b"x"}], "ResourceNotFoundException"),
        ("lake-trades", [{"Data": b"x"}] * (BATCH_RECORDS_MAX + 1), "InvalidArgumentException"),
        ("lake-trades", [{"Data": b"x" * 1_100_000}], "InvalidArgumentException"),
        ("lake-trades", [{"Data": b"x" * 1_000_000}] * 5, "InvalidArgumentException"),
    ],
)
def test_what_firehose_refuses_is_refused_here(serve, stream, records, code):
    """A producer that breaks a quota must fail on the laptop, not in the cloud."""
    client, _ = serve()
    with pytest.raises(ClientError) as refused:
        client.put_record_batch(DeliveryStreamName=stream, Records=records)
    assert refused.value.response["Error"]["Code"] == code


def test_an_action_that_is_not_served_says_so(serve):
    """Instead of an answer that looks like success."""
    client, _ = serve()
    with pytest.raises(ClientError, match="does not know DescribeDeliveryStream"):
        client.describe_delivery_stream(DeliveryStreamName="lake-trades")


def test_depth_rows_are_taken_and_converted_faster_than_a_feed_sends_them(serve, bucket):
    """5,000 rows a second through the API into Parquet; a laptop's feed sends about a thousand."""
    client, delivery = serve(buffer_mib=64)
    data = record(*range(100))
    began = time.perf_counter()
    for _ in range(10):
        client.put_record_batch(DeliveryStreamName="lake-trades", Records=[data] * 20)
    delivery.close()
    rows_per_s = len(bucket.rows()) / (time.perf_counter() - began)
    assert rows_per_s > 5_000 / slack()
