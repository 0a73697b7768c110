"""A run's folder back into memory, for reports."""

from pathlib import Path
from typing import Any

import msgspec

from tidemark.adapters.parquet import read_table
from tidemark.adapters.runfolder import CONFIG, EQUITY, JOURNAL, PREDICTIONS, SUMMARY, TRADES, read_run_journal
from tidemark.engine.journal import EquityMark, Refused, RunStarted, SignalSeen, TradeClosed
from tidemark.errors import bad_input
from tidemark.reporting.rundata import RunData


def read_run(run_dir: Path) -> RunData:
    """The run in `run_dir`. Raises InputError naming the file that is missing or broken; journal and predictions may be absent."""
    if not run_dir.is_dir():
        raise bad_input(str(run_dir), "run", "no such folder" if not run_dir.exists() else "a file", "the folder of a run")
    summary, config = _table(run_dir / SUMMARY), _table(run_dir / CONFIG)
    started, signals, refusals = _of_journal(run_dir)
    return RunData(
        name=run_dir.resolve().name,
        summary=summary,
        config=config,
        trades=read_table(run_dir / TRADES, TradeClosed.__struct_fields__),
        equity=read_table(run_dir / EQUITY, EquityMark.__struct_fields__),
        predictions=read_table(run_dir / PREDICTIONS) if (run_dir / PREDICTIONS).exists() else None,
        signals=_columns(signals, SignalSeen),
        refusals=_columns(refusals, Refused),
        instruments={spec["symbol"]: spec for spec in started.instruments} if started else {},
    )


def _of_journal(run_dir: Path) -> tuple[RunStarted | None, list[SignalSeen], list[Refused]]:
    records = read_run_journal(run_dir) if (run_dir / JOURNAL).exists() else []
    started = next((record for record in records if isinstance(record, RunStarted)), None)
    signals = [record for record in records if isinstance(record, SignalSeen)]
    return started, signals, [record for record in records if isinstance(record, Refused)]


def _columns(records: list[Any], kind: type[msgspec.Struct]) -> dict[str, list[Any]]:
    return {name: [getattr(record, name) for record in records] for name in kind.__struct_fields__}


def _table(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise bad_input(str(path), "content", error.strerror or "unreadable", "a file of a run's folder") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_input(str(path), "content", str(error), "a JSON object") from error
