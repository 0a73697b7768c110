"""`tidemark report`: the report of a run, from its folder."""

import json
from pathlib import Path

import typer


def report(
    run: Path = typer.Argument(help="Folder of a run, as `tidemark run` or `tidemark backtest` writes it."),
    as_json: bool = typer.Option(False, "--json", help="Print the path as JSON."),
) -> None:
    """Write RUN/report.html, one file that needs no network, and print its path."""
    from tidemark.adapters.report_file import write_report

    path = write_report(run)
    typer.echo(json.dumps({"report": str(path)}) if as_json else str(path))
