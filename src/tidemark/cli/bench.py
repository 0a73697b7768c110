"""`tidemark bench`: speed, memory and sizes on this machine, each against its bound."""

import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tidemark.errors import bad_input

if TYPE_CHECKING:
    from tidemark.local.bench import Figure, Reading, Readings


def bench(
    quick: bool = typer.Option(False, "--quick", help="Smaller data and fewer repeats; rougher figures."),
    only: list[str] | None = typer.Option(
        None, "--only", metavar="NAME", help="line, scan, step, engine, imports, package, disk or assembly; may be repeated."
    ),
    model: Path | None = typer.Option(None, help="Model folder for the line; default: a tiny one is trained."),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON."),
) -> int:
    """What this machine does, against the bounds. Never fails because of speed."""
    from tidemark.local.bench import PARTS, attempt, machine

    chosen = _chosen(only, PARTS)
    about = machine()
    readings: Readings = {}
    for part, measure in _measures(quick, model).items():
        if part in chosen:
            print(f"measuring: {part}", file=sys.stderr)
            readings |= attempt(part, measure)
    if as_json:
        print(json.dumps({"machine": about, "quick": quick, "figures": to_json(readings)}, indent=1))
    else:
        print(" · ".join(describe(about)))
        _print_table(readings)
    return 0


def _chosen(only: Sequence[str] | None, parts: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in only or () if name not in parts]
    if unknown:
        raise bad_input("tidemark bench", "--only", unknown[0], f"one of {', '.join(parts)}")
    return tuple(only or parts)


def _measures(quick: bool, model: Path | None) -> "dict[str, Callable[[], Readings]]":
    """How each part is measured, in this order: the line first, before compiled kernels weigh on this process's memory."""
    import tidemark
    from tidemark.local import bench as figures

    project = Path(tidemark.__file__).parents[2]
    return {
        "line": lambda: _line(quick, model),
        "scan": lambda: figures.measure_scan(quick=quick),
        "step": figures.measure_step,
        "engine": lambda: figures.measure_engine(quick=quick),
        "imports": lambda: figures.measure_imports(project, quick=quick),
        "package": lambda: _package(project),
        "disk": lambda: figures.measure_disk(Path(sys.prefix)),
        "assembly": lambda: figures.measure_assembly(project),
    }


def _line(quick: bool, model: Path | None) -> "Readings":
    from tidemark.cli.run import assembly_module
    from tidemark.local.bench import measure_line, prepare_line

    assembly = assembly_module().ensure_assembly("dev")
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as scratch:
        work = Path(scratch)
        work.chmod(0o755)  # PostgreSQL's account must reach its data folder
        replay, trained = prepare_line(work, model, quick=quick)
        return measure_line(replay, trained, work / "run", assembly, lambda text: print(f"  {text}", file=sys.stderr))


def _package(project: Path) -> "Readings":
    from tidemark.cli.run import assembly_module
    from tidemark.local.bench import measure_package

    assembly_module().import_package()
    package: Any = importlib.import_module("cdk.lambda_package")
    target: Any = importlib.import_module("cdk.lambda_target")
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as scratch:
        return measure_package(lambda: package.build_lambda_package(project, Path(scratch), target.LAMBDA))


def describe(about: dict[str, Any]) -> list[str]:
    """The machine in words."""
    return [
        f"{about['cpu']}",
        f"{about['cores']} cores, load {about['load_1min']}",
        f"{about['memory_gib']} GiB",
        f"Python {about['python']}",
        f"numba {'on' if about['numba'] else 'off'}",
    ]


def to_json(readings: "Readings") -> dict[str, dict[str, Any]]:
    """{name: what, value, unit, bound, at_most, verdict, note} of the figures that were asked for."""
    return {
        figure.name: {
            "what": figure.what,
            "value": reading.value,
            "unit": figure.unit,
            "bound": figure.bound,
            "at_most": figure.at_most,
            "verdict": figure.verdict(reading.value),
            "note": reading.note,
        }
        for figure, reading in _lines(readings)
    }


def rows(readings: "Readings") -> list[tuple[str, str, str, str, str]]:
    """(what, measured, bound, verdict, note) of each figure, as the table shows them."""
    return [
        (figure.what, _text(reading.value, figure.unit), _bound(figure), figure.verdict(reading.value), reading.note)
        for figure, reading in _lines(readings)
    ]


def _lines(readings: "Readings") -> "list[tuple[Figure, Reading]]":
    from tidemark.local.bench import FIGURES

    return [(figure, readings[figure.name]) for figure in FIGURES if figure.name in readings]


def _bound(figure: "Figure") -> str:
    if figure.bound is None:
        return ""
    return f"{'≤' if figure.at_most else '≥'} {figure.bound:,.10g}"


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} {unit}" if value >= 1_000 or value == int(value) else f"{value:.3g} {unit}"


def _print_table(readings: "Readings") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "measured", "bound", "verdict", "how")
    colours = {"within": "green", "beyond": "red", "not available": "yellow", "information": "dim"}
    for what, measured, bound, verdict, note in rows(readings):
        table.add_row(what, measured, bound, f"[{colours[verdict]}]{verdict}[/]", note)
    Console().print(table)
