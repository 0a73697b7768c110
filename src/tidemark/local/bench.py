"""Figures of this machine against the project's bounds: speed of the kernels and of the whole line, memory, sizes.

Every figure has one entry in FIGURES with its bound; a part that measures returns readings by those names. What cannot be measured
here says why instead. Nothing in this file judges more than "within" or "beyond": a slow machine is not an error.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from tidemark.errors import TidemarkError
from tidemark.jit import JIT_ENABLED

if TYPE_CHECKING:
    from tidemark.local.run import Progress

MIB: Final = 1024**2
GIB: Final = 1024**3
HEAVY_MODULES: Final = ("torch", "pandas", "pyarrow", "numba", "sklearn")
"""What a zip Lambda has no room for; a handler whose import loads one of them has taken a wrong turn."""
IMPORT_REPEATS: Final = 5
SAMPLE_S: Final = 0.5
PROCESSORS: Final = ("market_data", "signal")
LINE_SYMBOLS: Final = "ES,NQ,YM,ZN,DX"
TRAIN_SEED, REPLAY_SEED = 11, 4_711


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `bound` None: shown for information; `at_most` False: the bound is the least value."""

    name: str
    part: str
    what: str
    unit: str
    bound: float | None = None
    at_most: bool = True

    def verdict(self, value: float | None) -> str:
        """In one word how `value` stands to the bound."""
        if value is None:
            return "not available"
        if self.bound is None:
            return "information"
        within = value <= self.bound if self.at_most else value >= self.bound
        return "within" if within else "beyond"


@dataclass(frozen=True, slots=True)
class Reading:
    """A measured value in the figure's unit, or None and in `note` why not. `note` otherwise says how it was measured."""

    value: float | None
    note: str


FIGURES: Final[tuple[Figure, ...]] = (
    Figure(name="line.start_s", part="line", what="local stage, command to live page", unit="s", bound=15.0),
    Figure(name="line.depth_per_s", part="line", what="replay through the whole line", unit="depth events/s", bound=2_000, at_most=False),
    Figure(name="line.memory_gib", part="line", what="peak memory of all processes together", unit="GiB", bound=3.0),
    *(
        Figure(name=f"line.{name}.{point}_ms", part="line", what=f"{name}: one invocation, {point}", unit="ms")
        for name in PROCESSORS
        for point in ("p50", "p99")
    ),
    Figure(name="scan.ns_per_event", part="scan", what="compiled scan: book check and features", unit="ns/event", bound=60.0),
    Figure(name="scan.all_columns_ns_per_event", part="scan", what="the same, all columns after every event", unit="ns/event"),
    Figure(name="step.us_per_event", part="step", what="one event at a time from Python", unit="µs/event", bound=2.0),
    Figure(
        name="engine.events_per_s", part="engine", what="backtest, an order every 1,000 events", unit="events/s", bound=2e6, at_most=False
    ),
    Figure(name="imports.slowest_s", part="imports", what="cold import of the slowest handler", unit="s", bound=0.8),
    Figure(name="imports.heavy", part="imports", what=f"handlers that import {', '.join(HEAVY_MODULES)}", unit="handlers", bound=0),
    Figure(name="package.unzipped_mib", part="package", what="Lambda package unzipped, largest function", unit="MiB", bound=250.0),
    Figure(name="disk.venv_gb", part="disk", what="virtual environment on disk", unit="GB", bound=2.5),
    Figure(name="assembly.cached_s", part="assembly", what="templates that are already synthesized", unit="s"),
)
PARTS: Final[tuple[str, ...]] = tuple(dict.fromkeys(figure.part for figure in FIGURES))
Readings = dict[str, Reading]


def attempt(part: str, measure: Callable[[], Readings]) -> Readings:
    """The readings of a part; one reading per figure without a value, with the reason, where it cannot be measured here."""
    try:
        found = measure()
    except (TidemarkError, OSError, ImportError, RuntimeError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())
        found = {figure.name: Reading(None, reason) for figure in FIGURES if figure.part == part}
    return found


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "load_1min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numba": JIT_ENABLED,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def measure_scan(*, quick: bool) -> Readings:
    """CPU time per event of the compiled scans over a made-up book, from the features' own benchmark."""
    from tidemark.features.bench import bench_scan

    event_count = 200_000 if quick else 2_000_000
    found = bench_scan(event_count)
    note = f"{event_count:,} events, median CPU time; check {found['quality_ns']:g}"
    return {
        "scan.ns_per_event": Reading(found["production_ns"], f"{note}, state and grid rows {found['grid_ns']:g}"),
        "scan.all_columns_ns_per_event": Reading(
            found["all_columns_ns"], f"{note}, state and {found['columns']} columns {found['every_ns']:g}"
        ),
    }


def measure_step() -> Readings:
    """CPU time of one event given to the compiled state update from Python, from the features' own benchmark."""
    from tidemark.features.bench import bench_step

    found = bench_step()
    note = f"{found['events']:,} events, median CPU time; the bare loop {found['loop_ns']:g} ns of it"
    return {"step.us_per_event": Reading(found["step_ns"] / 1e3, note)}


