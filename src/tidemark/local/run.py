"""One replay through the whole line on a laptop: services, gateway, processors, endpoint, execution, page; then the run's folder.

Children are watched: the stateless ones are started anew when they die, any other death ends the run cleanly and says what happened.
"""

import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import boto3
import msgspec
import numpy as np
import psycopg
import redis

import tidemark
from tidemark.adapters.cache import PAGE_CHANNEL, PAGE_LAST
from tidemark.adapters.dataset.store import Dataset
from tidemark.adapters.gateway import PROGRESS_KEY
from tidemark.adapters.parquet import write_table
from tidemark.adapters.runfolder import PREDICTIONS, git_revision, read_run_journal, write_run_files
from tidemark.book.slicing import THROUGHPUT
from tidemark.budgets import LEG_BUDGETS_NS
from tidemark.engine.journal import RunStarted
from tidemark.engine.result import EngineResult
from tidemark.errors import UnavailableError, bad_input
from tidemark.local.ledger_check import StoredRows, count_stored
from tidemark.local.processes import free_port
from tidemark.local.stage import (
    PHASE_EXECUTION,
    PHASE_FEED,
    PHASE_MODELS,
    PHASE_PROCESSORS,
    LocalStage,
    StageOptions,
    python_environment,
    start_backbone,
)
from tidemark.local.supervisor import ChildEvent, ChildSpec, OnExit, State, Supervisor
from tidemark.research.kpis import Target
from tidemark.research.summary import build_summary

PROJECT: Final = Path(tidemark.__file__).parents[2]
PROCESSORS: Final = ("market_data", "signal")
DRAIN_S: Final = 300.0
ENDPOINT_READY_S: Final = 60.0
ACCOUNT: Final = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a run was asked for. `from_ns` leaves out the events that the model was trained on."""

    replay: Path
    model: Path
    out: Path
    assembly: Path
    speed: str = "max"
    port: int = 8080
    seed: int = 7
    sample: int = 1
    from_ns: int = 0
    engine_config: Path | None = None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the replay is."""

    done: int
    total: int


class Narrator(Protocol):
    """How a run speaks to whoever started it; the command line prints, tests listen."""

    def say(self, text: str) -> None:
        """One line."""
        ...

    def progress(self, progress: Progress) -> None:
        """The replay has moved on."""
        ...


def execute(options: RunOptions, narrator: Narrator, targets: Mapping[str, Target] | None = None) -> dict[str, Any]:
    """Run to the end and return the summary. Raises UnavailableError with the reason when the run could not finish.

    Everything that was started is stopped when this returns, however it returns.
    """
    data = Dataset.open(options.replay)
    rows_in = _source_rows(data, options.from_ns)
    options.out.mkdir(parents=True, exist_ok=True)
    with Supervisor(options.out, on_event=lambda event: _tell(event, narrator)) as supervisor:
        stage = _start_services(supervisor, options, data, narrator)
        _start_line(supervisor, stage, options, narrator)
        page = _Page(stage, supervisor, narrator)
        reason = supervisor.run(until=lambda: _finished(supervisor), on_tick=page.tick)
        if reason is not None:
            raise UnavailableError(f"the run was stopped: {reason}")
        narrator.say("replay finished, working off what is still in the streams")
        for name in (*PROCESSORS, "firehose"):
            supervisor.drain(name, timeout_s=DRAIN_S)
        feed = page.feed_latency()
        stored = count_stored(stage.database.admin_dsn, _s3(stage), stage.resources)
        page.tick()
        return _write_results(options, data, stage, stored, rows_in, {"feed": feed}, targets)


def _start_services(supervisor: Supervisor, options: RunOptions, data: Dataset, narrator: Narrator) -> LocalStage:
    narrator.say("starting PostgreSQL, Redis, the AWS API and Firehose")
    specs = json.dumps([spec.to_manifest() for spec in data.instruments.values()])
    stage_options = StageOptions(
        run_dir=options.out,
        assembly=options.assembly,
        parameters={"INSTRUMENTS_PARAMETER": specs},
        environment={"MARKET_DATA_SAMPLE": str(options.sample), "ACCOUNT": ACCOUNT},
    )
    stage = start_backbone(supervisor, stage_options)
    for note in stage.notes:
        narrator.say(note)
    return stage


