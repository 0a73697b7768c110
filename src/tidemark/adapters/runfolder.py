"""A run's folder: everything that is said about a run, in one place, whole or not at all.

summary.json (figures), config.json (every setting, seed, code revision and data hash), journal.bin (what happened), trades.parquet,
equity.parquet and, where there was a model, predictions.parquet. The report is made from these by `reporting.render`.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tidemark.adapters.dataset.atomic import atomic_file, atomic_folder
from tidemark.adapters.parquet import write_table
from tidemark.engine.journal import JournalRecord, encode_journal, read_journal
from tidemark.engine.result import EngineResult
from tidemark.errors import DecodeError, bad_input

SUMMARY, CONFIG, JOURNAL = "summary.json", "config.json", "journal.bin"
TRADES, EQUITY, PREDICTIONS = "trades.parquet", "equity.parquet", "predictions.parquet"


def write_run_folder(
    out: Path,
    *,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    records: Sequence[JournalRecord],
    result: EngineResult,
    predictions: Sequence[Any] = (),
) -> None:
    """Write all files of a run. `predictions` are msgspec structs of one kind. Raises InputError when `out` is taken or not writable."""
    with atomic_folder(out) as folder:
        write_run_files(folder, summary=summary, config=config, records=records, result=result)
        if predictions:
            names = predictions[0].__struct_fields__
            write_table(folder / PREDICTIONS, {name: [getattr(row, name) for row in predictions] for name in names})


def write_run_files(
    folder: Path, *, summary: Mapping[str, Any], config: Mapping[str, Any], records: Sequence[JournalRecord], result: EngineResult
) -> None:
    """The files that every run has, each whole or not at all, into an existing folder; the summary last, as it says that all is there."""
    _write_whole(folder / CONFIG, _pretty(config))
    _write_whole(folder / JOURNAL, encode_journal(records))
    write_table(folder / TRADES, result.trade_columns())
    write_table(folder / EQUITY, result.equity_columns())
    _write_whole(folder / SUMMARY, _pretty(summary))


def _write_whole(path: Path, data: bytes) -> None:
    with atomic_file(path) as partial:
        partial.write_bytes(data)


def read_run_journal(run: Path) -> list[JournalRecord]:
    """The records of a run. Raises InputError when the folder has none or they do not verify."""
    path = run / JOURNAL
    try:
        return list(read_journal(path.read_bytes(), source=str(path)))
    except OSError as error:
        raise bad_input(str(path), "journal", error.strerror or "unreadable", "a run's journal") from error
    except DecodeError as error:
        raise bad_input(str(path), "journal", error.reason, "records that verify", error.detail) from error


def git_revision(folder: Path) -> str | None:
    """Commit that a checkout is at, with `+` when files differ from it; None where there is no checkout or no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _pretty(value: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"
