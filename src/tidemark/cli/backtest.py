"""`tidemark backtest`: a data set through features, model, signals, risk and engine; the result is a run's folder."""

import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tidemark.errors import bad_input

if TYPE_CHECKING:
    from tidemark.adapters.dataset.store import Dataset
    from tidemark.engine.config import EngineConfig
    from tidemark.events import EventBlock
    from tidemark.research.backtest import Backtest, SignalPath

EVENTS_PER_BLOCK = 65_536


class Strategy(StrEnum):
    """SIGNALS: the model's. EVERY_N: one order every so many events, to measure the engine."""

    SIGNALS = "signals"
    EVERY_N = "every-n"


class Speed(StrEnum):
    """How fast recorded time passes."""

    ONE = "1"
    TEN = "10"
    MAX = "max"


def backtest(
    data: Path = typer.Argument(help="Data set folder."),
    out: Path = typer.Option(help="Folder of the run to write; must be new or empty."),
    config: Path | None = typer.Option(None, help="JSON file of engine settings; what it leaves out keeps its default."),
    model: Path | None = typer.Option(None, help="Model folder, as `tidemark models train` writes it."),
    strategy: Strategy = typer.Option(Strategy.SIGNALS, help="Where orders come from."),
    every: int = typer.Option(1_000, min=1, help="Events per order of the strategy every-n."),
    seed: int = typer.Option(7, min=0, help="Fixes the latency of every signal and all resampling."),
    speed: Speed = typer.Option(Speed.MAX, help="1 or 10: as fast as it was recorded, or ten times; for watching."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Replay DATA through the engine and write the run's folder. The same data, settings and seed give the same summary."""
    import msgspec

    from tidemark.adapters.dataset.atomic import require_free
    from tidemark.adapters.dataset.store import Dataset
    from tidemark.adapters.report_file import write_report
    from tidemark.adapters.runfolder import write_run_folder
    from tidemark.research.backtest import run_backtest
    from tidemark.research.summary import build_summary

    require_free(out)
    dataset = Dataset.open(data)
    settings = _settings(config, strategy, every)
    path = _signal_path(dataset, model, seed) if strategy is Strategy.SIGNALS else None
    blocks = _paced(dataset.iter_blocks(EVENTS_PER_BLOCK), speed)
    done = run_backtest(blocks, list(dataset.instruments.values()), settings, source=path)
    summary = build_summary(
        done.result, stage=settings.stage, mode="backtest", seed=seed, data={"hash": dataset.data_hash}, targets=_targets()
    )
    used = _used(settings, dataset, model, strategy, seed, done)
    write_run_folder(
        out, summary=summary, config=used, records=done.records, result=done.result, predictions=path.predictions if path else ()
    )
    write_report(out)
    typer.echo(msgspec.json.format(msgspec.json.encode(summary)).decode() if as_json else _text(summary, out))


def _settings(path: Path | None, strategy: Strategy, every: int) -> "EngineConfig":
    import msgspec

    from tidemark.engine.config import EngineConfig, Pace, decode_config

    settings = EngineConfig()
    if path is not None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise bad_input(str(path), "--config", error.strerror or "unreadable", "a readable JSON file") from error
        settings = decode_config(data, source=str(path))
    if strategy is Strategy.EVERY_N:
        limits = msgspec.structs.replace(settings.limits, entries_per_min_max=1_000_000, messages_per_s_max=1_000_000)
        return msgspec.structs.replace(settings, pace=Pace(events=every), reverse=False, strategy="every-n", limits=limits)
    return settings


def _signal_path(dataset: "Dataset", model: Path | None, seed: int) -> "SignalPath":
    if model is None:
        raise bad_input("tidemark backtest", "--model", "nothing", "a model folder", "or --strategy every-n, which needs none")
    from tidemark.features.intake import SymbolIntake
    from tidemark.features.params import DEFAULT_PARAMS
    from tidemark.models.predictor import LobPredictor
    from tidemark.research.backtest import SignalPath
    from tidemark.signals.latency import seeded_latency_ns
    from tidemark.signals.pipeline import SignalPipeline

    predictor = LobPredictor.load(model)
    known = [symbol for symbol in dataset.symbols if symbol in predictor.description.symbols]
    if not known:
        raise bad_input(str(model), "symbols", ", ".join(predictor.description.symbols), f"one of {', '.join(dataset.symbols)}")
    pipeline = SignalPipeline(predictor, dataset.instruments)
    return SignalPath({symbol: SymbolIntake(symbol, DEFAULT_PARAMS) for symbol in known}, pipeline, seeded_latency_ns, seed)


def _paced(blocks: "Iterable[EventBlock]", speed: Speed) -> "Iterator[EventBlock]":
    """The blocks, none before its recorded time has come."""
    if speed is Speed.MAX:
        yield from blocks
        return
    first_ns, began_ns = None, time.monotonic_ns()
    for block in blocks:
        first_ns = int(block.event_ts_ns[0]) if first_ns is None else first_ns
        due_ns = began_ns + (int(block.event_ts_ns[-1]) - first_ns) // int(speed.value)
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        yield block


def _targets() -> dict[str, Any]:
    """The targets that reports compare with."""
    from tidemark.reporting.targets import kpi_targets
    from tidemark.research.kpis import targets_of

    return targets_of(kpi_targets())


def _used(
    settings: "EngineConfig", dataset: "Dataset", model: Path | None, strategy: Strategy, seed: int, done: "Backtest"
) -> dict[str, Any]:
    import msgspec

    from tidemark.adapters.runfolder import git_revision

    return {
        "engine": msgspec.to_builtins(settings),
        "engine_hash": settings.hash,
        "strategy": strategy.value,
        "model": model.name if model else None,
        "seed": seed,
        "data_hash": dataset.data_hash,
        "git_revision": git_revision(Path(__file__).parent),
        "digest": done.digest,
    }


def _text(summary: dict[str, Any], out: Path) -> str:
    pnl_usd, fees_usd = (f"{summary[key] / 1e6:,.2f} USD" for key in ("pnl_micros", "costs_micros"))
    lines = [f"{summary['data']['events']} events, {summary['fills']} fills, P&L {pnl_usd} after {fees_usd} of fees"]
    refusals = ", ".join(f"{code} {count}" for code, count in summary["refusals"].items())
    lines += [f"refused: {refusals}"] if refusals else []
    return "\n".join([*lines, *summary["findings"], f"run: {out}"])
