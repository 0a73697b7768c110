"""`tidemark run` from end to end: it repeats exactly, equals the backtest, accounts for every event, and leaves no process."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from run_fixtures import Run, World, start_run, world  # noqa: F401 - a fixture
from tidemark.adapters.dataset.store import Dataset
from tidemark.adapters.dataset.writer import write_dataset
from tidemark.adapters.runfolder import read_run_journal
from tidemark.engine.journal import Fill, OrderEvent, RunStarted, SignalSeen
from tidemark.events import LEVELS, Kind
from tidemark.units import NO_PRICE

CROSSED, ONE_SIDED = 40, 25


def finished(run: Run) -> Run:
    """The run, which must end well and alone."""
    run.wait_for_trading()
    run.child("postgres")  # remembers the family
    assert run.end() == 0, run.said
    assert run.left() == []
    return run


def summary_of(run: Path) -> dict[str, Any]:
    """A run's summary without what depends on the machine's speed."""
    summary = json.loads((run / "summary.json").read_text())
    summary.pop("latency_ns")
    return summary


@pytest.fixture(scope="module")
def first(world: World, tmp_path_factory) -> Path:  # noqa: F811
    """A run of the world's data."""
    return finished(start_run(world, tmp_path_factory.mktemp("first") / "run", "--speed", "max")).out


def test_every_event_is_stored_once(first, world):  # noqa: F811
    """Source = Postgres + refused = lake + refused; anything else is a loss or a double."""
    summary = summary_of(first)
    rows = summary["data"]["rows"]
    assert rows["source"] == Dataset.open(world.data).event_count() > 5_000
    assert rows["postgres"] == rows["lake"] == rows["source"]
    assert rows["quarantined"] == 0
    assert rows["predictions"] > 100
    assert not [text for text in summary["findings"] if " rows" in text]
    assert (first / "report.html").stat().st_size > 10_000


def test_a_run_repeats_exactly(first, world, tmp_path):  # noqa: F811
    """Ten programs, three streams, and the same figures to the last digit: what makes a change of them mean something."""
    second = finished(start_run(world, tmp_path / "run", "--speed", "max")).out
    assert summary_of(second) == summary_of(first)
    assert (second / "journal.bin").read_bytes() == (first / "journal.bin").read_bytes()


def test_a_run_equals_the_backtest(first, world, tmp_path):  # noqa: F811
    """What was tested is what runs: the same signals, orders and fills, in the same order; only the stage's name differs."""
    done = world.program("backtest", world.data, "--model", world.model, "--out", tmp_path / "backtest")
    assert done.returncode == 0, done.stderr
    tested, ran = read_run_journal(tmp_path / "backtest"), read_run_journal(first)
    for kind in (SignalSeen, OrderEvent, Fill):
        of_kind = [record for record in ran if isinstance(record, kind)]
        assert of_kind == [record for record in tested if isinstance(record, kind)]
        assert of_kind, "an empty journal proves nothing"
    assert isinstance(ran[0], RunStarted)
    assert isinstance(tested[0], RunStarted)
    assert [record for record in ran if not isinstance(record, RunStarted)] == [r for r in tested if not isinstance(r, RunStarted)]
    assert ran[0].instruments == tested[0].instruments
    assert ran[0].cash_micros == tested[0].cash_micros


def test_unusable_books_are_counted_with_their_reason_and_the_sums_match(world, tmp_path):  # noqa: F811
    """A feed that glitches must not trade on it, and must not lose the events around it."""
    run = finished(start_run(world, tmp_path / "run", "--speed", "max", data=glitched(world.data, tmp_path / "data"))).out
    summary = summary_of(run)
    rows = summary["data"]["rows"]
    assert summary["data"]["quarantined"] == {"CROSSED": CROSSED, "EMPTY_SIDE": ONE_SIDED}
    assert rows["quarantined"] == CROSSED + ONE_SIDED
    assert rows["postgres"] == rows["lake"] == rows["source"] - CROSSED - ONE_SIDED
    assert not [text for text in summary["findings"] if " rows" in text]


def glitched(source: Path, out: Path) -> Path:
    """The data set with some books of ES crossed and some without asks."""
    data = Dataset.open(source)
    block = data.block()
    books = np.flatnonzero((block.kind == Kind.DEPTH) & (block.symbol_i == block.symbols.index("ES")))
    chosen = np.random.default_rng(1).choice(books[100:], CROSSED + ONE_SIDED, replace=False)
    prices, sizes = block.px_ticks.copy(), block.qty.copy()
    crossed, one_sided = chosen[:CROSSED], chosen[CROSSED:]
    prices[crossed, :LEVELS] += (prices[crossed, LEVELS] - prices[crossed, 0] + 2)[:, None]
    prices[one_sided, LEVELS:], sizes[one_sided, LEVELS:] = NO_PRICE, 0
    write_dataset(out, data.instruments, [replace(block, px_ticks=prices, qty=sizes)], source="simulated, glitched", licence="free")
    return out
