"""`tidemark research`: experiments that say whether the models deserve to be listened to."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemark.errors import bad_input

if TYPE_CHECKING:
    from tidemark.research.planted import PlantedConfig, SeedResult

JOBS_MAX = 64

app = typer.Typer(help="Experiments on simulated markets with a known answer.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `planted` a sub-command."""


@app.command("planted")
def planted_command(
    seeds: Annotated[str, typer.Option("--seeds", help="A:B, seeds A to B-1; the official ones are 0:20.")] = "0:20",
    market: Annotated[str, typer.Option("--market", help="planted, null or both.")] = "both",
    out: Annotated[Path | None, typer.Option("--out", help="JSON file; seeds that are already in it are not run again.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=JOBS_MAX, help="Seeds at a time, one core each.")] = 1,
) -> int:
    """Train the book model on a market with a planted edge, and on one without, and count how often it claims an edge.

    Exit 1 when it is found in fewer than 80 % of the planted seeds or claimed in more than 10 % of the null ones.
    """
    from tidemark.research.planted import PlantedConfig, summarise

    first, last = _seed_range(seeds)
    markets = ("planted", "null") if market == "both" else (market,)
    if market not in ("planted", "null", "both"):
        raise bad_input("tidemark research planted", "--market", market, "planted, null or both")
    config = PlantedConfig()
    document = _read(out, config)
    done = {(entry["market"], entry["seed"]) for entry in document["results"]}
    wanted = [(name, seed) for name in markets for seed in range(first, last)]
    for result in _run([task for task in wanted if task not in done], config, jobs):
        document["results"].append(result.to_json())
        document["results"].sort(key=lambda entry: (entry["market"], entry["seed"]))
        _say(result)
        _write(out, document)
    counted = [entry for entry in document["results"] if (entry["market"], entry["seed"]) in set(wanted)]
    summary = summarise(counted)
    document["summary"] = summary
    _write(out, document)
    typer.echo(json.dumps(summary, indent=1))
    return 0 if summary["passed"] else 1


def _run(tasks: list[tuple[str, int]], config: "PlantedConfig", jobs: int) -> "Iterator[SeedResult]":
    """Results as they come; one core per seed, so that jobs side by side do not fight over threads."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are loaded, here and in the workers
    from tidemark.research.planted import run_seed

    if jobs == 1:
        for market, seed in tasks:
            yield run_seed(seed, market, config)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run_seed, seed, market, config) for market, seed in tasks]):
            yield future.result()


def _say(result: "SeedResult") -> None:
    verdict = "claims an edge" if result.beats else "claims none"
    right = "ok" if result.ok else "NOT OK"
    share = f", {result.oracle_frac:.0%} of the oracle's gain" if result.market == "planted" else ""
    typer.echo(f"{result.market} {result.seed}: {verdict}{share}; {right}; {result.seconds:.0f} s")


def _seed_range(text: str) -> tuple[int, int]:
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isdigit() and len(part) <= 9 for part in parts) or int(parts[0]) >= int(parts[1]):
        raise bad_input("tidemark research planted", "--seeds", text, "A:B with A below B, such as 0:20")
    return int(parts[0]), int(parts[1])


def _read(out: Path | None, config: "PlantedConfig") -> dict[str, Any]:
    """The document in the file, if it is of this very experiment; a fresh one where there is none."""
    fresh: dict[str, Any] = {"config": json.loads(json.dumps(config.to_json())), "results": []}
    if out is None or not out.exists():
        return fresh
    try:
        document = json.loads(out.read_bytes())
    except (OSError, ValueError) as error:
        raise bad_input(str(out), "json", str(error), "a document that this command wrote") from error
    if not isinstance(document, dict) or document.get("config") != fresh["config"] or not isinstance(document.get("results"), list):
        raise bad_input(str(out), "config", "another experiment", "this experiment's configuration", "choose another file")
    return document


def _write(out: Path | None, document: dict[str, Any]) -> None:
    if out is None:
        return
    from tidemark.models.artifact import write_file

    write_file(out, json.dumps(document, indent=1).encode())
