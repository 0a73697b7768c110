"""Options of the import commands and Parquet sources: refused before anything is read or written."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_files import START_NS, csv_text, entries, tidemark
from tidemark.adapters.dataset.store import Dataset
from tidemark.units import NS_PER_S

TIMES = [START_NS + i * NS_PER_S for i in range(4)]
NAIVE = datetime(2024, 3, 1, 14, 30)
TRADES: dict[str, Any] = {
    "ts_event": TIMES,
    "price": [4800.25, 4800.5, 4800.25, 4800.0],
    "size": [1, 2, 3, 4],
    "aggressor_side": ["B", "A", "N", "B"],
}
BOOK: dict[str, Any] = {
    "ts_event": TIMES,
    "bid_px_00": [4800.0] * 4,
    "bid_sz_00": [1, 2, 3, 4],
    "ask_px_00": [4800.25] * 4,
    "ask_sz_00": [5] * 4,
}


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    """Write a table."""
    pq.write_table(pa.table(columns), path)
    return path


OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "no output": (("--symbol", "ES"), "--out: folder: got nothing; expected a folder to write; or --check"),
    "no symbol": (("--out", "set"), "--symbol"),
    "empty symbol": (("--symbol", "", "--out", "set", "--tick-size", "1"), "symbol: got nothing"),
    "path for a symbol": (("--symbol", "../x", "--out", "set", "--tick-size", "1"), "symbol: got ../x"),
    "unknown instrument": (("--symbol", "BTC", "--out", "set"), "--tick-size: tick size: got nothing; expected a decimal: BTC is none of"),
    "another tick": (("--symbol", "ES", "--tick-size", "0.5", "--out", "set"), "got 0.5; expected 0.25, the tick of ES"),
    "another step": (("--symbol", "ES", "--qty-step", "0.1", "--out", "set"), "got 0.1; expected 1: ES trades in whole contracts"),
    "another tick value": (("--symbol", "ES", "--tick-value-micros", "1", "--out", "set"), "got 1; expected 12500000, that of ES"),
    "another kind": (("--symbol", "ES", "--contract", "inverse", "--out", "set"), "got inverse; expected linear, that of ES"),
    "zero tick": (("--symbol", "BTC", "--tick-size", "0", "--out", "set"), "--tick-size: value: got 0; expected a decimal above zero"),
    "NaN tick": (("--symbol", "BTC", "--tick-size", "nan", "--out", "set"), "expected a finite number"),
    "no such kind": (("--symbol", "BTC", "--tick-size", "1", "--contract", "odd", "--out", "set"), "got odd; expected linear or inverse"),
    "inverse without value": (("--symbol", "BTC", "--tick-size", "1", "--contract", "inverse", "--check"), "an inverse contract"),
    "tick value of a fraction": (("--symbol", "B", "--tick-size", "0.01", "--qty-step", "0.00001", "--check"), "got 0.1 for a tick"),
    "no such unit": (("--symbol", "ES", "--time-unit", "min", "--out", "set"), "unit: got min; expected one of ns, us, ms, s"),
    "negative delay": (("--symbol", "ES", "--recv-delay-ms", "-5", "--out", "set"), "delay: got -5; expected 0 to 60000"),
    "check and quarantine": (("--symbol", "ES", "--check", "--quarantine", "q"), "expected no such flag beside --check"),
    "quarantine exists": (("--symbol", "ES", "--out", "set", "--quarantine", "book.csv"), "got a file that is there already"),
    "output has content": (("--symbol", "ES", "--out", "."), "entries; expected a new or an empty folder"),
    "output is a file": (("--symbol", "ES", "--out", "book.csv"), "--out: got a file; expected a new or an empty folder"),
    "output below a file": (("--symbol", "ES", "--out", "book.csv/set"), "book.csv"),
    "output in a place without files": (("--symbol", "ES", "--out", "/proc/tidemark/set"), "expected a place that can be written to"),
    "quarantine below nothing": (("--symbol", "ES", "--out", "set", "--quarantine", "no/such/q"), "expected a place that can be written"),
    "unknown flag": (("--symbol", "ES", "--out", "set", "--frobnicate"), "--frobnicate"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_refuses_bad_options_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Exit 2 before a byte is written."""
    monkeypatch.chdir(tmp_path)
    Path("book.csv").write_text(csv_text())
    options, message = OPTIONS[name]
    outcome = tidemark("data", "import", "csv", "book.csv", *options)
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert message in outcome.errors[0]
    assert entries(tmp_path) == ["book.csv"]


