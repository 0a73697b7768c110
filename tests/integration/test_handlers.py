"""The real handlers on the sample events, with real PostgreSQL, Redis, S3, Kinesis and Firehose: stored, refused, repeated."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import msgspec
import psycopg
import pytest
import redis

from local_support import free_folder, login
from run_fixtures import World, world  # noqa: F401 - a fixture
from tidemark.cli.invoke import function_environment, quarantined_objects
from tidemark.cli.run import assembly_module
from tidemark.instruments import lookup
from tidemark.local.environment import Environment
from tidemark.local.ledger_check import count_stored
from tidemark.local.postgres import CACHE_VARIABLE
from tidemark.local.processes import free_port
from tidemark.local.run import endpoint_child
from tidemark.local.stage import LocalStage, StageOptions, start_backbone
from tidemark.local.supervisor import Supervisor

EVENTS = Path(__file__).resolve().parents[2] / "events"
TABLES = ("market_data", "bars", "data_quality", "ml_predictions", "trading_signals")
ALL_GOOD = {"batchItemFailures": []}
OF_RUNS = "select symbol, seq, kind, event_ts_ns, bid_price, ask_price, last_price, bid_size, ask_size, last_size, aggressor"
MEMORY_MAX = "512mb"


@dataclass
class Line:
    """The running stage with one environment per function, and its stores as a test reads them."""

    stage: LocalStage
    supervisor: Supervisor
    functions: dict[str, Environment]
    s3: Any
    cache: Any
    database: "psycopg.Connection[tuple[Any, ...]]"
    bucket: str

    def invoke(self, sample: str) -> Any:
        """The handler's answer to events/SAMPLE.json. A handler that raises fails the test."""
        call = self.functions[sample.partition("/")[0]].invoke((EVENTS / f"{sample}.json").read_bytes())
        assert call.outcome.error is None, call.outcome.error
        return call.outcome.response

    def rows(self) -> list[tuple[Any, ...]]:
        """market_data without the load's own columns."""
        return self.database.execute(f"{OF_RUNS} from market_data order by symbol, seq").fetchall()

    def seqs(self) -> list[int]:
        """Sequence numbers of the stored events."""
        return [row[1] for row in self.rows()]

    def quality(self) -> dict[tuple[str, str], int]:
        """{(symbol, reason): events}."""
        return {(symbol, reason): n for symbol, reason, n in self.database.execute("select symbol, reason, n from data_quality").fetchall()}

    def quarantined(self) -> list[tuple[str, str]]:
        """(key, reason) below quarantine/."""
        return [(item["key"].removeprefix("quarantine/"), item["reason"]) for item in quarantined_objects(self.s3, self.bucket)]

    def lake(self) -> tuple[int, int]:
        """(depth, trades) in the lake, once Firehose has delivered what it holds."""
        self.supervisor.drain("firehose", timeout_s=30.0)
        del self.supervisor.children["firehose"]
        self.supervisor.start(self.stage.delivery())
        self.supervisor.wait_ready(["firehose"])
        stored = count_stored(self.stage.database.admin_dsn, self.s3, self.stage.resources)
        return stored.lake_depth, stored.lake_trades

    def stored(self) -> tuple[Any, ...]:
        """Everything that a call can leave: database, counts, quarantine, checkpoint, lake."""
        return self.rows(), self.quality(), self.quarantined(), self.cache.get("ckpt:features:ES"), self.lake()

    def forget(self) -> None:
        """As if nothing had ever come."""
        self.cache.config_set("maxmemory", MEMORY_MAX)
        self.cache.flushall()
        self.database.execute(f"truncate {', '.join(TABLES)}")
        for entry in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", []):
            self.s3.delete_object(Bucket=self.bucket, Key=entry["Key"])


