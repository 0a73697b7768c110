"""One function of the laptop stage: its event sources polled, its handler called in environments of its own.

    python -m tidemark.local.lambda_host --config FILE

SIGTERM  finish the batches that run, then end.      SIGUSR1  read every shard to its end, work that off, then end.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from tidemark.errors import TidemarkError
from tidemark.local.environment import Environment, lambda_environment
from tidemark.local.files import write_whole
from tidemark.local.poller import Meter, Poller, Publish
from tidemark.local.processes import notify_ready
from tidemark.local.resources import FunctionSpec, MappingSpec

REPORT_S = 1.0
CHECKPOINT_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """Everything the host needs. `env` is added to the function's own variables: endpoints, credentials.

    `environments` is how many events may be with the function at once. `cache_endpoint` (host:port) is the page bus; None: no
    page. The metrics and checkpoint files are replaced whole.
    """

    function: FunctionSpec
    mappings: list[MappingSpec]
    folder: str
    region: str
    aws_port: int
    env: dict[str, str]
    log: str
    metrics_file: str
    checkpoint_file: str
    environments: int = 1
    cache_endpoint: str | None = None
    cache_auth_token: str | None = None


class Host:
    """The poller with its environments, its signals and its reports."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        env = {**lambda_environment(config.function, Path(config.folder), config.region), **config.env}
        self._environments = [Environment(config.function, env, Path(config.log)) for _ in range(config.environments)]
        self._page = _page_bus(config)
        self._wake = threading.Event()
        self._stop = False
        self._drain = False
        self._poller: Poller | None = None

    def run(self) -> None:
        """Until a signal or the end of a drain. Raises what ended a thread."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_drain)
        try:
            for environment in self._environments:
                environment.start()
            self._poller = self._make_poller()
            self._poller.start()
            notify_ready(function=self._config.function.name)
            self._loop(self._poller)
            self._poller.stop()
            self._report(self._poller)
            if self._poller.failed is not None:
                raise self._poller.failed
        finally:
            for environment in self._environments:
                environment.stop()

    def _make_poller(self) -> Poller:
        import boto3

        config = self._config
        endpoint = f"http://127.0.0.1:{config.aws_port}"
        login = {"endpoint_url": endpoint, "region_name": config.region, "aws_access_key_id": "local", "aws_secret_access_key": "local"}
        kinesis = boto3.client("kinesis", **login)

        def shards(stream: str) -> list[str]:
            return [shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]

        return Poller(
            config.function,
            config.mappings,
            self._environments,
            port=config.aws_port,
            region=config.region,
            shards=shards,
            publish=_queue_sender(login),
            checkpoints=_saved_checkpoints(Path(config.checkpoint_file)),
        )

    def _loop(self, poller: Poller) -> None:
        """Signals and reports; the work is in the poller's threads."""
        ticks = 0
        while not self._stop and not poller.ended.is_set():
            if self._drain:
                poller.drain()
            (poller.ended if self._drain else self._wake).wait(CHECKPOINT_S)
            self._wake.clear()
            self._save(poller)
            ticks += 1
            if ticks % int(REPORT_S / CHECKPOINT_S) == 0:
                self._report(poller)

    def _save(self, poller: Poller) -> None:
        path = Path(self._config.checkpoint_file)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(poller.checkpoints()))  # no fsync: a repeated batch is harmless, a slow disk is not
        part.replace(path)

    def _report(self, poller: Poller) -> None:
        write_whole(Path(self._config.metrics_file), msgspec.json.encode(poller.meter.figures()))
        self._page(poller.meter)
        self._save(poller)

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        self._stop = True
        self._wake.set()

    def _on_drain(self, signum: int, frame: FrameType | None) -> None:
        self._drain = True
        self._wake.set()


def _page_bus(config: HostConfig) -> Callable[[Meter], None]:
    """Publishes the legs on the page bus; a page that cannot be reached costs nothing but the page."""
    if config.cache_endpoint is None:
        return lambda meter: None
    from tidemark.adapters.cache import Cache, connect
    from tidemark.adapters.settings import CacheSettings
    from tidemark.errors import UnavailableError

    host, _, port = config.cache_endpoint.rpartition(":")
    cache = Cache(connect(CacheSettings(host, int(port), False, config.cache_auth_token)))

    def publish(meter: Meter) -> None:
        try:
            cache.page([(f"latency:{meter.function}", {"type": "latency", **meter.legs()})])
        except UnavailableError as error:
            sys.stderr.write(f"page bus: {error}\n")

    return publish


def _queue_sender(login: dict[str, str]) -> Publish:
    """Sends to SQS; the client is made when the first record is given up, which in a good run never happens."""
    made: dict[str, Any] = {}
    lock = threading.Lock()

    def publish(queue_url: str, body: str) -> None:
        import boto3

        with lock:
            if "sqs" not in made:
                made["sqs"] = boto3.client("sqs", **login)
            made["sqs"].send_message(QueueUrl=queue_url, MessageBody=body)

    return publish


def _saved_checkpoints(path: Path) -> dict[str, str]:
    """Where an earlier host of this run had come to; nothing at the first start."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str])


def main(argv: list[str] | None = None) -> int:
    """Run one host."""
    parser = argparse.ArgumentParser(description="Host of one Lambda function on the laptop")
    parser.add_argument("--config", type=Path, required=True)
    config = msgspec.json.decode(parser.parse_args(argv).config.read_bytes(), type=HostConfig)
    try:
        Host(config).run()
    except TidemarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
