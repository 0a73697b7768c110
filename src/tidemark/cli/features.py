"""`tidemark features build`: the feature rows of a data set as one Parquet file."""

from pathlib import Path
from typing import Any

import typer

app = typer.Typer(no_args_is_help=True, help="Features of a data set.")


@app.callback()
def _group() -> None:
    """Keeps `build` a sub-command."""


@app.command()
def build(
    data: Path = typer.Argument(help="Data set folder."),
    out: Path = typer.Option(help="Parquet file to write."),
) -> None:
    """Compute the grid rows of every symbol and session; the same kernel that serves them live."""
    import numpy as np

    from tidemark.adapters.dataset.store import Dataset
    from tidemark.adapters.parquet import write_table
    from tidemark.features.batch import grid_rows
    from tidemark.features.catalogue import NAMES
    from tidemark.features.params import DEFAULT_PARAMS

    dataset = Dataset.open(data)
    parts = [grid_rows(dataset.block([symbol], date), DEFAULT_PARAMS) for symbol in dataset.symbols for date in dataset.dates(symbol)]
    columns: dict[str, Any] = {
        "symbol": [part.symbol for part in parts for _ in range(len(part.seq))],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ("grid_ts_ns", "event_ts_ns", "recv_ts_ns", "seq")},
    }
    values = np.concatenate([part.values for part in parts])
    columns.update({name: values[:, i] for i, name in enumerate(NAMES)})
    write_table(out, columns)
    typer.echo(f"{len(values)} rows of {len(NAMES)} features: {out}")
