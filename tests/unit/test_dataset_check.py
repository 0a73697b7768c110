"""`tidemark data check`: every planted defect is counted once, under its name, and the verdict follows the score."""

import json
from pathlib import Path

import numpy as np
import pytest

from dataset_files import entries, market_block, tidemark
from tidemark.adapters.dataset.check import check_dataset
from tidemark.adapters.dataset.store import write_dataset
from tidemark.book.quality import Defect
from tidemark.events import LEVELS, EventBlock, concat
from tidemark.instruments import INSTRUMENTS
from tidemark.units import NO_PRICE, NS_PER_MIN


def write(out: Path, block: EventBlock) -> Path:
    """Store a block as it is."""
    write_dataset(out, {symbol: INSTRUMENTS[symbol] for symbol in block.symbols}, [block], source="a test", licence="none")
    return out


def _one_sided(block: EventBlock, row: int) -> None:
    block.px_ticks[row, LEVELS:], block.qty[row, LEVELS:] = NO_PRICE, 0


def _crossed(block: EventBlock, row: int) -> None:
    block.px_ticks[row, LEVELS:] = block.px_ticks[row, 0] - 1 + np.arange(LEVELS)


def _locked(block: EventBlock, row: int) -> None:
    block.px_ticks[row, LEVELS:] = block.px_ticks[row, 0] + np.arange(LEVELS)


def _unordered(block: EventBlock, row: int) -> None:
    block.px_ticks[row, 3] = block.px_ticks[row, 2]


def _negative(block: EventBlock, row: int) -> None:
    block.qty[row, 4] = -1


def _late(block: EventBlock, row: int) -> None:
    block.event_ts_ns[row] -= NS_PER_MIN


def _repeated(block: EventBlock, row: int) -> None:
    block.seq[row] = block.seq[row - 1]


def _lost(block: EventBlock, row: int) -> None:
    block.seq[row:] += 3


@pytest.mark.parametrize(
    ("plant", "expected", "missing_seq"),
    [
        (_one_sided, {Defect.EMPTY_SIDE: 1}, 0),
        (_crossed, {Defect.CROSSED: 1}, 0),
        (_locked, {Defect.LOCKED: 1}, 0),
        (_unordered, {Defect.LEVEL_ORDER: 1}, 0),
        (_negative, {Defect.NEGATIVE_QTY: 1}, 0),
        (_late, {Defect.TIME_BACKWARDS: 1}, 0),
        (_repeated, {Defect.SEQ_DUPLICATE: 1, Defect.SEQ_GAP: 1}, 1),
        (_lost, {Defect.SEQ_GAP: 1}, 3),
    ],
)  # fmt: skip
def test_counts_each_planted_defect_once(tmp_path: Path, plant: object, expected: dict[Defect, int], missing_seq: int) -> None:
    """A report that double-counts, or blames the neighbour, sends people to the wrong place."""
    block = market_block(("ES",), 400, trade_share=0.0)
    assert callable(plant)
    plant(block, 200)
    quality = check_dataset(write(tmp_path / "set", block)).symbols["ES"]
    assert dict(quality.defects) == expected
    assert quality.missing_seq == missing_seq


@pytest.mark.parametrize(("bad_rows", "code", "verdict"), [(0, 0, "pass"), (5, 0, "pass"), (6, 1, "fail")])
def test_the_verdict_is_99_5_percent_of_usable_events(tmp_path: Path, bad_rows: int, code: int, verdict: str) -> None:
    """1,000 events: five bad ones are exactly the target, six are below it."""
    block = market_block(("ES",), 1000, trade_share=0.0)
    for row in range(100, 100 + bad_rows):
        _crossed(block, row)
    outcome = tidemark("data", "check", write(tmp_path / "set", block), "--json")
    report = json.loads(outcome.out)
    assert outcome.code == code
    assert report["verdict"] == verdict
    assert report["quality_ppm"] == 1_000_000 - 1000 * bad_rows


def test_one_bad_symbol_fails_the_set_however_many_good_ones_there_are(tmp_path: Path) -> None:
    """Trading happens per symbol; an average would hide it."""
    block = market_block(("ES", "NQ"), 2000, trade_share=0.0)
    rows = np.flatnonzero(block.symbol_i == 1)[:8].tolist()
    for row in rows:
        _locked(block, row)
    report = check_dataset(write(tmp_path / "set", block))
    assert report.quality_ppm > 995_000
    assert report.symbols["ES"].quality_ppm == 1_000_000
    assert not report.passed


def test_measures_coverage_and_clocks(tmp_path: Path) -> None:
    """Thin books and a slow receiver are true and usable, and still something to know before training."""
    block = market_block(("ES",), 100, trade_share=0.0)
    block.px_ticks[10:20, 9], block.qty[10:20, 9] = NO_PRICE, 0
    block.recv_ts_ns[50] = block.event_ts_ns[50] - 5
    block.px_ticks[61], block.qty[61] = block.px_ticks[60], block.qty[60]
    report = check_dataset(write(tmp_path / "set", block)).to_json()["symbols"]["ES"]
    assert report["full_books_ppm"] == 900_000
    assert report["levels_filled_ppm"] == 995_000
    assert report["recv_before_event"] == 1
    assert report["repeated_books"] == 1


def test_an_altered_file_fails_even_where_its_size_is_the_same(tmp_path: Path) -> None:
    """A flipped bit inside a value is what hashes are for."""
    root = write(tmp_path / "set", market_block(("ES",), 300))
    path = next(root.glob("bars/*/*/*/*.parquet"))
    data = bytearray(path.read_bytes())
    data[8] ^= 1
    path.write_bytes(data)
    outcome = tidemark("data", "check", root, "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["altered"] == [path.relative_to(root).as_posix()]


def test_rows_exchanged_behind_the_hashes_back_are_found(tmp_path: Path) -> None:
    """Whoever rewrites a file and its hash still has to explain the digest of the rows."""
    block = market_block(("ES",), 300)
    root = write(tmp_path / "a", block)
    changed = concat([block])
    changed.qty[5, 0] += 1
    other = write(tmp_path / "b", changed)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (root, other)]
    (other / "manifest.json").write_text(json.dumps({**manifests[1], "content": manifests[0]["content"]}))
    assert check_dataset(other).altered == ("rows of ES",)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_an_unreadable_folder_is_bad_input(tmp_path: Path, name: str) -> None:
    """Exit 2: the data was not judged at all."""
    (tmp_path / "file").write_text("x")
    outcome = tidemark("data", "check", tmp_path / name)
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert outcome.errors[0].startswith("error: ")
    assert entries(tmp_path) == ["file"]


def test_prints_a_table_for_people(tmp_path: Path) -> None:
    """The same facts as the JSON, with the verdict in words."""
    outcome = tidemark("data", "check", write(tmp_path / "set", market_block(("ES", "NQ"), 200)))
    assert outcome.code == 0
    assert "score 100.0000 %, target 99.5 % for every symbol: pass" in outcome.out
