"""`tidemark risk`: would this order pass, and which rule says so?"""

from pathlib import Path
from typing import Any

import typer

from tidemark.errors import bad_input

app = typer.Typer(no_args_is_help=True, help="The risk rules, asked by hand.")
EXIT_REFUSED = 1


@app.callback()
def _group() -> None:
    """Keeps `check` a sub-command."""


@app.command()
def check(
    state: Path = typer.Option(help="JSON: {now_ns, account, market, limits?}; fields as in the risk rules' documentation."),
    order: Path = typer.Option(help="JSON: the order, `price` as decimal text or `price_ticks`."),
    as_json: bool = typer.Option(False, "--json", help="Print the rules as JSON."),
) -> None:
    """Print every rule with its figure and limit. Exit code 0: the order may go; 1: it may not; 2: the files do not make sense."""
    import msgspec

    from tidemark.risk.check import check_files

    checks = check_files(_read(state), _read(order), state_source=str(state), order_source=str(order))
    refused = [entry for entry in checks if not entry["passed"]]
    if as_json:
        typer.echo(msgspec.json.encode({"passed": not refused, "rules": checks}).decode())
    else:
        for entry in checks:
            typer.echo(_line(entry))
    if refused:
        raise typer.Exit(EXIT_REFUSED)


def _line(entry: dict[str, Any]) -> str:
    figure = "unknown" if entry["figure"] is None else entry["figure"]
    limit = "none" if entry["limit"] is None else entry["limit"]
    return f"{'ok     ' if entry['passed'] else 'REFUSED'} {entry['rule']:<24} {figure:>20} of at most {limit:>20} {entry['unit']}".rstrip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise bad_input(str(path), "file", error.strerror or "unreadable", "a readable JSON file") from error
