"""The laptop stage put together: ports, configuration files and the children that a supervisor starts.

    with Supervisor(run_dir) as supervisor:
        stage = start_backbone(supervisor, StageOptions(run_dir=run_dir, assembly=ensure_assembly("dev")))
        supervisor.start(stage.processor("market_data"))
        supervisor.start(ChildSpec(name="execution", argv=..., env=stage.program_env("execution"), phase=PHASE_EXECUTION))

Phases order the stop: feeds first, then what decides, then the processors, and the services last.
"""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

import tidemark
from tidemark.errors import bad_input
from tidemark.local import postgres, redis
from tidemark.local.aws import AwsConfig, aws_environment
from tidemark.local.deploy import StageValues, wants_cache_token
from tidemark.local.files import write_whole
from tidemark.local.firehose import FirehoseConfig
from tidemark.local.lambda_host import HostConfig
from tidemark.local.processes import Port, free_port
from tidemark.local.resources import StageResources, read_deliveries
from tidemark.local.supervisor import ChildSpec, Supervisor
from tidemark.local.template import read_assembly

PHASE_SERVICES = 0
PHASE_DELIVERY = 1
PHASE_MODELS = 1
PHASE_PROCESSORS = 2
PHASE_EXECUTION = 3
PHASE_FEED = 4
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "TIDEMARK_JIT", "NUMBA_CACHE_DIR")
DELIVERY_STOP_S = 60.0
BACKBONE_READY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """What a run chooses. `parameters` is {variable that names an SSM parameter: value}; `environment` replaces settings of
    every program that has them; ports are preferences."""

    run_dir: Path
    assembly: Path
    lambdas_dir: Path = Path(tidemark.__file__).parents[2] / "lambdas"
    parameters: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    aws_port: int | None = None
    redis_port: int | None = None
    model_port: int | None = None


