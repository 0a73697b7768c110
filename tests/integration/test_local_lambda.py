"""Functions of the laptop stage, called for real: host, poller and environments against a running Kinesis and SQS."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from local_support import REGION, eventually, living, login, slack, write_bare_assembly
from tidemark.errors import UnavailableError
from tidemark.local.aws import AwsConfig
from tidemark.local.deploy import StageValues
from tidemark.local.lambda_host import HostConfig
from tidemark.local.processes import free_port, tagged
from tidemark.local.resources import FunctionSpec, MappingSpec
from tidemark.local.supervisor import ChildSpec, State, Supervisor

ENV = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "SECRET_OF_THE_USER": "1"}
HANDLER = '''
"""Writes down what it gets and does what the data says."""
import base64, json, os, sys, time

CALLS = os.environ["CALLS"]

def handler(event, context):
    items = [(r["kinesis"]["sequenceNumber"], r["kinesis"]["partitionKey"], json.loads(base64.b64decode(r["kinesis"]["data"])))
             for r in event["Records"]]
    call = {"pid": os.getpid(), "items": [item["n"] for _, _, item in items], "keys": [key for _, key, _ in items],
            "left_ms": context.get_remaining_time_in_millis(), "context": [context.function_name, context.memory_limit_in_mb],
            "env": sorted(os.environ), "module": __name__, "began": time.monotonic()}
    for sequence_number, _, item in items:
        time.sleep(item.get("sleep", 0))
        if item.get("do") == "exit":
            os._exit(9)
        if item.get("do") == "raise":
            write(call)
            raise ValueError("poison")
        if item.get("do") == "report":
            write(call)
            return {"batchItemFailures": [{"itemIdentifier": sequence_number}]}
    write(call)
    return {"batchItemFailures": []}

def write(call):
    call["ended"] = time.monotonic()
    with open(CALLS, "a") as file:
        file.write(json.dumps(call) + "\\n")
'''


@pytest.fixture(scope="module")
def aws_port(tmp_path_factory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("aws")
    port = free_port().number
    values = StageValues(database_secret={"host": "h", "port": 1}, cache_host="h", cache_port=1)
    (folder / "aws.json").write_bytes(
        msgspec.json.encode(AwsConfig(port, str(write_bare_assembly(folder)), str(folder / "stage.json"), values))
    )
    with Supervisor(folder) as supervisor:
        supervisor.start(
            ChildSpec(name="aws", argv=(sys.executable, "-m", "tidemark.local.aws", "--config", str(folder / "aws.json")), env=ENV)
        )
        supervisor.wait_ready()
        yield port


class Function:
    """One function with a stream and a queue of its own; its host runs between `start` and the end of the test."""

    def __init__(self, folder: Path, port: int, supervisor: Supervisor, *, shards: int = 1, source: str = HANDLER) -> None:
        self.supervisor = supervisor
        self.folder = folder
        self.calls_file = folder / "calls.jsonl"
        self.kinesis = boto3.client("kinesis", **login(port))
        self.sqs = boto3.client("sqs", **login(port))
        self.stream = f"s-{os.getpid()}-{time.monotonic_ns()}"
        self.kinesis.create_stream(StreamName=self.stream, ShardCount=shards)
        queue = self.sqs.create_queue(QueueName=self.stream)["QueueUrl"]
        (folder / "handler.py").write_text(source)
        function = FunctionSpec(
            "recorder", "tidemark-dev-recorder", "arn:f", "arn:role", "handler.handler", {"CALLS": str(self.calls_file)}, 5, 256
        )
        mapping = MappingSpec("recorder", self.stream, f"arn:{self.stream}", 10, 0.0, 1, 2, -1, True, True, queue, "arn:q")
        self.config = HostConfig(
            function=function,
            mappings=[mapping],
            folder=str(folder),
            region=REGION,
            aws_port=port,
            env={},
            log=str(folder / "function.log"),
            metrics_file=str(folder / "metrics.json"),
            checkpoint_file=str(folder / "checkpoint.json"),
        )

    def put(self, *items: dict[str, Any], key: str = "k") -> None:
        for start in range(0, len(items), 500):
            records = [{"PartitionKey": item.get("key", key), "Data": json.dumps(item).encode()} for item in items[start : start + 500]]
            self.kinesis.put_records(StreamName=self.stream, Records=records)

    def start(self, *, timeout_s: int = 5, environments: int = 1, name: str = "recorder", **mapping: Any) -> "Function":
        self.config = replace(
            self.config,
            function=replace(self.config.function, timeout_s=timeout_s),
            mappings=[replace(self.config.mappings[0], **mapping)],
            environments=environments,
        )
        path = self.folder / "host.json"
        path.write_bytes(msgspec.json.encode(self.config))
        argv = (sys.executable, "-m", "tidemark.local.lambda_host", "--config", str(path))
        self.supervisor.start(ChildSpec(name=name, argv=argv, env=ENV))
        self.supervisor.wait_ready([name])
        return self

    def drain(self, name: str = "recorder") -> list[dict[str, Any]]:
        """Wait until everything is worked off; the calls of the handler."""
        self.supervisor.drain(name, timeout_s=30 * slack())
        return self.calls()

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()] if self.calls_file.exists() else []

    def items(self) -> list[int]:
        return [item for call in self.calls() for item in call["items"]]

    def failures(self) -> list[dict[str, Any]]:
        """Messages of the on-failure queue."""
        found = []
        while messages := self.sqs.receive_message(QueueUrl=self.config.mappings[0].on_failure, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.sqs.delete_message(QueueUrl=self.config.mappings[0].on_failure, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        return found

    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(self.config.metrics_file).read_text())
        return found


@pytest.fixture
def make(tmp_path: Path, aws_port: int) -> Iterator[Callable[..., Function]]:
    with Supervisor(tmp_path) as supervisor:
        yield lambda **settings: Function(tmp_path, aws_port, supervisor, **settings)
    assert tagged(supervisor.tag) == []


def test_records_reach_the_function_in_the_shards_order(make):
    """In batches of at most the mapping's size, none lost, none twice."""
    function = make()
    function.put(*({"n": i} for i in range(95)))
    calls = function.start().drain()
    assert [item for call in calls for item in call["items"]] == list(range(95))
    assert max(len(call["items"]) for call in calls) == 10
    assert function.metrics()["counts"] == {"invocations": len(calls), "records": 95}


