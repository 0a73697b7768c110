"""`tidemark invoke`: one event through one Lambda function of the template, against real services that live for this call only."""

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tidemark.errors import bad_input

if TYPE_CHECKING:
    from tidemark.local.environment import Environment, Invocation
    from tidemark.local.stage import LocalStage

EXIT_OK, EXIT_NO = 0, 1
NEEDS_MODEL = "signal"
DRAIN_S = 60.0


def invoke(
    function: str = typer.Argument(help="Folder of the function below lambdas/, such as market_data."),
    event: Path = typer.Argument(help="JSON file of the event, such as events/market_data/good.json."),
    instruments: str = typer.Option("ES", help="Comma-separated futures that the stage trades."),
    model: Path | None = typer.Option(None, help="Model folder for the endpoint; the signal function needs one."),
) -> int:
    """Run a function once on an event; print its answer and what it wrote. Exit 1 when it hands a record back or fails."""
    from tidemark.instruments import lookup
    from tidemark.models.artifact import load

    body = read_event(event)
    require_function(function)
    specs = [lookup(symbol.strip(), source="--instruments") for symbol in instruments.split(",")]
    if model is not None:
        load(model)
    elif function == NEEDS_MODEL:
        raise bad_input("tidemark invoke", "--model", "nothing", "a model folder", f"{function} asks the model endpoint")
    parameter = json.dumps([spec.to_manifest() for spec in specs])
    with tempfile.TemporaryDirectory(prefix="tidemark-invoke-") as folder:
        run_dir = Path(folder)
        call, written = invoke_once(run_dir, function, body, parameter, model)
        if call.outcome.error is not None:
            print(f"error: {function}: {call.outcome.error}", file=sys.stderr)
            print(_tail(run_dir, function), file=sys.stderr)
    answer = call.outcome.response
    print(json.dumps({"response": answer, "duration_ms": call.duration_ns // 1_000_000, "written": written}, indent=1))
    return EXIT_NO if call.outcome.error is not None or handed_back(answer) else EXIT_OK


def invoke_once(run_dir: Path, function: str, body: bytes, instruments: str, model: Path | None) -> "tuple[Invocation, dict[str, Any]]":
    """(the call, what it wrote) on a fresh stage in `run_dir`. Raises UnavailableError when the stage or the handler does not start."""
    from tidemark.cli.run import assembly_module
    from tidemark.local.run import endpoint_child
    from tidemark.local.stage import StageOptions, start_backbone
    from tidemark.local.supervisor import Supervisor

    options = StageOptions(
        run_dir=run_dir,
        assembly=assembly_module().ensure_assembly("dev"),
        parameters={"INSTRUMENTS_PARAMETER": instruments},
        environment={"MARKET_DATA_SAMPLE": "1", "ACCOUNT": "paper"},
    )
    stages: list[LocalStage] = []
    try:
        with Supervisor(run_dir) as supervisor:
            stage = start_backbone(supervisor, options)
            stages.append(stage)
            if model is not None:
                supervisor.start(endpoint_child(stage, model))
                supervisor.wait_ready()
            environment = function_environment(stage, function)
            try:
                call = environment.invoke(body)
            finally:
                environment.stop()
            supervisor.drain("firehose", timeout_s=DRAIN_S)
            return call, what_was_written(stage)
    finally:
        for stage in stages:  # its data may lie outside `run_dir`; stopped by now
            stage.database.remove()


def function_environment(stage: "LocalStage", function: str, **replaced: str) -> "Environment":
    """An execution environment of a function, set up as its host would; `replaced` are variables of another value."""
    import msgspec

    from tidemark.local.environment import Environment, lambda_environment
    from tidemark.local.lambda_host import HostConfig

    stage.processor(function)  # writes the host's configuration
    config = msgspec.json.decode((stage.options.run_dir / "config" / f"{function}.json").read_bytes(), type=HostConfig)
    env = {**lambda_environment(config.function, Path(config.folder), config.region), **config.env, **replaced}
    return Environment(config.function, env, Path(config.log))


def what_was_written(stage: "LocalStage") -> dict[str, Any]:
    """Rows per table, rows in the lake, records per stream, and each quarantined object with its reason."""
    import boto3

    from tidemark.local.ledger_check import count_stored

    login = {
        "endpoint_url": stage.aws_env["AWS_ENDPOINT_URL"],
        "region_name": stage.resources.region,
        "aws_access_key_id": stage.aws_env["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": stage.aws_env["AWS_SECRET_ACCESS_KEY"],
    }
    s3 = boto3.client("s3", **login)
    stored = count_stored(stage.database.admin_dsn, s3, stage.resources)
    return {
        "tables": table_rows(stage.database.admin_dsn),
        "lake": {"depth": stored.lake_depth, "trades": stored.lake_trades},
        "streams": stream_records(boto3.client("kinesis", **login), list(stage.resources.streams)),
        "quarantined": quarantined_objects(s3, stage.resources.functions["market_data"].env["QUARANTINE_BUCKET"]),
    }


def table_rows(dsn: str) -> dict[str, int]:
    """{table: rows} of every table that has rows; a partitioned table counts as one."""
    import psycopg

    query = "select relname from pg_class where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace"
    counts = {}
    with psycopg.connect(dsn) as connection:
        for (name,) in connection.execute(query).fetchall():
            row = connection.execute(psycopg.sql.SQL("select count(*) from {}").format(psycopg.sql.Identifier(name))).fetchone()
            counts[name] = int(row[0]) if row is not None else 0
    return {name: count for name, count in sorted(counts.items()) if count and name != "alembic_version"}


def quarantined_objects(s3: Any, bucket: str) -> list[dict[str, str]]:
    """Key and reason of every object below quarantine/."""
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="quarantine/"):
        for entry in page.get("Contents", []):
            head = s3.head_object(Bucket=bucket, Key=entry["Key"])
            found.append({"key": entry["Key"], "reason": head["Metadata"]["reason"]})
    return found


def stream_records(kinesis: Any, streams: list[str]) -> dict[str, int]:
    """{stream: records} of streams that have any."""
    counts = {name: sum(len(_shard(kinesis, name, shard["ShardId"])) for shard in _shards(kinesis, name)) for name in streams}
    return {name: count for name, count in sorted(counts.items()) if count}


def read_event(path: Path) -> bytes:
    """The file's bytes, which are a JSON object. Raises InputError."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise bad_input(str(path), "EVENT", error.strerror or "unreadable", "a readable JSON file") from error
    try:
        value = json.loads(body)
    except ValueError as error:
        raise bad_input(str(path), "EVENT", str(error), "a JSON object") from error
    if not isinstance(value, dict):
        raise bad_input(str(path), "EVENT", f"a JSON {type(value).__name__}", "a JSON object")
    return body


def require_function(name: str) -> None:
    """Raises InputError, with the names there are, for a function without a handler here."""
    import tidemark

    folder = Path(tidemark.__file__).parents[2] / "lambdas"
    known = sorted(path.parent.name for path in folder.glob("*/handler.py"))
    if name not in known:
        raise bad_input("tidemark invoke", "FUNCTION", name, f"one of {', '.join(known) or 'none'}")


def handed_back(answer: Any) -> bool:
    """Whether the function wants a record again."""
    return bool(isinstance(answer, dict) and answer.get("batchItemFailures"))


def _shards(kinesis: Any, stream: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kinesis.list_shards(StreamName=stream)["Shards"]
    return found


def _shard(kinesis: Any, stream: str, shard: str) -> list[dict[str, Any]]:
    start = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    records: list[dict[str, Any]] = kinesis.get_records(ShardIterator=start)["Records"]
    return records


def _tail(run_dir: Path, function: str) -> str:
    from tidemark.local.processes import log_tail

    return log_tail(run_dir / "logs" / f"{function}.log")