@pytest.mark.parametrize(
    ("source", "message"), [(".", "SRC: got a folder"), ("nothing.csv", "SRC: got nothing"), ("book.csv", "the file twice")]
)
def test_refuses_sources_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    """The same for every format."""
    monkeypatch.chdir(tmp_path)
    Path("book.csv").write_text(csv_text())
    for format_name in ("csv", "parquet", "databento", "lobster"):
        outcome = tidemark("data", "import", format_name, "book.csv", source, "--symbol", "ES", "--out", "set")
        assert outcome.code == 2
        assert message in outcome.errors[0]
    assert entries(tmp_path) == ["book.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_refuses_folders_without_permission(tmp_path: Path) -> None:
    """A read-only output and an unreadable data set are the user's to repair, in one line."""
    (tmp_path / "book.csv").write_text(csv_text())
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert tidemark("data", "import", "csv", tmp_path / "book.csv", "--symbol", "ES", "--out", locked / "set").code == 2
    locked.chmod(0)
    assert tidemark("data", "check", locked).code == 2
    locked.chmod(0o700)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _body_lost(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\0" * 60 + data[64:])


FILES: dict[str, tuple[dict[str, Any] | Callable[[Path], object], str]] = {
    "truncated": (_truncated, "expected a readable parquet"),
    "damaged inside": (_body_lost, "expected a readable parquet"),
    "empty": (lambda path: path.write_bytes(b""), "expected a readable parquet"),
    "not Parquet": (lambda path: path.write_text(csv_text()), "expected a readable parquet"),
    "no rows": ({**TRADES, **{name: pa.array([], pa.float64()) for name in TRADES}}, "rows: got 0"),
    "naive timestamps": ({**TRADES, "ts_event": pa.array([NAIVE] * 4)}, "ts_event: got 2024-03-01 14:30:00; expected a time with its zone"),
    "dates for times": ({**TRADES, "ts_event": pa.array([NAIVE.date()] * 4)}, "ts_event: got 2024-03-01; expected an integer or a time"),
    "microseconds": ({**TRADES, "ts_event": [ts // 1000 for ts in TIMES]}, "--time-unit us reads it so"),
    "null price": ({**TRADES, "price": [4800.25, None, 4800.25, 4800.0]}, ":2: price: got nothing; expected a value"),
    "NaN price": ({**TRADES, "price": [4800.25, np.nan, 4800.25, 4800.0]}, ":2: price: got nan; expected a value"),
    "infinite price": ({**TRADES, "price": [4800.25, np.inf, 4800.25, 4800.0]}, ":2: price: got inf; expected a decimal number"),
    "price off the tick": ({**TRADES, "price": [4800.25, 4800.3, 4800.25, 4800.0]}, ":2: price: got 4800.3; expected a multiple"),
    "price nearly on the tick": ({**TRADES, "price": [4800.25, 4800.2501, 4800.25, 4800.0]}, ":2: price: got 4800.2501"),
    "booleans": ({**TRADES, "size": [True] * 4}, ":1: size: got True; expected a decimal number"),
    "lists": ({**TRADES, "size": [[1]] * 4}, ":1: size: got [1]; expected a decimal number"),
    "no size": ({**TRADES, "size": [1, 0, 3, 4]}, "got a trade's size is not positive"),
    "unknown side": ({**TRADES, "aggressor_side": ["B", "?", "N", "B"]}, ":2: aggressor_side: got ?; expected a word of this layout"),
    "no size column": ({name: column for name, column in TRADES.items() if name != "size"}, "sz or size or qty or amount: got nothing"),
    "NaN level with size": ({**BOOK, "bid_px_00": [4800.0, np.nan, 4800.0, 4800.0]}, ":2: bid_px_00: got nan; expected a value"),
    "trade ids twice": ({**TRADES, "trade_id": [1, 2, 2, 3]}, ":3: trade_id: got 2; expected each id once"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_refuses_bad_parquet_in_its_first_line(tmp_path: Path, name: str) -> None:
    """The same words as for CSV, with the row's number for the line's."""
    harm, message = FILES[name]
    path = parquet(tmp_path / "x.parquet", harm if isinstance(harm, dict) else TRADES)
    if not isinstance(harm, dict):
        harm(path)
    outcome = tidemark("data", "import", "parquet", path, "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.code == 2
    assert message in outcome.errors[0]
    assert entries(tmp_path) == ["x.parquet"]


def test_accepts_columns_of_any_numeric_type(tmp_path: Path) -> None:
    """Integers, decimals, zoned timestamps and dictionaries of words mean the same as floats and strings."""
    plain = parquet(tmp_path / "plain.parquet", TRADES)
    typed = parquet(
        tmp_path / "typed.parquet",
        {
            "ts_event": pa.array([datetime.fromtimestamp(ts // NS_PER_S, UTC) for ts in TIMES], pa.timestamp("us", "America/Chicago")),
            "price": pa.array(["4800.25", "4800.5", "4800.25", "4800"]).cast(pa.decimal128(20, 4)),
            "size": pa.array(TRADES["size"], pa.uint64()),
            "aggressor_side": pa.array(TRADES["aggressor_side"]).dictionary_encode(),
        },
    )
    hashes = []
    for path in (plain, typed):
        outcome = tidemark("data", "import", "parquet", path, "--symbol", "ES", "--out", tmp_path / path.stem, "--json")
        assert outcome.code == 0, outcome.err
        hashes.append(json.loads(outcome.out)["data_hash"])
    assert hashes[0] == hashes[1]


def test_null_levels_are_empty(tmp_path: Path) -> None:
    """A thin side is written as nulls or NaN by everybody's data frames."""
    columns = {**BOOK, "bid_px_00": [4800.0, None, np.nan, 4800.0], "bid_sz_00": [1, None, 0, 4]}
    outcome = tidemark("data", "import", "parquet", parquet(tmp_path / "x.parquet", columns), "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    assert Dataset.open(tmp_path / "set").block().qty[:, 0].tolist() == [1, 0, 0, 4]


def test_one_source_of_trades_is_enough(tmp_path: Path) -> None:
    """Executions inside the book's file and a file of trades beside it would count every trade twice."""
    book = {**BOOK, "action": ["A", "T", "C", "A"], "side": ["B"] * 4, "price": [4800.0] * 4, "size": [1] * 4, "flags": [128] * 4}
    paths = [parquet(tmp_path / "book.parquet", book), parquet(tmp_path / "trades.parquet", TRADES)]
    outcome = tidemark("data", "import", "parquet", *paths, "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.code == 2
    assert "got a second source of trades; expected none beside book.parquet" in outcome.errors[0]
    assert entries(tmp_path) == ["book.parquet", "trades.parquet"]


def test_receive_times_can_be_set_where_the_file_has_none_or_wrong_ones(tmp_path: Path) -> None:
    """Without them an event is received when it happens, which no machine manages; the caller says how late."""
    path = parquet(tmp_path / "x.parquet", TRADES)
    assert tidemark("data", "import", "parquet", path, "--symbol", "ES", "--out", tmp_path / "a").code == 0
    assert tidemark("data", "import", "parquet", path, "--symbol", "ES", "--out", tmp_path / "b", "--recv-delay-ms", 40).code == 0
    delays = [set((block.recv_ts_ns - block.event_ts_ns).tolist()) for block in (Dataset.open(tmp_path / name).block() for name in "ab")]
    assert delays == [{0}, {40_000_000}]


def test_fractional_sizes_are_counted_in_steps(tmp_path: Path) -> None:
    """0.017 coins at a step of 0.001 are 17; money per tick follows from the step."""
    columns = {**TRADES, "size": [0.001, 0.017, 1.5, 20.0]}
    outcome = tidemark(
        "data", "import", "parquet", parquet(tmp_path / "x.parquet", columns), "--symbol", "BTCUSDT", "--tick-size", "0.25",
        "--qty-step", "0.001", "--out", tmp_path / "set",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    dataset = Dataset.open(tmp_path / "set")
    assert dataset.block().qty[:, 0].tolist() == [1, 17, 1500, 20000]
    assert (dataset.instruments["BTCUSDT"].qty_step, dataset.instruments["BTCUSDT"].tick_value_micros) == ("0.001", 250)


def test_simulated_markets_are_data_sets_that_pass_the_check(tmp_path: Path) -> None:
    """Same seed, same data; another seed, other data; the planted rule is recorded only where it holds."""

    def simulate(name: str, *more: object) -> Dataset:
        outcome = tidemark("data", "simulate", "--out", tmp_path / name, "--minutes", 1, "--symbols", "ES,NQ", *more)
        assert outcome.code == 0, outcome.err
        return Dataset.open(tmp_path / name)

    first, again, other = simulate("a", "--seed", 1), simulate("b", "--seed", 1), simulate("c", "--seed", 2, "--market", "planted")
    assert first.data_hash == again.data_hash != other.data_hash
    assert first.extra["planted"] == {}
    assert other.extra["planted"]
    assert tidemark("data", "check", tmp_path / "c").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--market", "bull"), "market: got bull; expected one of"),
        (("--symbols", "ES,ES"), "symbols"),
        (("--symbols", ""), "symbols"),
        (("--symbols", "AAPL"), "symbols: got AAPL"),
        (("--minutes", "0"), "minutes: got 0"),
        (("--sessions", "1000000000"), "sessions: got 1000000000"),
        (("--seed", "-1"), "seed: got -1"),
        (("--rate", "nan"), "rate: got nan"),
        (("--first-date", "2026-02-30"), "date: got 2026-02-30"),
        (("--minutes", "ten"), "valid integer"),
    ],
)  # fmt: skip
def test_refuses_markets_that_cannot_be_simulated(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    """Exit 2, nothing written."""
    outcome = tidemark("data", "simulate", "--out", tmp_path / "set", *options)
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert message in outcome.errors[0]
    assert entries(tmp_path) == []
