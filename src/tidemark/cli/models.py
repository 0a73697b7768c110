"""`tidemark models`: train and evaluate the models, and pack a version for a SageMaker endpoint."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemark.errors import bad_input

if TYPE_CHECKING:
    from tidemark.adapters.dataset.store import Dataset
    from tidemark.models.training import Trained
    from tidemark.research.lob_evaluation import LobEvaluation

app = typer.Typer(help="Train, evaluate and pack models.", no_args_is_help=True)
train_app = typer.Typer(help="Train a model on a data set.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Hold a trained model against its baselines.", no_args_is_help=True)
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")

Data = Annotated[Path, typer.Option("--data", help="Canonical data set folder.")]
Symbols = Annotated[str | None, typer.Option("--symbols", help="Comma-separated; default: all of the data set.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]


@train_app.command("lob")
def train_lob_command(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model; must be new or empty.")],
    config: Annotated[str, typer.Option("--config", help="demo, cpu or tiny.")] = "demo",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1)] = 0,
    symbols: Symbols = None,
    as_json: AsJson = False,
) -> None:
    """Train the book model: windows of 48 book features in, chances of the mid's next move out."""
    from tidemark.adapters.dataset.store import Dataset
    from tidemark.models.artifact import save
    from tidemark.models.config import named_config
    from tidemark.models.training import content_of
    from tidemark.models.vendored import serving_code
    from tidemark.research.lob_evaluation import evaluate, forecasts_on_test
    from tidemark.research.model_card import model_card

    chosen = named_config(config, seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise bad_input(str(out), "--out", "exists and is not empty", "a new or empty folder", "models are never overwritten")
    source = Dataset.open(data)
    trained = _train(source, _symbol_list(symbols), chosen, quiet=as_json)
    evaluation = evaluate(forecasts_on_test(trained, seed=seed), seed=seed)
    manifest = _data_manifest(source, trained)
    content = content_of(
        trained,
        metrics={"lob": evaluation.to_json(), "seed": seed},
        data_manifest=manifest,
        card=model_card(trained, evaluation, manifest),
        code=serving_code(),
    )
    version = save(out, content)
    _print(evaluation, {"version": version, "out": str(out), "split": trained.split.by}, as_json)


@evaluate_app.command("lob")
def evaluate_lob_command(
    data: Data,
    model: Annotated[Path, typer.Option("--model", help="Folder of the trained model.")],
    symbols: Symbols = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1)] = 0,
    as_json: AsJson = False,
) -> None:
    """Score a trained model on the part of a data set after everything it was trained on; baselines are fitted on what is before."""
    from tidemark.adapters.dataset.store import Dataset
    from tidemark.models.predictor import LobPredictor
    from tidemark.research.lob_evaluation import evaluate, forecasts_of_saved

    source = Dataset.open(data)
    predictor = LobPredictor.load(model)
    forecasts = forecasts_of_saved(predictor, source, _symbol_list(symbols), seed=seed)
    _print(evaluate(forecasts, seed=seed), {"version": predictor.description.version, "model": str(model)}, as_json)


@app.command("pack")
def pack_command(
    model: Annotated[Path, typer.Option("--model", help="Folder of the trained model.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, usually model.tar.gz.")],
) -> None:
    """Pack a model's folder as the archive that a SageMaker endpoint loads; the same version gives the same bytes."""
    from tidemark.models.artifact import pack, write_file

    write_file(out, pack(model))
    typer.echo(f"{out}: {out.stat().st_size:,} bytes")


@app.command("show")
def show_command(model: Annotated[Path, typer.Argument(help="Folder of a trained model.")], as_json: AsJson = False) -> None:
    """Verify a model's folder and print its card, or its description as JSON."""
    from tidemark.models.artifact import load

    artifact = load(model)
    typer.echo(json.dumps(artifact.description.to_json(), indent=1) if as_json else (model / "card.md").read_text())


def _train(source: "Dataset", symbols: list[str] | None, config: Any, *, quiet: bool) -> "Trained":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tidemark.models.datasets import load_sessions
    from tidemark.models.fit import Epoch
    from tidemark.models.training import train_lob

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        reading = progress.add_task("reading sessions", total=len(source.dates()), note="")
        sessions = []
        for session in load_sessions(source, symbols):
            sessions.append(session)
            done = len({entry.session for entry in sessions})
            progress.update(reading, completed=done, note=session.session)
        fitting = progress.add_task("training", total=config.members * config.fit.epochs, note="")

        def on_epoch(member: int, epoch: Epoch) -> None:
            note = f"validation {epoch.valid_loss:.4f}{' best' if epoch.best else ''}"
            progress.update(fitting, completed=member * config.fit.epochs + epoch.epoch, note=note)

        return train_lob(sessions, config, on_epoch=on_epoch)


def _symbol_list(text: str | None) -> list[str] | None:
    return None if text is None else [part for part in text.split(",") if part]


def _data_manifest(source: "Dataset", trained: "Trained") -> dict[str, Any]:
    return {
        "source": source.manifest.source,
        "licence": source.manifest.licence,
        "data_hash": source.data_hash,
        "sessions": list(trained.windows.sessions),
        "symbols": list(trained.windows.symbols),
        "split": trained.split.by,
        "valid_start_ns": trained.split.valid_start_ns,
        "test_start_ns": trained.split.test_start_ns,
    }


def _print(evaluation: "LobEvaluation", head: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**head, **evaluation.to_json()}, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Test part: nats per row, lower is better")
    for title in ("", "three classes", "saved by the model [95 %]", "direction of moves", "saved by the model [95 %] "):
        table.add_column(title)
    saved = [{entry.baseline: entry.gain for entry in claim.comparisons} for claim in (evaluation.trend, evaluation.direction)]
    for name, loss in evaluation.log_loss.items():
        gains = [f"{part[name].value:+.4f} [{part[name].low:+.4f}, {part[name].high:+.4f}]" if name in part else "" for part in saved]
        table.add_row(name, f"{loss:.4f}", gains[0], f"{evaluation.direction_loss[name]:.4f}", gains[1])
    console = Console()
    console.print(table)
    model = evaluation.model
    console.print(f"verdict: {evaluation.verdict.value}; {model.rows:,} rows, {model.sessions} sessions or blocks; ", end="")
    console.print(
        f"calibration error {model.ece.value:.3f} [{model.ece.low:.3f}, {model.ece.high:.3f}]; macro-F1 {model.macro_f1.value:.3f}"
    )
    if head.get("split") == "time":
        console.print("one session (or two): split by time, earlier 60 % trains and validates, later 40 % tests; labels purged at the cuts")
    console.print("; ".join(f"{name}: {value}" for name, value in head.items()))