@pytest.fixture(scope="session")
def running(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:  # noqa: F811
    """One stage for the file: it trades ES alone, and a tiny model answers."""
    folder = free_folder(tmp_path_factory.mktemp("handlers"))
    options = StageOptions(
        run_dir=folder / "run",
        assembly=assembly_module().ensure_assembly("dev"),
        parameters={"INSTRUMENTS_PARAMETER": json.dumps([lookup("ES").to_manifest()])},
        environment={"MARKET_DATA_SAMPLE": "1", "ACCOUNT": "paper"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(world.cache))
        patch.setenv("OMP_NUM_THREADS", "1")
        with Supervisor(options.run_dir) as supervisor:
            stage = start_backbone(supervisor, options)
            supervisor.start(endpoint_child(stage, world.model))
            supervisor.wait_ready()
            functions = {name: function_environment(stage, name) for name in ("market_data", "signal")}
            bucket = stage.resources.functions["market_data"].env["QUARANTINE_BUCKET"]
            cache = redis.Redis(port=stage.cache.port, password=stage.cache.auth_token)
            with psycopg.connect(stage.database.admin_dsn, autocommit=True) as database:
                yield Line(stage, supervisor, functions, boto3.client("s3", **login(stage.aws_port)), cache, database, bucket)
            for environment in functions.values():
                environment.stop()


@pytest.fixture
def line(running: Line) -> Line:
    """The stage, empty but for what Firehose still holds."""
    running.forget()
    return running


@pytest.fixture
def lake_line(running: Line) -> Line:
    """The stage, empty, Firehose's buffers too: for tests that count the lake."""
    running.lake()
    running.forget()
    return running


def test_good_events_reach_the_database_the_lake_and_the_cache(lake_line):
    """The one case that everything else is measured against."""
    assert lake_line.invoke("market_data/good") == ALL_GOOD
    assert lake_line.seqs() == [1, 2, 3, 4, 5]
    assert [row[2] for row in lake_line.rows()] == [0, 1, 0, 0, 0], "the second is the trade"
    first, trade = lake_line.rows()[0], lake_line.rows()[1]
    assert (float(first[4]), float(first[5]), first[7], first[8]) == (6000.0, 6000.25, 10, 10)
    assert (float(trade[6]), trade[9], trade[10]) == (6000.25, 3, 1)
    assert lake_line.quality() == {}
    assert lake_line.quarantined() == []
    assert lake_line.cache.get("ckpt:features:ES:seq") == b"5"
    assert lake_line.lake() == (4, 1)


def test_a_batch_that_comes_again_changes_nothing(lake_line):
    """Kinesis delivers at least once."""
    lake_line.invoke("market_data/good")
    once, state = lake_line.rows(), lake_line.cache.get("ckpt:features:ES:seq")
    assert lake_line.invoke("market_data/good") == ALL_GOOD
    assert lake_line.rows() == once
    assert lake_line.cache.get("ckpt:features:ES:seq") == state
    assert lake_line.quarantined() == []
    assert lake_line.lake() == (4, 1)


def test_a_record_twice_in_one_batch_is_stored_once(line):
    """A producer that retries a put sends it twice; the second is counted, not refused."""
    assert line.invoke("market_data/duplicate") == ALL_GOOD
    assert line.seqs() == [1, 2, 3]
    assert line.quality() == {("ES", "duplicate"): 3}
    assert line.quarantined() == []


def test_a_late_event_does_not_turn_the_book_back(line):
    """What is older than the book that we have would make it false."""
    assert line.invoke("market_data/late") == ALL_GOOD
    assert line.seqs() == [4]
    assert line.quality() == {("ES", "duplicate"): 1}


@pytest.mark.parametrize(
    ("sample", "reason", "kept"),
    [("crossed", "CROSSED", [1, 3]), ("one_sided", "EMPTY_SIDE", [1]), ("negative_size", "NEGATIVE_QTY", [1])],
)
def test_an_unusable_book_is_kept_apart_with_its_reason(lake_line, sample, reason, kept):
    """Its neighbours are good data, and it is evidence about the feed: neither may be lost."""
    assert lake_line.invoke(f"market_data/{sample}") == ALL_GOOD
    assert lake_line.seqs() == kept
    assert lake_line.quality() == {("ES", reason): 1}
    assert lake_line.quarantined() == [("events/ES/00000000000000000002.jsonl", reason)]
    body = lake_line.s3.get_object(Bucket=lake_line.bucket, Key="quarantine/events/ES/00000000000000000002.jsonl")["Body"].read()
    entry = msgspec.json.decode(body)
    assert entry["reason"] == reason
    assert json.loads(entry["event"])["seq"] == 2
    assert lake_line.lake() == (len(kept), 0)


@pytest.mark.parametrize(
    ("sample", "reasons", "kept"),
    [
        ("truncated", 1, [4]),
        ("damaged", 1, [4]),
        ("not_a_block", 2, [1]),
        ("unknown_symbol", 1, [1]),
    ],
)
def test_a_record_that_cannot_be_read_is_kept_whole_and_does_not_block_its_shard(line, sample, reasons, kept):
    """A shard that waits for a poisoned record stops trading; a record thrown away can never be explained."""
    assert line.invoke(f"market_data/{sample}") == ALL_GOOD
    assert line.seqs() == kept
    refused = line.quarantined()
    assert len(refused) == reasons
    event = json.loads((EVENTS / "market_data" / f"{sample}.json").read_text())
    sent = {record["kinesis"]["sequenceNumber"]: record["kinesis"]["data"] for record in event["Records"]}
    for key, reason in refused:
        assert key.startswith("records/shardId-000000000006/")
        assert line.quality()[("*", reason)] >= 1
        body = line.s3.get_object(Bucket=line.bucket, Key=f"quarantine/{key}")["Body"].read()
        assert msgspec.json.encode(body) == f'"{sent[key.rpartition("/")[2]]}"'.encode(), "the very bytes"
    assert sum(line.quality().values()) == reasons
    line.invoke(f"market_data/{sample}")
    assert sum(count for (symbol, _), count in line.quality().items() if symbol == "*") == reasons, "a repeat counts nothing twice"
    assert len(line.quarantined()) == reasons


@pytest.mark.parametrize("sample", ["market_data/empty_batch", "market_data/heartbeat", "signal/empty_batch", "signal/heartbeat"])
def test_nothing_to_do_is_no_error(line, sample):
    """Heartbeats carry the time on a quiet market."""
    assert line.invoke(sample) == ALL_GOOD
    assert line.rows() == []
    assert line.quality() == {}


def _cache_is_full(line: Line) -> Callable[[], None]:
    """Reads work, writes do not: the last step of a chunk fails, when everything before it is done."""
    line.cache.config_set("maxmemory", "1")
    return lambda: line.cache.config_set("maxmemory", MEMORY_MAX)


def _database_refuses(line: Line) -> Callable[[], None]:
    line.database.execute("alter table market_data rename to market_data_away")
    return lambda: line.database.execute("alter table market_data_away rename to market_data")


@pytest.mark.parametrize("fault", [_cache_is_full, _database_refuses])
@pytest.mark.parametrize("sample", ["good", "crossed"])
def test_after_an_outage_a_repeat_leaves_exactly_what_one_good_call_leaves(lake_line, fault, sample):
    """Lambda repeats from the first record that is handed back; half a batch must not show afterwards."""
    lake_line.invoke(f"market_data/{sample}")
    expected = lake_line.stored()
    lake_line.forget()
    mend = fault(lake_line)
    try:
        failures = lake_line.invoke(f"market_data/{sample}")["batchItemFailures"]
    finally:
        mend()
    event = json.loads((EVENTS / "market_data" / f"{sample}.json").read_text())
    assert failures == [{"itemIdentifier": event["Records"][0]["kinesis"]["sequenceNumber"]}]
    assert lake_line.cache.get("ckpt:features:ES:seq") is None, "no progress is noted"
    assert lake_line.invoke(f"market_data/{sample}") == ALL_GOOD
    assert lake_line.stored() == expected


def test_an_unreadable_record_is_counted_although_the_database_was_away(line):
    """Its copy is in S3 by then; the count must not be lost with the first attempt."""
    mend = _database_refuses(line)
    try:
        assert line.invoke("market_data/damaged")["batchItemFailures"]
    finally:
        mend()
    assert line.invoke("market_data/damaged") == ALL_GOOD
    assert sum(line.quality().values()) == len(line.quarantined()) == 1


def test_a_cache_that_does_not_answer_hands_the_batch_back(line):
    """Without its checkpoint a function does not know what it has done."""
    environment = function_environment(line.stage, "market_data", CACHE_ENDPOINT=f"127.0.0.1:{free_port().number}")
    try:
        call = environment.invoke((EVENTS / "market_data" / "good.json").read_bytes())
    finally:
        environment.stop()
    assert call.outcome.error is None
    assert len(call.outcome.response["batchItemFailures"]) == 1
    assert line.rows() == []


@pytest.mark.parametrize("function", ["market_data", "signal"])
def test_a_function_that_runs_out_of_time_hands_back_what_is_left(line, function):
    """Five seconds are less than a fifth of thirty: it must not begin what it could not finish."""
    whole = function_environment(line.stage, function)
    environment = Environment(replace(line.stage.resources.functions[function], timeout_s=5), whole._env, whole._log)
    event = json.loads((EVENTS / function / "good.json").read_text())
    try:
        call = environment.invoke(json.dumps(event).encode())
    finally:
        environment.stop()
    assert call.outcome.error is None
    assert call.outcome.response == {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["kinesis"]["sequenceNumber"]}]}
    assert line.rows() == []