@dataclass(frozen=True, slots=True)
class LocalStage:
    """Where everything is. `notes` are for the user: ports that were taken."""

    options: StageOptions
    database: postgres.PostgresServer
    cache: redis.RedisServer
    aws_port: int
    firehose_port: int
    model_port: int
    notes: tuple[str, ...]
    resources: StageResources

    @property
    def resources_file(self) -> Path:
        return self.options.run_dir / "stage.json"

    @property
    def aws_env(self) -> dict[str, str]:
        """Variables that point AWS clients at the laptop's endpoints."""
        region = self.resources.region
        return aws_environment(self.aws_port, region, firehose_port=self.firehose_port, model_port=self.model_port)

    def services(self) -> list[ChildSpec]:
        """PostgreSQL, Redis, the AWS endpoint and the lake's delivery, in no order: none of them needs another to start."""
        values = StageValues(
            database_secret=self.database.secret,
            cache_host="127.0.0.1",
            cache_port=self.cache.port,
            cache_auth_token=self.cache.auth_token,
            parameters=dict(self.options.parameters),
            environment={
                "TIDEMARK_STAGE": "local",
                "CACHE_TLS": "off",
                "CACHE_ENDPOINT": self.cache.endpoint,  # a template may spell the port out
                **self.options.environment,
            },
        )
        config = AwsConfig(self.aws_port, str(self.options.assembly), str(self.resources_file), values)
        aws = self._python("aws", "tidemark.local.aws", config, phase=PHASE_SERVICES, ready_timeout_s=BACKBONE_READY_S)
        return [self.database.child(), self.cache.child(), aws, *([self.delivery()] if self.resources.deliveries else [])]

    def delivery(self) -> ChildSpec:
        """The Firehose server; stopping it delivers what it holds."""
        metrics = str(self.options.run_dir / "metrics" / "firehose.json")
        config = FirehoseConfig(self.firehose_port, self.aws_port, self.resources.region, list(self.resources.deliveries.values()), metrics)
        return self._python("firehose", "tidemark.local.firehose", config, phase=PHASE_DELIVERY, stop_timeout_s=DELIVERY_STOP_S)

    def processor(self, name: str, *, environments: int = 1, env: Mapping[str, str] | None = None) -> ChildSpec:
        """The host of one function of the template. `environments` is how many batches it may work on at once.

        Raises InputError for a function that the template does not have or whose folder is missing.
        """
        function = self.resources.functions.get(name)
        folder = self.options.lambdas_dir / name
        if function is None or not folder.is_dir():
            raise bad_input("local stage", "function", name, f"one of {', '.join(self.functions()) or 'none'}")
        run_dir = self.options.run_dir
        config = HostConfig(
            function=function,
            mappings=self.resources.mappings_of(name),
            folder=str(folder),
            region=self.resources.region,
            aws_port=self.aws_port,
            env={**_host_variables(), **self.aws_env, **(env or {})},
            log=str(run_dir / "logs" / f"{name}.log"),
            metrics_file=str(run_dir / "metrics" / f"{name}.json"),
            checkpoint_file=str(run_dir / "checkpoints" / f"{name}.json"),
            environments=environments,
            cache_endpoint=self.cache.endpoint,
            cache_auth_token=self.cache.auth_token,
        )
        stop_s = function.timeout_s + 5.0
        return self._python(name, "tidemark.local.lambda_host", config, phase=PHASE_PROCESSORS, stop_timeout_s=stop_s, ready_timeout_s=90.0)

    def functions(self) -> list[str]:
        """Functions of the template that have a folder here."""
        return [name for name in self.resources.functions if (self.options.lambdas_dir / name).is_dir()]

    def program_env(self, task: str | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment of a long-running program: its container's variables from the template, endpoints, and `extra`."""
        own = {} if task is None else self.resources.tasks[task].env
        return {**python_environment(), **self.aws_env, **own, **(extra or {})}

    def _python(self, name: str, module: str, config: Any, **settings: Any) -> ChildSpec:
        """A child of ours with its configuration in RUN/config/NAME.json; readable by us alone, as it holds the cache's token."""
        path = self.options.run_dir / "config" / f"{name}.json"
        write_whole(path, msgspec.json.encode(config))
        path.chmod(0o600)
        return ChildSpec(name=name, argv=(sys.executable, "-m", module, "--config", str(path)), env=python_environment(), **settings)


def start_backbone(supervisor: Supervisor, options: StageOptions) -> LocalStage:
    """Start the services and deploy the template; the stage with its resources resolved.

    Raises UnavailableError when a service does not come up, InputError when the assembly cannot be used.
    """
    stage = plan(options)
    for spec in stage.services():
        supervisor.start(spec)
    supervisor.wait_ready()
    return replace(stage, resources=StageResources.from_file(stage.resources_file))


def plan(options: StageOptions) -> LocalStage:
    """Ports, data folders and secrets of a stage that is not started yet; of its resources only the deliveries are known."""
    run_dir = options.run_dir.absolute()
    for folder in ("config", "metrics", "checkpoints", "logs"):
        (run_dir / folder).mkdir(parents=True, exist_ok=True)
    options = replace(options, run_dir=run_dir, assembly=options.assembly.absolute())
    assembly = read_assembly(options.assembly)
    ports = _ports(options)
    token = secrets.token_hex(16) if wants_cache_token(assembly) else None
    return LocalStage(
        options,
        postgres.prepare(run_dir),
        redis.prepare(run_dir, ports["redis"].number, token),
        ports["aws"].number,
        ports["firehose"].number,
        ports["model"].number,
        tuple(port.note for port in ports.values() if port.note is not None),
        StageResources("", assembly.account, assembly.region, deliveries=read_deliveries(assembly)),
    )


def _ports(options: StageOptions) -> dict[str, Port]:
    wanted = {"aws": options.aws_port, "redis": options.redis_port, "model": options.model_port, "firehose": None}
    taken: dict[str, Port] = {}
    for name, preferred in wanted.items():
        port = free_port(preferred)
        while port.number in {other.number for other in taken.values()}:
            port = free_port(port.number + 1)
        taken[name] = port
    return taken


def python_environment() -> dict[str, str]:
    """Variables of our own Python children: the few of the user's that matter, and none of their AWS or PG settings."""
    source = str(Path(tidemark.__file__).parents[1])
    return {**_host_variables(), "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}


def _host_variables() -> dict[str, str]:
    return {**{name: os.environ[name] for name in PASSED_ON if name in os.environ}, "OMP_NUM_THREADS": "1"}
