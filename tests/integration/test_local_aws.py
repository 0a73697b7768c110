"""The laptop's AWS endpoint: what the template says is there, and Kinesis keeps its promises under load."""

import base64
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_support import ACCOUNT, PREFIX, REGION, login, slack, write_assembly
from tidemark.local.aws import AwsConfig, aws_environment
from tidemark.local.deploy import StageValues
from tidemark.local.processes import free_port
from tidemark.local.resources import StageResources
from tidemark.local.shard_reader import ShardReader
from tidemark.local.supervisor import ChildSpec, Supervisor

DATABASE = {"host": "/run/sock", "port": 5432, "username": "tidemark_app", "password": "local", "dbname": "tidemark"}


class Aws:
    """A running endpoint with its resources; clients on demand."""

    def __init__(self, port: int, resources: StageResources) -> None:
        self.port = port
        self.resources = resources
        self._streams = 0

    def __call__(self, service: str) -> Any:
        return boto3.client(service, **login(self.port), config=Config(retries={"max_attempts": 1}))

    def stream(self, shards: int = 1) -> str:
        """A new stream of its own for a test."""
        self._streams += 1
        name = f"s{self._streams}"
        self("kinesis").create_stream(StreamName=name, ShardCount=shards)
        return name


@pytest.fixture(scope="module")
def aws(tmp_path_factory) -> Iterator[Aws]:
    folder = tmp_path_factory.mktemp("aws")
    port = free_port().number
    values = StageValues(
        database_secret=DATABASE,
        cache_host="127.0.0.1",
        cache_port=6379,
        parameters={"INSTRUMENTS_PARAMETER": '[{"symbol":"AAPL"}]'},
        environment={"TIDEMARK_STAGE": "local", "CACHE_TLS": "off", "SAMPLE": "1"},
    )
    config = AwsConfig(port, str(write_assembly(folder)), str(folder / "stage.json"), values)
    (folder / "aws.json").write_bytes(msgspec.json.encode(config))
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = (sys.executable, "-m", "tidemark.local.aws", "--config", str(folder / "aws.json"))
    with Supervisor(folder) as supervisor:
        supervisor.start(ChildSpec(name="aws", argv=argv, env=env))
        supervisor.wait_ready()
        yield Aws(port, StageResources.from_file(folder / "stage.json"))
        assert supervisor.stop() == []


def put(aws: Aws, stream: str, *data: bytes, key: str = "k") -> list[dict[str, Any]]:
    reply = aws("kinesis").put_records(StreamName=stream, Records=[{"PartitionKey": key, "Data": item} for item in data])
    records: list[dict[str, Any]] = reply["Records"]
    return records


def test_every_resource_of_the_template_is_there_under_its_own_name(aws):
    """Programs find them by the names in their environment, exactly as on AWS."""
    assert aws("kinesis").list_streams()["StreamNames"] == [f"{PREFIX}-market-data"]
    assert len(aws("kinesis").list_shards(StreamName=f"{PREFIX}-market-data")["Shards"]) == 2
    assert aws("s3").list_buckets()["Buckets"][0]["Name"] == f"{PREFIX}-lake-{ACCOUNT}"
    assert aws("sqs").get_queue_url(QueueName=f"{PREFIX}-failures")["QueueUrl"] == aws.resources.queues[f"{PREFIX}-failures"]
    assert aws("sns").list_topics()["Topics"][0]["TopicArn"] == aws.resources.topics[f"{PREFIX}-alerts"]
    columns = aws("glue").get_table(DatabaseName="tidemark_dev_lake", Name="trades")["Table"]["StorageDescriptor"]["Columns"]
    assert columns[0] == {"Name": "ts_event_ns", "Type": "bigint"}


def test_secrets_and_parameters_hold_what_the_laptop_answers_to(aws):
    """The template's generators cannot know where this run's database is, nor which instruments it trades."""
    env = aws.resources.functions["recorder"].env
    secret = aws("secretsmanager").get_secret_value(SecretId=env["DATABASE_SECRET_ARN"])["SecretString"]
    assert json.loads(secret) == DATABASE
    assert aws("ssm").get_parameter(Name=env["INSTRUMENTS_PARAMETER"])["Parameter"]["Value"] == '[{"symbol":"AAPL"}]'


def test_settings_come_from_the_template_but_for_the_few_that_a_laptop_replaces(aws):
    """No TLS to the cache here, another stage name, and what the run chose."""
    env = aws.resources.functions["recorder"].env
    assert (env["TIDEMARK_STAGE"], env["CACHE_TLS"], env["SAMPLE"]) == ("local", "off", "1")
    assert env["CACHE_ENDPOINT"] == "127.0.0.1:6379"
    assert "SAMPLE" not in aws.resources.tasks["execution"].env
    assert aws.resources.unresolved == []


def test_the_mapping_names_the_queue_that_exists(aws):
    """Records that are given up must arrive somewhere."""
    (mapping,) = aws.resources.mappings
    aws("sqs").send_message(QueueUrl=mapping.on_failure, MessageBody="x")