def _start_line(supervisor: Supervisor, stage: LocalStage, options: RunOptions, narrator: Narrator) -> None:
    narrator.say("starting the model endpoint, the Lambda functions, the page")
    lock_step = {} if options.speed == "1" else {"REPLAY_CLOCK": "event"}
    supervisor.start(endpoint_child(stage, options.model))
    for name in PROCESSORS:
        supervisor.start(replace(stage.processor(name, env=lock_step), on_exit=OnExit.RESTART))
    page_port = free_port(options.port)
    if page_port.note is not None:
        narrator.say(page_port.note)
    supervisor.start(_dashboard(stage, page_port.number))
    supervisor.wait_ready()
    narrator.say(f"live page: http://127.0.0.1:{page_port.number}")
    socket_path = _socket_path(stage)
    replay = {
        "REPLAY_DATASET": str(options.replay.absolute()),
        "REPLAY_SPEED": options.speed,
        "REPLAY_FROM_NS": str(options.from_ns),
        "FEED_SOCKET": str(socket_path),
    }
    supervisor.start(_task(stage, "feed_gateway", replay, PHASE_FEED, probe=socket_path.exists))
    supervisor.wait_ready(["feed_gateway"])
    execution = {
        **lock_step,
        "REPLAY_SEED": str(options.seed),
        "FEED_SOCKET": str(socket_path),
        "JOURNAL_FILE": str((options.out / "recorder.bin").absolute()),
        "METRICS_FILE": str((options.out / "metrics" / "execution.json").absolute()),
        "ENGINE_CONFIG": "" if options.engine_config is None else str(options.engine_config.absolute()),
    }
    supervisor.start(_task(stage, "execution", execution, PHASE_EXECUTION))


def _task(stage: LocalStage, name: str, extra: Mapping[str, str], phase: int, probe: Callable[[], bool] | None = None) -> ChildSpec:
    main = PROJECT / "ecs_tasks" / name / "main.py"
    env = stage.program_env(name, {"CACHE_TLS": "off", "ACCOUNT": ACCOUNT, **_cache_env(stage), **extra})
    env.pop("HEALTH_FILE", None)  # the supervisor watches the process itself
    argv = (sys.executable, str(main))
    watched: dict[str, Any] = {"on_exit": OnExit.FINISH, "probe": probe, "awaited": probe is not None, "stop_timeout_s": 20.0}
    return ChildSpec(name=name, argv=argv, env=env, phase=phase, **watched)


def _cache_env(stage: LocalStage) -> dict[str, str]:
    return {"CACHE_ENDPOINT": stage.cache.endpoint}


def endpoint_child(stage: LocalStage, model: Path) -> ChildSpec:
    """The model endpoint of a model's folder, restarted when it dies."""
    argv = (sys.executable, "-m", "tidemark.local.endpoint", "--model-dir", str(model.absolute()), "--port", str(stage.model_port))
    url = f"http://127.0.0.1:{stage.model_port}/ping"
    return ChildSpec(
        name="endpoint",
        argv=argv,
        env=python_environment(),
        phase=PHASE_MODELS,
        probe=lambda: _pings(url),
        ready_timeout_s=ENDPOINT_READY_S,
        on_exit=OnExit.RESTART,
    )


def _dashboard(stage: LocalStage, port: int) -> ChildSpec:
    argv = (sys.executable, "-m", "tidemark.dashboard", "--redis-port", str(stage.cache.port), "--port", str(port))
    env = python_environment()
    if stage.cache.auth_token is not None:
        env["CACHE_AUTH_TOKEN"] = stage.cache.auth_token
    return ChildSpec(name="dashboard", argv=argv, env=env, phase=PHASE_PROCESSORS, probe=lambda: _answers(port), on_exit=OnExit.RESTART)