def test_the_function_sees_its_own_environment_and_nothing_of_the_users(make):
    """As in AWS: its variables, the runtime's, a context that knows the time left, and a module name of its own."""
    function = make().start(timeout_s=7)
    function.put({"n": 1})
    (call,) = eventually(function.calls)
    assert 6_000 < call["left_ms"] <= 7_000
    assert call["context"] == ["tidemark-dev-recorder", "256"]
    assert {"CALLS", "AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "LAMBDA_TASK_ROOT", "_HANDLER"} <= set(call["env"])
    assert "SECRET_OF_THE_USER" not in call["env"]
    assert "TIDEMARK_LAMBDA_FD" not in call["env"]
    assert call["module"] == "tidemark_lambda_tidemark_dev_recorder"


def test_a_waiting_host_invokes_within_milliseconds(make):
    """The features leg has 50 ms in all; waiting must cost almost nothing of it."""
    function = make().start()
    for i in range(20):
        function.put({"n": i})
        time.sleep(0.02)
    eventually(lambda: len(function.items()) == 20)
    function.drain()
    age = function.metrics()["latency_ns"]["recorder.record_age"]
    assert age["n"] >= 10
    assert age["p50"] < 50_000_000 * slack()


def test_a_partial_answer_resumes_at_the_reported_record(make):
    """What was done is not done again; the poison record ends in the queue, alone."""
    function = make()
    function.put({"n": 0}, {"n": 1}, {"n": 2, "do": "report"}, {"n": 3}, {"n": 4})
    calls = function.start().drain()
    assert calls[0]["items"] == [0, 1, 2, 3, 4]
    assert all(0 not in call["items"] for call in calls[1:])
    assert [call["items"] for call in calls if call["items"] == [3, 4]] == [[3, 4]]
    (message,) = function.failures()
    assert message["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert message["KinesisBatchInfo"]["batchSize"] == 1
    assert message["KinesisBatchInfo"]["startSequenceNumber"] == "3"
    assert message["KinesisBatchInfo"]["shardId"] == "shardId-000000000000"


def test_an_exception_bisects_until_the_poison_record_stands_alone(make):
    """A handler that only ever raises still loses nothing but the poison."""
    function = make()
    function.put(*({"n": i, **({"do": "raise"} if i == 5 else {})} for i in range(8)))
    function.start(partial=False)
    function.drain()
    done = [call["items"] for call in function.calls() if 5 not in call["items"]]
    assert sorted(item for items in done for item in items) == [0, 1, 2, 3, 4, 6, 7]
    (message,) = function.failures()
    assert message["responseContext"]["functionError"] == "Unhandled"
    assert (message["KinesisBatchInfo"]["startSequenceNumber"], message["KinesisBatchInfo"]["endSequenceNumber"]) == ("6", "6")
    counts = function.metrics()["counts"]
    assert counts["discarded.RetryAttemptsExhausted"] == 1
    assert counts["bisections"] == 3
    assert function.metrics()["last_error"] == "ValueError: poison"


def test_without_bisection_the_whole_batch_is_given_up_after_its_retries(make):
    """One attempt and two retries; the next batch goes on."""
    function = make()
    function.put(*({"n": i, **({"do": "raise"} if i == 3 else {})} for i in range(12)))
    calls = function.start(bisect=False, partial=False).drain()
    assert [call["items"] for call in calls] == [list(range(10))] * 3 + [[10, 11]]
    (message,) = function.failures()
    assert message["KinesisBatchInfo"]["batchSize"] == 10
    assert message["requestContext"]["approximateInvokeCount"] == 3


def test_a_function_that_overruns_its_time_is_killed_and_the_stream_goes_on(make):
    """In a new environment: nothing of the old one may linger, least of all the process."""
    function = make()
    function.put({"n": 0}, key="k")
    function.start(timeout_s=1, retries=0, batch_size=1)
    first = eventually(function.calls)[0]["pid"]
    began = time.monotonic()
    function.put({"n": 1, "sleep": 30}, {"n": 2})
    calls = function.drain()
    assert time.monotonic() - began < 10 * slack()
    assert [call["items"] for call in calls] == [[0], [2]]
    assert calls[1]["pid"] != first
    assert not living(first)
    (message,) = function.failures()
    assert message["KinesisBatchInfo"]["startSequenceNumber"] == "2"
    metrics = function.metrics()
    assert metrics["counts"]["timeouts"] == 1
    assert metrics["last_error"] == "Task timed out after 1.00 seconds"


def test_an_environment_that_dies_is_replaced_and_the_records_are_retried(make):
    """A crash in native code is an error of the invocation, not the end of the stage."""
    function = make()
    function.put({"n": 0, "do": "exit"}, {"n": 1})
    calls = function.start(retries=1).drain()
    assert [call["items"] for call in calls] == [[1]]
    assert "ended with 9" in function.metrics()["last_error"]
    assert len(function.failures()) == 1


def test_records_that_are_too_old_are_not_sent(make):
    """A host that comes late, or a function that failed long: stale market data goes to the queue, not to the model."""
    function = make()
    function.put({"n": 0})
    time.sleep(5.2)
    function.put({"n": 1})
    calls = function.start(max_age_s=5).drain()
    assert [call["items"] for call in calls] == [[1]]
    (message,) = function.failures()
    assert message["requestContext"]["condition"] == "RecordAgeExceeded"
    assert message["requestContext"]["approximateInvokeCount"] == 0


def test_parallel_lanes_keep_the_order_of_every_key_and_run_at_once(make):
    """The parallelisation factor: several batches of a shard at a time, none of one key."""
    function = make()
    keys = ("ES", "NQ", "YM", "ZN", "DX", "RTY")
    function.put(*({"n": 100 * k + i, "key": key, "sleep": 0.02} for i in range(10) for k, key in enumerate(keys)))
    calls = function.start(parallelization=3, environments=3, batch_size=5).drain()
    for k in range(len(keys)):
        assert [n for call in calls for n in call["items"] if n // 100 == k] == [100 * k + i for i in range(10)]
    spans = sorted((call["began"], call["ended"]) for call in calls)
    assert any(later[0] < earlier[1] for earlier, later in zip(spans, spans[1:], strict=False))
    for key in keys:
        mine = sorted((call["began"], call["ended"]) for call in calls if key in call["keys"])
        assert all(earlier[1] <= later[0] for earlier, later in zip(mine, mine[1:], strict=False))


def test_every_shard_is_read(make):
    """Each in its own order."""
    function = make(shards=3)
    function.put(*({"n": i, "key": f"k{i % 12}"} for i in range(60)))
    function.start().drain()
    assert sorted(function.items()) == list(range(60))


def test_sigterm_finishes_the_batch_and_another_host_goes_on_behind_it(make):
    """A restart loses nothing and, when it was orderly, repeats nothing."""
    function = make()
    function.put(*({"n": i, "sleep": 0.05} for i in range(40)))
    function.start(batch_size=5)
    eventually(lambda: len(function.calls()) >= 2)
    child = function.supervisor.children["recorder"]
    child.state = State.STOPPING
    child.process.send_signal(signal.SIGTERM)
    eventually(lambda: child.process.poll() is not None)
    assert child.process.returncode == 0
    done = function.items()
    assert done == list(range(len(done)))
    assert len(done) < 40
    function.start(name="again", batch_size=5).drain("again")
    assert function.items() == list(range(40))


def test_a_killed_host_repeats_at_most_what_was_not_settled(make):
    """kill -9: at least once, in order, and the function's process goes with its host."""
    function = make()
    function.put(*({"n": i, "sleep": 0.02} for i in range(30)))
    function.start(batch_size=5)
    worker = eventually(function.calls)[0]["pid"]
    child = function.supervisor.children["recorder"]
    child.state = State.STOPPING
    child.process.kill()
    eventually(lambda: child.process.poll() is not None)
    eventually(lambda: not living(worker), timeout_s=2)
    function.start(name="again", batch_size=5).drain("again")
    assert sorted(set(function.items())) == list(range(30))
    seen = list(dict.fromkeys(function.items()))
    assert seen == sorted(seen)


def test_a_handler_that_cannot_be_loaded_fails_the_start_with_its_reason(make):
    """An import error of a handler is the developer's first question."""
    function = make(source="import nothing_of_that_name\n")
    with pytest.raises(UnavailableError, match=r"(?s)recorder: ModuleNotFoundError: No module named 'nothing_of_that_name'"):
        function.start()


def test_a_missing_setting_is_named_at_start(make):
    """Handlers read their settings when they are loaded."""
    function = make(source="import os\nos.environ['DATABASE_SECRET_ARN']\ndef handler(event, context): ...\n")
    with pytest.raises(UnavailableError, match=r"recorder: KeyError: 'DATABASE_SECRET_ARN'"):
        function.start()


def test_five_hundred_records_a_second_and_more(make):
    """Of about a kilobyte, in batches of a hundred, with everything between Kinesis and the handler in the measurement."""
    function = make()
    function.put(*({"n": i, "pad": "x" * 1_000} for i in range(3_000)))
    function.start(batch_size=100)
    began = time.monotonic()
    function.drain()
    assert len(function.items()) == 3_000
    assert 3_000 / (time.monotonic() - began) > 500 / slack()