def measure_engine(*, quick: bool) -> Readings:
    """Events per CPU second of the backtest engine with an order every 1,000 events."""
    from tidemark.research.bench import bench_engine

    event_count, repeats = (200_000, 3) if quick else (1_000_000, 5)
    case = bench_engine(event_count, repeats)["order_per_1000_ioc"]
    note = f"{event_count:,} events, {case['orders']} orders, median CPU time of {repeats}"
    return {"engine.events_per_s": Reading(float(case["events_per_s"]), note)}


def handlers(project: Path) -> list[Path]:
    """Handler files of all functions of the checkout."""
    return sorted((project / "lambdas").glob("*/handler.py"))


_IMPORT: Final = """
import importlib.util, json, sys
from pathlib import Path
path = Path(sys.argv[1])
sys.path.insert(0, str(path.parent))
spec = importlib.util.spec_from_file_location("handler", path)
module = importlib.util.module_from_spec(spec)
sys.modules["handler"] = module
spec.loader.exec_module(module)
print(json.dumps(sorted(set(sys.argv[2:]) & set(sys.modules))))
"""


def import_handler(handler: Path) -> list[str]:
    """Import a handler in a process of its own, kernels uncompiled as in AWS. Returns the heavy modules that it loaded.

    Raises RuntimeError with the last line of the traceback when the import fails.
    """
    command = [sys.executable, "-c", _IMPORT, str(handler), *HEAVY_MODULES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TIDEMARK_JIT": "off"})
    if done.returncode != 0:
        raise RuntimeError(f"import of {handler.parent.name}: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def measure_imports(project: Path, *, quick: bool) -> Readings:
    """Wall and CPU time of importing each handler, interpreter start included; the first, which writes bytecode, is not counted."""
    repeats = 3 if quick else IMPORT_REPEATS
    wall_s, cpu_s, heavy = {}, {}, {}
    for handler in handlers(project):
        name = handler.parent.name
        heavy[name] = import_handler(handler)
        walls, cpus = zip(*(_timed(partial(import_handler, handler)) for _ in range(repeats)), strict=True)
        wall_s[name], cpu_s[name] = statistics.median(walls), statistics.median(cpus)
    if not wall_s:
        raise FileNotFoundError(f"no handlers below {project / 'lambdas'}")
    loaded = {name: names for name, names in heavy.items() if names}
    times = "; ".join(f"{name} {wall_s[name]:.2f} (CPU {cpu_s[name]:.2f})" for name in wall_s)
    found = "; ".join(f"{name}: {', '.join(names)}" for name, names in loaded.items()) or f"no, in any of {len(heavy)}"
    return {
        "imports.slowest_s": Reading(max(wall_s.values()), f"whole process, median wall of {repeats}: {times}"),
        "imports.heavy": Reading(len(loaded), found),
    }


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU of the processes that it started and awaited) seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    call()
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_package(build: Callable[[], Any]) -> Readings:
    """Size of the package that `build` makes (a `LambdaPackage`)."""
    package = build()
    note = f"{len(package.distributions)} libraries, {len(package.functions)} functions"
    return {"package.unzipped_mib": Reading(package.unzipped_bytes / MIB, note)}


def measure_disk(folder: Path) -> Readings:
    """Disk blocks that the files below `folder` take, links not followed, a file with several names once: as `du` counts."""
    if sys.prefix == sys.base_prefix:
        raise FileNotFoundError("not running in a virtual environment")
    seen: set[tuple[int, int]] = set()
    total_bytes = bytecode_bytes = 0
    for status, is_bytecode in _statuses(folder):
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total_bytes += status.st_blocks * 512
            bytecode_bytes += status.st_blocks * 512 * is_bytecode
    note = f"{len(seen):,} files and folders, as du counts; {bytecode_bytes / 1e9:.2f} GB is bytecode that Python wrote as it ran"
    return {"disk.venv_gb": Reading(total_bytes / 1e9, note)}


def _statuses(folder: Path) -> Iterator[tuple[os.stat_result, bool]]:
    """(status, whether it is compiled bytecode) of everything below `folder`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.stat(follow_symlinks=False), entry.name.endswith(".pyc")
            if entry.is_dir(follow_symlinks=False):
                yield from _statuses(Path(entry.path))


def measure_assembly(project: Path) -> Readings:
    """Wall time of asking for templates that are there, the interpreter's start included."""
    command = [sys.executable, str(project / "cdk" / "assembly.py"), "dev"]
    walls = [_timed(lambda: subprocess.run(command, capture_output=True, check=True))[0] for _ in range(IMPORT_REPEATS + 1)][1:]
    return {"assembly.cached_s": Reading(statistics.median(walls), f"python cdk/assembly.py dev, median wall of {IMPORT_REPEATS}")}


class TimedNarrator:
    """Notes when a run says that its page is live and that its replay is over; passes all lines on."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.live_s: float | None = None
        self.finished_s: float | None = None

    def say(self, text: str) -> None:
        """One line of the run."""
        if text.startswith("live page"):
            self.live_s = time.monotonic()
        elif text.startswith("replay finished"):
            self.finished_s = time.monotonic()
        self._tell(text)

    def progress(self, progress: "Progress") -> None:
        """Of no use here: the two lines above bracket the replay."""


class MemoryPeak:
    """Samples the memory of this process and all below it, from a thread, while the context is open.

    Proportional set size where the system gives it, so that pages which processes share count once; else resident size.
    """

    def __init__(self, sample_s: float = SAMPLE_S) -> None:
        self.peak_bytes = 0
        self.processes_max = 0
        self.kind = "PSS"
        self._sample_s = sample_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="memory-peak")

    def __enter__(self) -> "MemoryPeak":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        own = psutil.Process()
        while True:
            family = [own, *own.children(recursive=True)]
            self.peak_bytes = max(self.peak_bytes, sum(map(self._bytes_of, family)))
            self.processes_max = max(self.processes_max, len(family))
            if self._ended.wait(self._sample_s):
                return

    def _bytes_of(self, process: Any) -> int:
        import psutil

        try:
            return int(process.memory_full_info().pss)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return 0  # ended since it was listed
        except (psutil.AccessDenied, AttributeError):
            self.kind = "PSS, RSS where that is hidden"
        try:
            return int(process.memory_info().rss)
        except psutil.Error:
            return 0


def prepare_line(work: Path, model: Path | None, *, quick: bool) -> tuple[Path, Path]:
    """(data set, model) to replay, made below `work` by the project's own commands; a given model is used as it is.

    In processes of their own, so that training's memory is not taken for the line's. Raises RuntimeError with their last words.
    """
    minutes, rate = (2, 1.0) if quick else (10, 2.0)
    replay = work / "session"
    _simulate(replay, minutes=minutes, rate=rate, seed=REPLAY_SEED)
    if model is None:
        model = work / "model"
        _simulate(work / "training", minutes=5, rate=1.0, seed=TRAIN_SEED)
        _tidemark("models", "train", "lob", "--data", str(work / "training"), "--out", str(model), "--config", "tiny", "--json")
    return replay, model


def _simulate(out: Path, *, minutes: int, rate: float, seed: int) -> None:
    what = ("--market", "planted", "--symbols", LINE_SYMBOLS, "--minutes", str(minutes), "--rate", str(rate), "--seed", str(seed))
    _tidemark("data", "simulate", "--out", str(out), *what, "--json")


def _tidemark(*argv: str) -> None:
    command = [sys.executable, "-m", "tidemark.cli.main", *argv]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # for so small a model, threads wait for each other more than they work
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"tidemark {' '.join(argv[:2])}: {(done.stderr.strip() or 'no output').splitlines()[-1]}")


def measure_line(replay: Path, model: Path, out: Path, assembly: Path, tell: Callable[[str], None]) -> Readings:
    """Replay a data set at full speed through everything `tidemark run` starts. Wall times, for they are what a user waits."""
    from tidemark.adapters.dataset.store import Dataset
    from tidemark.events import Kind
    from tidemark.local.run import RunOptions, execute

    data = Dataset.open(replay)
    depth_count = sum(int((block.kind == Kind.DEPTH).sum()) for symbol in data.symbols for block in data.symbol_blocks(symbol))
    narrator = TimedNarrator(tell)
    with MemoryPeak() as memory:
        start_s = time.monotonic()
        execute(RunOptions(replay=replay, model=model, out=out, assembly=assembly, speed="max"), narrator)
    assert narrator.live_s is not None, "a run that ended well has said where its page is"
    assert narrator.finished_s is not None, "a run that ended well has finished its replay"
    replay_s = narrator.finished_s - narrator.live_s
    return {
        "line.start_s": Reading(narrator.live_s - start_s, "one run, wall"),
        "line.depth_per_s": Reading(depth_count / replay_s, f"--speed max, {depth_count:,} depth events in {replay_s:.1f} s, wall"),
        "line.memory_gib": Reading(memory.peak_bytes / GIB, f"{memory.kind} of {memory.processes_max} processes, every {SAMPLE_S:g} s"),
        **_invocations(out / "metrics"),
    }


def _invocations(folder: Path) -> Readings:
    readings: Readings = {}
    for name in PROCESSORS:
        metrics = json.loads((folder / f"{name}.json").read_text())
        counts, duration = metrics["counts"], metrics["latency_ns"][f"{name}.duration"]
        note = f"{counts['invocations']:,} invocations, {counts['records'] / max(counts['invocations'], 1):.1f} records each"
        for point in ("p50", "p99"):
            value = duration[point]
            readings[f"line.{name}.{point}_ms"] = Reading(None if value is None else value / 1e6, note)
    return readings
