"""A small planted market, a tiny model of it, and `tidemark run` as a process: shared by the tests of whole runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil
import pytest

import tidemark
from local_support import eventually, free_folder, living
from tidemark.adapters.dataset.writer import write_dataset
from tidemark.local.postgres import CACHE_VARIABLE
from tidemark.market.config import MarketConfig
from tidemark.market.simulator import iter_sessions, planted_of

SYMBOLS = ("ES", "NQ")
MINUTES = 2
PROGRAM = (sys.executable, "-m", "tidemark.cli.main")
MARKS = {
    "postgres": "bin/postgres",
    "redis": "redis-server",
    "aws": "tidemark.local.aws",
    "firehose": "tidemark.local.firehose",
    "endpoint": "tidemark.local.endpoint",
    "dashboard": "tidemark.dashboard",
    "market_data": "config/market_data.json",
    "signal": "config/signal.json",
    "feed_gateway": "ecs_tasks/feed_gateway/main.py",
    "execution": "ecs_tasks/execution/main.py",
}


@dataclass(frozen=True)
class World:
    """A data set, a model that was trained on another like it and does trade, and a cache of our own for the prepared database."""

    data: Path
    model: Path
    cache: Path

    @property
    def env(self) -> dict[str, str]:
        """Environment of a program of ours."""
        source = str(Path(tidemark.__file__).parents[1])
        return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", CACHE_VARIABLE: str(self.cache)}

    def program(self, *arguments: str | Path, timeout_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """One command of `tidemark`, to its end."""
        words = [*PROGRAM, *map(str, arguments)]
        return subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One for all files of a test session: the model takes ten seconds."""
    return _world(tmp_path_factory.getbasetemp())


@cache
def _world(base: Path) -> World:
    folder = base / "world"
    folder.mkdir()
    (folder / "cache").mkdir()
    write_market(folder / "data", MarketConfig(market="planted", symbols=SYMBOLS, minutes=MINUTES, seed=3))
    write_market(folder / "training", MarketConfig(market="planted", symbols=SYMBOLS, minutes=5, sessions=3, seed=11))
    made = World(folder / "data", folder / "model", free_folder(folder / "cache"))
    trained = made.program("models", "train", "lob", "--data", folder / "training", "--out", made.model, "--config", "tiny")
    assert trained.returncode == 0, trained.stderr
    return made


def write_market(out: Path, config: MarketConfig) -> None:
    """Simulate a market and write it as a data set."""
    blocks = [block for _, block in iter_sessions(config)]
    write_dataset(out, config.instruments, blocks, source="simulated", licence="free", extra=planted_of(config))


@dataclass
class Run:
    """`tidemark run` as a process. `family` collects every process that was seen below it."""

    out: Path
    process: "subprocess.Popen[bytes]"
    family: set[int] = field(default_factory=set)

    @property
    def said(self) -> str:
        """What it wrote to standard error so far."""
        return self.out.with_suffix(".err").read_text()

    def child(self, name: str) -> int | None:
        """Process of a child, None while it does not run."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return None
        self.family.update(child.pid for child in children)
        for child in children:
            try:
                if child.ppid() == self.process.pid and MARKS[name] in " ".join(child.cmdline()):
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def wait_for_trading(self) -> None:
        """Until the replay is under way."""
        self._wait(lambda: (self.out / "metrics" / "execution.json").exists())

    def kill(self, name: str) -> int:
        """kill -9 of a child; the process that it was."""
        pid = self._wait(lambda: self.child(name))
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def wait_for_another(self, name: str, than: int) -> None:
        """Until a new process of a child runs."""
        self._wait(lambda: self.child(name) not in (None, than))

    def end(self, timeout_s: float = 120.0) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(timeout_s)

    def left(self) -> list[str]:
        """What still runs of it: seen below it before, or naming its folder."""
        pids = {pid for pid in self.family if living(pid)}
        for process in psutil.process_iter():
            try:
                named = str(self.out) in " ".join(process.cmdline()) and process.pid != os.getpid()
            except psutil.Error:
                continue
            if named and living(process.pid):
                pids.add(process.pid)
        return [f"{pid}: {' '.join(psutil.Process(pid).cmdline())}" for pid in sorted(pids)]

    def _wait(self, true):
        def check():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said}"
            return true()

        return eventually(check, timeout_s=60.0, step_s=0.05)


def start_run(world: World, out: Path, *arguments: str, data: Path | None = None) -> Run:
    """Start `tidemark run` on the world's data; its output goes to files beside `out`."""
    free_folder(out.parent)
    words: Sequence[str] = (
        *PROGRAM,
        "run",
        "--replay",
        str(data or world.data),
        "--model",
        str(world.model),
        "--out",
        str(out),
        *arguments,
    )
    with out.with_suffix(".out").open("wb") as stdout, out.with_suffix(".err").open("wb") as stderr:
        return Run(out, subprocess.Popen(words, env=world.env, stdout=stdout, stderr=stderr))