def _pings(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _answers(port: int) -> bool:
    from tidemark.local.processes import tcp_ready

    return tcp_ready(port)


def _socket_path(stage: LocalStage) -> Path:
    """Beside PostgreSQL's socket: a folder whose path is short enough for the kernel, whatever the run's is."""
    own = stage.options.run_dir / "feed.sock"
    return own if len(str(own)) <= 100 else Path(f"/tmp/tidemark-{os.getpid()}-feed.sock")


def _finished(supervisor: Supervisor) -> bool:
    names = ("feed_gateway", "execution")
    return all(supervisor.children[name].state is State.FINISHED for name in names)


class _Page:
    """Tells the page how the children are and how far the replay is; tells the narrator the same."""

    def __init__(self, stage: LocalStage, supervisor: Supervisor, narrator: Narrator) -> None:
        self._redis = redis.Redis(port=stage.cache.port, password=stage.cache.auth_token, socket_timeout=1.0)
        self._supervisor = supervisor
        self._narrator = narrator

    def feed_latency(self) -> dict[str, int | None]:
        """The gateway's own figures: from when a slice is due until its books are hot."""
        raw = self._redis.get(PROGRESS_KEY)
        found: dict[str, int | None] = msgspec.json.decode(raw)["feed"] if isinstance(raw, bytes) else {}
        return found

    def tick(self) -> None:
        """Called a few times a second. A cache that is gone is the supervisor's business."""
        with contextlib.suppress(redis.RedisError):
            raw = self._redis.get(PROGRESS_KEY)
            found = msgspec.json.decode(raw) if isinstance(raw, bytes) else {"done": 0, "total": 0}
            self._narrator.progress(Progress(found["done"], found["total"]))
            message = {"type": "health", "children": self._supervisor.health(), "feed": [], "progress": {**found, "speed": None}}
            text = msgspec.json.encode(message)
            self._redis.hset(PAGE_LAST, "health", text)
            self._redis.publish(PAGE_CHANNEL, text)


def _tell(event: ChildEvent, narrator: Narrator) -> None:
    if event.state is State.FAILED or "restarted" in event.reason:
        narrator.say(f"{event.name} (process {event.pid}): {event.reason}")


def _s3(stage: LocalStage) -> Any:
    env = stage.aws_env
    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=stage.resources.region,
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def _source_rows(data: Dataset, from_ns: int) -> dict[str, int]:
    """{symbol: events that will be replayed}. Raises InputError when there are none."""
    counts = {symbol: data.event_count(symbol) for symbol in data.symbols}
    if from_ns:
        counts = {s: sum(int((block.event_ts_ns >= from_ns).sum()) for block in data.symbol_blocks(s)) for s in data.symbols}
    if not sum(counts.values()):
        raise bad_input(str(data.root), "events", 0, "at least one event to replay")
    return counts


def _write_results(
    options: RunOptions,
    data: Dataset,
    stage: LocalStage,
    stored: StoredRows,
    rows_in: Mapping[str, int],
    legs: Mapping[str, Mapping[str, int | None]],
    targets: Mapping[str, Target] | None,
) -> dict[str, Any]:
    (options.out / "recorder.bin").rename(options.out / "journal.bin")
    records = read_run_journal(options.out)
    result = EngineResult.from_journal(records)
    total = sum(rows_in.values())
    summary = build_summary(
        result,
        stage="local",
        mode="run",
        seed=options.seed,
        data={
            "hash": data.data_hash,
            "events": total,
            "from_ns": options.from_ns,
            "quarantined": stored.quarantined_by_reason,
            "rows": {
                "source": total,
                "postgres": stored.postgres_depth + stored.postgres_trades,
                "lake": stored.lake_depth + stored.lake_trades,
                "quarantined": stored.quarantined_count,
                "predictions": stored.predictions,
                "signals": stored.signals,
            },
        },
        symbols={symbol: {"events": count, "quality_ppm": _quality_ppm(stored, symbol, count)} for symbol, count in rows_in.items()},
        latency={**_latency(options.out), **legs},
        findings=[*options.findings, *stored.findings(total, options.sample)],
        targets=targets,
    )
    write_table(options.out / PREDICTIONS, _predictions(stage.database.admin_dsn))
    started = next((record for record in records if isinstance(record, RunStarted)), None)
    config = {**_config(options, data), "strategy": started and started.strategy, "engine_hash": started and started.config_hash}
    write_run_files(options.out, summary=summary, config=config, records=records, result=result)
    return summary


def _quality_ppm(stored: StoredRows, symbol: str, count: int) -> int | None:
    refused = sum(stored.quarantined.get(symbol, {}).values())
    return 1_000_000 * (count - refused) // count if count else None


def _latency(out: Path) -> dict[str, dict[str, int | None]]:
    """The legs as the programs measured them: execution's own, and the signal function's time per batch."""
    legs: dict[str, dict[str, int | None]] = json.loads((out / "metrics" / "execution.json").read_text())["legs"]
    function = json.loads((out / "metrics" / "signal.json").read_text())["latency_ns"]["signal.duration"]
    return {**legs, "signal": {**function, "budget": LEG_BUDGETS_NS["signal"]}}


def _config(options: RunOptions, data: Dataset) -> dict[str, Any]:
    return {
        "command": "run",
        "replay": str(options.replay),
        "model": str(options.model),
        "speed": options.speed,
        "seed": options.seed,
        "sample": options.sample,
        "from_ns": options.from_ns,
        "slice_events_min": THROUGHPUT.events_min,
        "data_hash": data.data_hash,
        "data_source": data.manifest.source,
        "git_revision": git_revision(PROJECT),
        "version": tidemark.__version__,
    }


def _predictions(dsn: str) -> dict[str, Any]:
    """Every prediction with its outcome where that is known (NaN where it is not)."""
    stored = ("p_down", "p_flat", "p_up", "p_win_long", "p_win_short", "expected_ticks")
    whole = ("mid2", "target_ts_ns")
    floats = [psycopg.sql.SQL("(probabilities->>{})::float8").format(name) for name in stored]
    counts = [psycopg.sql.SQL("(probabilities->>{})::bigint").format(name) for name in whole]
    query = psycopg.sql.SQL(
        "select symbol, model_version, seq, input_ts_ns, predicted_direction, {}, accuracy_score from ml_predictions order by symbol, seq"
    ).format(psycopg.sql.SQL(", ").join([*counts, *floats]))
    names = ("symbol", "model_version", "seq", "input_ts_ns", "direction", *whole, *stored, "accuracy_score")
    kinds = (None, None, *[np.int64] * 5, *[np.float64] * 7)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(query).fetchall()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return {
        name: list(column) if kind is None else np.array([np.nan if value is None else value for value in column], kind)
        for name, column, kind in zip(names, columns, kinds, strict=True)
    }


def stopped_by_user(error: UnavailableError) -> bool:
    """Whether a run ended because somebody pressed Ctrl-C."""
    return signal.Signals.SIGINT.name in str(error)