def test_concurrent_producers_never_share_a_sequence_number(aws):
    """Two records under one number would be one record: a lost order book."""
    stream = aws.stream()
    numbers: list[str] = []

    def produce(worker: int) -> None:
        client = aws("kinesis")
        for i in range(20):
            reply = client.put_records(StreamName=stream, Records=[{"PartitionKey": "k", "Data": f"{worker}:{i}".encode()}] * 10)
            numbers.extend(record["SequenceNumber"] for record in reply["Records"])

    threads = [threading.Thread(target=produce, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 4 * 20 * 10
    iterator = aws("kinesis").get_shard_iterator(StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
    found = aws("kinesis").get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    assert [int(record["SequenceNumber"]) for record in found] == sorted(map(int, numbers))


def test_records_of_one_key_stay_in_one_shard_in_order(aws):
    """What every consumer's order rests on."""
    stream = aws.stream(shards=4)
    kinesis = aws("kinesis")
    shards = {kinesis.put_record(StreamName=stream, PartitionKey="ES", Data=b"%d" % i)["ShardId"] for i in range(5)}
    (shard,) = shards
    reader = ShardReader(aws.port, REGION, stream, shard)
    assert [base64.b64decode(record.data_base64) for record in reader.read()] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_reader_that_waits_gets_a_record_at_once(aws):
    """Long polling: no idle requests, and no added latency."""
    stream = aws.stream()
    reader = ShardReader(aws.port, REGION, stream, "shardId-000000000000")
    sent_ns: list[int] = []

    def produce() -> None:
        time.sleep(0.1)
        sent_ns.append(time.monotonic_ns())
        put(aws, stream, b"x")

    client = aws("kinesis")  # made before the clock runs
    assert client is not None
    thread = threading.Thread(target=produce)
    thread.start()
    records: list[Any] = []
    while not records:
        records = reader.read(5_000)
    delay_ns = time.monotonic_ns() - sent_ns[0]
    thread.join()
    assert [record.partition_key for record in records] == ["k"]
    assert delay_ns < 250_000_000 * slack()


def test_a_reader_that_does_not_wait_gets_kinesis_own_empty_reply(aws):
    """Other clients see no difference to the service."""
    stream = aws.stream()
    kinesis = aws("kinesis")
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="LATEST")["ShardIterator"]
    began = time.monotonic()
    reply = kinesis.get_records(ShardIterator=iterator)
    assert reply["Records"] == []
    assert time.monotonic() - began < 1 * slack()
    put(aws, stream, b"later")
    (record,) = kinesis.get_records(ShardIterator=reply["NextShardIterator"])["Records"]
    assert record["Data"] == b"later"
    assert abs(record["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 5


def test_a_reader_goes_on_behind_a_sequence_number(aws):
    """How a restarted host skips what it has settled."""
    stream = aws.stream()
    numbers = [record["SequenceNumber"] for record in put(aws, stream, b"1", b"2", b"3")]
    reader = ShardReader(aws.port, REGION, stream, "shardId-000000000000", after=numbers[0])
    assert [base64.b64decode(record.data_base64) for record in reader.read()] == [b"2", b"3"]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({"StreamName": "nobody", "Records": [{"PartitionKey": "k", "Data": b"x"}]}, "ResourceNotFoundException"),
        ({"StreamName": f"{PREFIX}-market-data", "Records": [{"PartitionKey": "k", "Data": b"x"}] * 501}, "ValidationException"),
        ({"StreamName": f"{PREFIX}-market-data", "Records": [{"PartitionKey": "k", "Data": b"x" * 1_048_577}]}, "ValidationException"),
    ],
)
def test_what_kinesis_refuses_is_refused_with_its_own_code(aws, call, code):
    """The data plane hands odd requests to moto, body and all."""
    with pytest.raises(ClientError) as error:
        aws("kinesis").put_records(**call)
    assert re.fullmatch(f"{code}|InvalidArgumentException", error.value.response["Error"]["Code"])


def test_the_users_own_account_is_out_of_reach():
    """A laptop run must not touch the cloud, even where credentials lie around."""
    env = aws_environment(4566, REGION, firehose_port=4567, model_port=4568)
    assert env["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert env["AWS_CONFIG_FILE"] == env["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert env["AWS_EC2_METADATA_DISABLED"] == "true"
    assert {value for name, value in env.items() if "ENDPOINT_URL" in name} == {f"http://127.0.0.1:{port}" for port in (4566, 4567, 4568)}


def test_objects_of_any_key_come_back_as_they_were_put(aws):
    """The server around moto reads requests itself: chunks, escapes and conditions must survive it."""
    s3 = aws("s3")
    bucket = aws.resources.buckets[0]
    key, body = "symbol=ES/date=2024-03-01/a b+ü%.parquet", os.urandom(300_000)
    s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"reason": "x"})
    reply = s3.get_object(Bucket=bucket, Key=key)
    assert reply["Body"].read() == body
    assert reply["Metadata"] == {"reason": "x"}
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    with pytest.raises(ClientError, match=r"PreconditionFailed|412"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"again", IfNoneMatch="*")


def test_a_template_that_cannot_be_deployed_ends_the_endpoint_with_a_reason(tmp_path: Path):
    """At start, by name: not as a program that later misses its stream."""
    folder = write_assembly(tmp_path, {"EventSourceArn": "arn:aws:kinesis:us-east-1:1:stream/elsewhere"})
    values = StageValues(database_secret=DATABASE, cache_host="h", cache_port=1)
    (folder / "aws.json").write_bytes(msgspec.json.encode(AwsConfig(0, str(folder), str(folder / "stage.json"), values)))
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    with Supervisor(tmp_path) as supervisor:
        argv = (sys.executable, "-m", "tidemark.local.aws", "--config", str(folder / "aws.json"))
        supervisor.start(ChildSpec(name="aws", argv=argv, env=env))
        with pytest.raises(
            Exception, match=r"(?s)exit 1.*error: .*Source\.EventSourceArn: got arn:aws:kinesis:us-east-1:1:stream/elsewhere"
        ):
            supervisor.wait_ready()
    assert not (folder / "stage.json").exists()