def test_features_lead_to_predictions_and_a_repeat_to_no_more(line):
    """Predictions are keyed by symbol, model and sequence number."""
    assert line.invoke("signal/good") == ALL_GOOD
    query = "select symbol, seq, predicted_direction, confidence from ml_predictions order by symbol, seq"
    once = line.database.execute(query).fetchall()
    assert line.invoke("signal/good") == ALL_GOOD
    assert line.database.execute(query).fetchall() == once


@pytest.mark.parametrize(("sample", "refused"), [("wrong_schema", 1), ("not_features", 2)])
def test_features_of_another_schema_are_kept_and_the_rest_is_answered(line, sample, refused):
    """A deployment in two steps mixes schemas for a moment; numbers in other columns would be believed."""
    assert line.invoke(f"signal/{sample}") == ALL_GOOD
    assert [key.startswith("features/") for key, _ in line.quarantined()] == [True] * refused
    assert line.cache.get("ckpt:signal:ES:seq") == b"1", "the good batch was worked on"


def test_a_model_endpoint_that_is_gone_hands_the_batch_back(line):
    """No prediction is better than a made-up one; the batch waits for the endpoint."""
    gone = f"http://127.0.0.1:{free_port().number}"
    environment = function_environment(line.stage, "signal", AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=gone)
    try:
        call = environment.invoke((EVENTS / "signal" / "good.json").read_bytes())
    finally:
        environment.stop()
    assert call.outcome.error is None
    assert len(call.outcome.response["batchItemFailures"]) == 1
    assert line.cache.get("ckpt:signal:ES:seq") is None
