"""`tidemark run`: the whole pipeline over a replayed data set, with the live page; then the run's folder and report."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

from tidemark.errors import UnavailableError, bad_input

if TYPE_CHECKING:
    from tidemark.local.run import Progress

EXIT_INTERRUPTED = 130


def run(
    replay: Path = typer.Option(help="Data set folder to replay."),
    out: Path | None = typer.Option(None, help="Folder of the run; must be new or empty. Default: runs/NAME-TIME."),
    model: Path | None = typer.Option(None, help="Model folder. Default: train one on the earlier 60 % and replay the rest."),
    speed: str = typer.Option("max", help="1 (real time), a number of times faster, or max; all but 1 are lock-step and repeatable."),
    port: int = typer.Option(8080, min=1, max=65_535, help="Port of the live page; the next free one is taken and named."),
    seed: int = typer.Option(7, min=0, help="Fixes the latency of every signal and all resampling."),
    sample: int = typer.Option(1, min=1, help="Every n-th depth event goes to Postgres; all go to the lake."),
    config: Path | None = typer.Option(None, help="JSON file of engine settings; what it leaves out keeps its default."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> int:
    """Replay a data set end to end: gateway, Kinesis, Lambda, endpoint, engine, Postgres, page, report."""
    from tidemark.adapters.dataset.atomic import require_free
    from tidemark.adapters.dataset.store import Dataset
    from tidemark.engine.config import decode_config
    from tidemark.local.run import RunOptions, execute, stopped_by_user
    from tidemark.reporting.targets import kpi_targets
    from tidemark.research.kpis import targets_of

    check_speed(speed)
    if config is not None:
        decode_config(_read(config), source=str(config))
    data = Dataset.open(replay)
    out = out or Path("runs") / f"{replay.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    require_free(out)
    narrator = ConsoleNarrator(quiet=as_json)
    findings: tuple[str, ...] = ()
    from_ns = 0
    if model is None:
        out.mkdir(parents=True, exist_ok=True)
        model, from_ns = train_on_earlier_part(replay, out, seed)
        findings = ("no model of its own: trained on the earlier part of this very set, replayed on the rest",)
        narrator.say(findings[0])
    options = RunOptions(
        replay=replay,
        model=require_model(model, data.symbols),
        out=out,
        assembly=assembly_module().ensure_assembly("dev"),
        speed=speed,
        port=port,
        seed=seed,
        sample=sample,
        from_ns=from_ns,
        engine_config=config,
        findings=findings,
    )
    try:
        summary = execute(options, narrator, targets_of(kpi_targets()))
    except UnavailableError as error:
        narrator.close()
        if stopped_by_user(error):
            print(f"error: {error}", file=sys.stderr)
            return EXIT_INTERRUPTED
        raise
    narrator.close()
    finish(out, summary, as_json=as_json)
    return 0


def finish(out: Path, summary: dict[str, Any], *, as_json: bool) -> None:
    """Write the report and say where everything is."""
    from tidemark.adapters.report_file import write_report

    report = write_report(out)
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    rows = summary["data"]["rows"]
    print(f"events {rows['source']}: Postgres {rows['postgres']}, lake {rows['lake']}, quarantined {rows['quarantined']}")
    print(f"signals {rows['signals']}, fills {summary['fills']}, refusals {sum(summary['refusals'].values())}", end="; ")
    print(f"P&L {summary['pnl_micros'] / 1e6:+,.2f} USD after {summary['costs_micros'] / 1e6:,.2f} USD of fees (paper)")
    for finding in summary["findings"]:
        print(f"finding: {finding}")
    print(f"report: {report}")


def check_speed(text: str) -> None:
    """`max`, or a number above 0 and at most 1000."""
    try:
        good = text == "max" or 0 < float(text) <= 1_000
    except ValueError:
        good = False
    if not good:
        raise bad_input("tidemark run", "--speed", text, "max, or a number above 0 and at most 1000")


def require_model(model: Path, symbols: tuple[str, ...]) -> Path:
    """The folder, if a model in it verifies and knows one of the symbols. Raises InputError."""
    from tidemark.models.predictor import LobPredictor

    known = LobPredictor.load(model).description.symbols
    if not set(known) & set(symbols):
        raise bad_input(str(model), "symbols", ", ".join(known), f"one of {', '.join(symbols)}", "train a model on this data set")
    return model


def train_on_earlier_part(replay: Path, out: Path, seed: int) -> tuple[Path, int]:
    """(model folder, first event time that it has not seen) of a model trained on the set itself."""
    from tidemark.cli.models import train_lob_command

    folder = out / "model"
    train_lob_command(data=replay, out=folder, config="demo", seed=seed, symbols=None, as_json=False)
    return folder, int(json.loads((folder / "data_manifest.json").read_text())["test_start_ns"])


def assembly_module() -> ModuleType:
    """cdk/assembly.py, loaded by path: `cdk/` is no part of the package."""
    import tidemark

    path = Path(tidemark.__file__).parents[2] / "cdk" / "assembly.py"
    spec = importlib.util.spec_from_file_location("tidemark_cdk_assembly", path)
    if spec is None or spec.loader is None or not path.exists():
        raise bad_input("tidemark run", "cdk/assembly.py", "nothing", "the project's checkout", "run from a clone of the repository")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise bad_input(str(path), "--config", error.strerror or "unreadable", "a readable JSON file") from error


class ConsoleNarrator:
    """Lines and a progress bar on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        columns = (TextColumn("replay"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} events"))
        self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console, transient=True)
        self._task: Any = None

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    def progress(self, progress: "Progress") -> None:
        """Move the bar; it appears with the first event."""
        if not progress.total:
            return
        if self._task is None:
            self._task = self._bar.add_task("replay", total=progress.total)
            self._bar.start()
        self._bar.update(self._task, completed=progress.done)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
