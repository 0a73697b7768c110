"""`tidemark data import csv`: what is refused, in which words, and what is accepted in spite of its looks."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dataset_files import CSV_HEADER, START_NS, csv_row, csv_text, entries, market_block, same, tidemark
from tidemark.adapters.dataset.readers import CsvFile
from tidemark.adapters.dataset.store import Dataset
from tidemark.events import LEVELS, Kind
from tidemark.units import NO_PRICE, NS_PER_S

GOOD = csv_text()


def rows(*changes: tuple[int, str, str]) -> bytes:
    """The good file with texts replaced in rows (from 1)."""
    lines = GOOD.splitlines()
    for row, old, new in changes:
        assert old in lines[row]
        lines[row] = lines[row].replace(old, new, 1)
    return ("\n".join(lines) + "\n").encode()


def no_id(text: str) -> bytes:
    """The file without its id column."""
    return "\n".join(",".join(cell for i, cell in enumerate(line.split(",")) if i != 2) for line in text.splitlines()).encode()


def drop_last_column(text: str) -> bytes:
    """The file without its last column."""
    return "\n".join(line.rsplit(",", 1)[0] for line in text.splitlines()).encode()


def with_column(name: str, *values: str) -> bytes:
    """The file with one more column."""
    lines = GOOD.splitlines()
    return "\n".join(f"{line},{cell}" for line, cell in zip(lines, (name, *values), strict=True)).encode()


def times(convert: Callable[[int], object]) -> bytes:
    """The file with its event and receive times converted."""
    lines = [line.split(",") for line in GOOD.splitlines()]
    return "\n".join(
        ",".join([*(str(convert(int(cell))) for cell in line[:2]), *line[2:]] if i else line) for i, line in enumerate(lines)
    ).encode()


SECOND_TIME = str(START_NS + 2 * NS_PER_S)
BAD_FILES: dict[str, tuple[bytes, str]] = {
    # the file as a whole
    "empty": (b"", "content: got an empty file"),
    "blank first line": (b"\n" + GOOD.encode(), "content: got an empty first line"),
    "header only": ((CSV_HEADER + "\n").encode(), "rows: got 0; expected at least one row"),
    "no header": (b"\n".join(GOOD.encode().splitlines()[1:]), "expected a time column"),
    "missing column": (drop_last_column(GOOD), "ask_sz_01: got nothing; expected a column"),
    "missing touch": (GOOD.replace("bid_px_00", "bid_price").encode(), "bid_px_00: got nothing; expected a column"),
    "no book at all": (b"ts_event,bid\n1,2\n", "expected levels (bid_px_00 ..), orders (order_id ..) or trades"),
    "duplicate column": (GOOD.replace("bid_px_01", "bid_px_00").encode(), "bid_px_00: got the column twice; expected each column once"),
    "semicolons": (GOOD.replace(",", ";").encode(), "expected columns separated by commas; and numbers with a decimal point"),
    "tabs": (GOOD.replace(",", "\t").encode(), "expected columns separated by commas"),
    "UTF-16": (GOOD.encode("utf-16"), ":1: encoding: got UTF-16; expected UTF-8"),
    "Latin-1": (with_column("note", "a", "b", "café", "d").decode().encode("latin-1"), ":4: encoding: got byte 0xe9; expected UTF-8"),
    "NUL byte": (rows((2, "4800.25", "48\x0000.25")), "content: got a NUL byte"),
    "oversized row": (GOOD.encode() + b"9" * 70_000, ":6: row: got more than 65536 bytes"),
    "milliseconds": (times(lambda ns: ns // 1_000_000), "expected a time from 1990 to 2116 in units of 1 ns; --time-unit ms reads it so"),
    "microseconds": (times(lambda ns: ns // 1_000), "--time-unit us reads it so"),
    "seconds": (times(lambda ns: ns // 1_000_000_000), "--time-unit s reads it so"),
    # single rows
    "short row": (rows((2, ",6", "")), ":3: row: got 10 cells; expected 11 cells"),
    "long row": (rows((2, ",6", ",6,7")), ":3: row: got 12 cells; expected 11 cells"),
    "truncated last row": (GOOD.encode()[:-20], ":5: row: got 8 cells"),
    "decimal comma": (rows((2, "4800.25", "4800,25")), ":3: row: got 12 cells; expected 11 cells"),
    "quoted decimal comma": (rows((2, "4800.25", '"4800,25"')), ":3: row: got 12 cells; expected 11 cells"),
    "unbalanced quote": (rows((2, "4800.25", '"4800.25')), ":3: row: got an unbalanced quote"),
    "thousands mark": (rows((2, "4800.25", "4'800.25")), ":3: bid_px_00: got 4'800.25; expected a decimal number"),
    "thousands blank": (rows((2, "4800.25", "4 800.25")), ":3: bid_px_00: got 4 800.25; expected a decimal number"),
    "word for a price": (rows((2, "4800.25", "abc")), ":3: bid_px_00: got abc; expected a decimal number"),
    "hexadecimal": (rows((2, "4800.25", "0x12")), ":3: bid_px_00: got 0x12; expected a decimal number"),
    "NaN": (rows((2, "4800.25", "nan")), ":3: bid_px_00: got nan; expected a decimal number"),
    "infinity": (rows((2, "4800.25", "inf")), ":3: bid_px_00: got inf; expected a decimal number"),
    "bomb": (rows((2, "4800.25", "1e999")), ":3: bid_px_00: got 1e999; expected a number that fits"),
    "price without size": (rows((2, ",3,", ",,")), ":3: bid_sz_00: got nothing; expected a value"),
    "size without price": (rows((2, "4800.25", "")), ":3: bid_px_00: got nothing; expected a value"),
    "off tick": (rows((2, "4800.25", "4800.30")), ":3: bid_px_00: got 4800.30; expected a multiple of the tick"),
    "negative price": (rows((2, "4800.25", "-4800.25")), ":3: bid_px_00: got -4800.25; expected a price above zero"),
    "zero price": (rows((2, "4800.25", "0")), ":3: bid_px_00: got 0; expected a price above zero"),
    "negative size": (rows((2, ",3,", ",-3,")), "got a size is negative"),
    "zero size": (rows((2, ",3,", ",0,")), "got a level has a price but no size"),
    "fractional size": (rows((2, ",3,", ",3.5,")), ":3: bid_sz_00: got 3.5; expected a multiple of the quantity step"),
    "huge size": (rows((2, ",3,", ",3000000000,")), ":3: size: got 3000000000; expected sizes of at most 2147483647"),
    "huge price": (rows((2, "4800.25", "99999999999.25"), (2, "4800.50", "99999999999.50")), "got a price is outside"),
    "unordered levels": (rows((2, "4800.00", "4800.25")), "got levels are not strictly ordered"),
    "time backwards": (rows((3, str(START_NS + 3 * NS_PER_S), str(START_NS))), "got event time is before that of the symbol"),
    "time in the future": (rows((2, str(START_NS + 2 * NS_PER_S + 1000), str(START_NS - NS_PER_S))), "ahead of the receiver's clock"),
    "one row in milliseconds": (rows((2, SECOND_TIME, "1709303402000")), ":3: ts_event: got 1709303402000; expected a time between 1990"),
    "duplicate id": (rows((3, ",3,4800", ",2,4800")), ":4: update_id: got 2; expected each id once"),
    "id backwards": (rows((3, ",3,4800", ",1,4800")), ":4: update_id: got 1; expected ids in ascending order"),
    "row written twice": (no_id(csv_text([csv_row(1), csv_row(2), csv_row(2)])), ":4: row: got"),
    "naive time": (rows((2, SECOND_TIME, "2024-03-01T14:30:02")), ":3: ts_event: got 2024-03-01T14:30:02; expected a time with its zone"),
    "no such day": (rows((2, SECOND_TIME, "2024-02-30T14:30:02Z")), ":3: ts_event: got 2024-02-30T14:30:02Z; expected an integer"),
    "no time": (rows((2, SECOND_TIME, "")), ":3: ts_event: got nothing; expected a value"),
    "another instrument": (with_column("symbol", "NQ", "NQ", "NQ", "NQ"), ":2: symbol: got NQ; expected rows of one instrument"),
    "mixed instruments": (with_column("symbol", "ESH4", "ESH4", "NQH4", "ESH4"), ":4: symbol: got NQH4; expected rows of one instrument"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_refuses_a_bad_file_in_its_first_line_and_writes_nothing(tmp_path: Path, name: str) -> None:
    """Exit 2; the line says where, what was got and what was expected; no part of a data set appears."""
    content, message = BAD_FILES[name]
    (tmp_path / "book.csv").write_bytes(content)
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", "--symbol", "ES", "--out", tmp_path / "deep" / "set")
    assert outcome.code == 2
    assert outcome.errors[0].startswith("error: book.csv")
    assert message in outcome.errors[0]
    assert entries(tmp_path) == ["book.csv"]
    if name != "another instrument":  # there every row is at fault
        assert len(outcome.errors) == 1


@pytest.mark.parametrize("name", BAD_FILES)
def test_check_finds_what_import_would_refuse(tmp_path: Path, name: str) -> None:
    """Bad rows are an answer (exit 1), a bad file is bad input (exit 2); never a pass."""
    (tmp_path / "book.csv").write_bytes(BAD_FILES[name][0])
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", "--symbol", "ES", "--check", "--json")
    assert outcome.code in (1, 2)
    if outcome.code == 1:
        report = json.loads(outcome.out)
        assert sum(report["refused"].values()) >= 1
        assert BAD_FILES[name][1] in report["faults"][0]
    assert entries(tmp_path) == ["book.csv"]


GOOD_FILES: dict[str, bytes] = {
    "BOM": b"\xef\xbb\xbf" + GOOD.encode(),
    "CRLF": GOOD.replace("\n", "\r\n").encode(),
    "no newline at the end": GOOD.rstrip("\n").encode(),
    "blank lines at the end": GOOD.encode() + b"\n\n",
    "reordered columns": "\n".join(",".join(reversed(line.split(","))) for line in GOOD.splitlines()).encode(),
    "quoted cells": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in GOOD.splitlines()).encode(),
    "blanks around": GOOD.replace(",", " , ").encode(),
    "further columns": with_column("note", "a", "b", "c", "d"),
    "symbol column": with_column("symbol", "ES", "ESH4", "ESH4", "ESH4"),
    "exponents": rows((2, "4800.25", "4.80025e3")),
    "many digits": rows((2, "4800.25", "4800.250000000000")),
    "zoned text": rows((2, SECOND_TIME, "2024-03-01T15:30:02+01:00")),
    "no ids": no_id(GOOD),
}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_accepts_what_only_looks_different(tmp_path: Path, name: str) -> None:
    """The rows are those of the plain file, bit for bit."""
    for label, content in (("plain", GOOD.encode()), ("other", GOOD_FILES[name])):
        (tmp_path / f"{label}.csv").write_bytes(content)
        outcome = tidemark("data", "import", "csv", tmp_path / f"{label}.csv", "--symbol", "ES", "--out", tmp_path / label)
        assert outcome.code == 0, outcome.err
    assert same(Dataset.open(tmp_path / "plain").block(), Dataset.open(tmp_path / "other").block())


@pytest.mark.parametrize(("unit", "divisor"), [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)])
def test_reads_other_units_of_time_when_told(tmp_path: Path, unit: str, divisor: int) -> None:
    """Said by the caller, never guessed."""
    (tmp_path / "book.csv").write_bytes(times(lambda ns: ns // divisor))
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", "--symbol", "ES", "--time-unit", unit, "--out", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    assert Dataset.open(tmp_path / "set").block().event_ts_ns.tolist() == [START_NS + i * NS_PER_S for i in range(1, 5)]


def test_imports_the_states_that_a_market_can_have(tmp_path: Path) -> None:
    """Crossed, locked and one-sided books, and equal times, are true; the check counts them, the importer keeps them."""
    states = [
        csv_row(1, bid="4800.50", ask="4800.25"),
        csv_row(2, bid="4800.50", ask="4800.50", event_ns=START_NS + NS_PER_S),
        f"{START_NS + 3 * NS_PER_S},{START_NS + 3 * NS_PER_S},3,4800.25,3,,,4800.00,5,,",
    ]
    (tmp_path / "book.csv").write_text(csv_text(states))
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    block = Dataset.open(tmp_path / "set").block()
    assert block.px_ticks[:, [0, LEVELS]].tolist() == [[19202, 19201], [19202, 19202], [19201, NO_PRICE]]
    quality = json.loads(tidemark("data", "check", tmp_path / "set", "--json").out)["symbols"]["ES"]
    assert quality["defects"] == {"empty_side": 1, "crossed": 1, "locked": 1}


def test_trades_come_before_the_book_that_shows_their_effect(tmp_path: Path) -> None:
    """At equal times the print stands first; one numbering covers both files."""
    (tmp_path / "book.csv").write_text(GOOD)
    trades = "\n".join(
        ["ts_event,ts_recv,price,size,aggressor_side"]
        + [f"{START_NS + i * NS_PER_S},{START_NS + i * NS_PER_S},4800.25,{i},{side}" for i, side in ((1, "B"), (3, "A"), (3, "N"))]
    )
    (tmp_path / "trades.csv").write_text(trades)
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", tmp_path / "trades.csv", "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    block = Dataset.open(tmp_path / "set").block()
    assert block.seq.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert block.kind.tolist() == [Kind.TRADE, Kind.DEPTH, Kind.DEPTH, Kind.TRADE, Kind.TRADE, Kind.DEPTH, Kind.DEPTH]
    assert block.aggressor.tolist() == [1, 0, 0, -1, 0, 0, 0]


def test_quarantine_imports_the_good_rows_and_keeps_the_others(tmp_path: Path) -> None:
    """Nothing is lost: every line of the source is either an event or a line of the quarantine file with its reason."""
    (tmp_path / "book.csv").write_bytes(rows((2, "4800.25", "4800.30"), (3, ",6", "")))
    quarantine = tmp_path / "bad.jsonl"
    args = (
        "data",
        "import",
        "csv",
        tmp_path / "book.csv",
        "--symbol",
        "ES",
        "--out",
        tmp_path / "set",
        "--quarantine",
        quarantine,
        "--json",
    )
    outcome = tidemark(*args)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["refused"] == {"off_tick": 1, "ragged_row": 1}
    kept = [json.loads(line) for line in quarantine.read_text().splitlines()]
    assert sorted((row["line"], row["reason"]) for row in kept) == [(3, "off_tick"), (4, "ragged_row")]
    source = (tmp_path / "book.csv").read_text().splitlines()
    assert {row["row"] for row in kept} == {source[2], source[3]}
    assert Dataset.open(tmp_path / "set").event_count() == 2


def test_quarantine_without_a_good_row_is_refused(tmp_path: Path) -> None:
    """An empty data set helps nobody; the message says what was wrong."""
    (tmp_path / "book.csv").write_text(GOOD.replace("4800.25", "4800.3"))
    args = ("--symbol", "ES", "--out", tmp_path / "set", "--quarantine", tmp_path / "bad.jsonl")
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", *args)
    assert outcome.code == 2
    assert "expected a multiple of the tick" in outcome.errors[0]
    assert entries(tmp_path) == ["book.csv"]


def test_reports_twenty_faults_and_then_a_count(tmp_path: Path) -> None:
    """A wrong tick size makes a million faults; a terminal needs to see the kind, and how many."""
    (tmp_path / "book.csv").write_text(csv_text([csv_row(i, bid="4800.3") for i in range(1, 31)]))
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.code == 2
    assert len(outcome.errors) == 21
    assert outcome.errors[-1] == "error: and 10 more refused rows (off_tick 30)"


def test_reads_compressed_files_and_refuses_truncated_ones(tmp_path: Path) -> None:
    """A download that stopped midway is the commonest damage of all."""
    whole = gzip.compress(GOOD.encode())
    (tmp_path / "whole.csv.gz").write_bytes(whole)
    (tmp_path / "part.csv.gz").write_bytes(whole[:-20])
    assert tidemark("data", "import", "csv", tmp_path / "whole.csv.gz", "--symbol", "ES", "--out", tmp_path / "set").code == 0
    outcome = tidemark("data", "import", "csv", tmp_path / "part.csv.gz", "--symbol", "ES", "--out", tmp_path / "other")
    assert outcome.code == 2
    assert "truncated or damaged" in outcome.errors[0]
    assert "other" not in entries(tmp_path)


def test_our_own_columns_come_back_with_their_numbers(tmp_path: Path) -> None:
    """Exported and imported again, a data set is the same, seq and all."""
    block = market_block(("ES",), 300)
    depth, trades = block[block.kind == Kind.DEPTH], block[block.kind == Kind.TRADE]
    sides = [(f"{side}_px_{level:02d}", f"{side}_sz_{level:02d}") for side in ("bid", "ask") for level in range(LEVELS)]
    header = ",".join(["ts_event_ns", "ts_recv_ns", "seq", *(name for pair in sides for name in pair)])
    lines = [
        ",".join(map(str, [event, recv, seq, *np.stack([px, qty], 1).reshape(-1)]))
        for event, recv, seq, px, qty in zip(depth.event_ts_ns, depth.recv_ts_ns, depth.seq, depth.px_ticks, depth.qty, strict=True)
    ]
    (tmp_path / "depth.csv").write_text("\n".join([header, *lines]))
    prints = zip(trades.event_ts_ns, trades.recv_ts_ns, trades.seq, trades.px_ticks[:, 0], trades.qty[:, 0], trades.aggressor, strict=True)
    (tmp_path / "trades.csv").write_text(
        "\n".join(["ts_event_ns,ts_recv_ns,seq,px,sz,aggressor", *(",".join(map(str, row)) for row in prints)])
    )
    outcome = tidemark(
        "data", "import", "csv", tmp_path / "depth.csv", tmp_path / "trades.csv", "--symbol", "ES", "--out", tmp_path / "set"
    )
    assert outcome.code == 0, outcome.err
    assert same(Dataset.open(tmp_path / "set").block(), block)


def test_numbers_that_depth_and_trades_share_may_not_repeat(tmp_path: Path) -> None:
    """Two events with one number would be one event to whoever removes duplicates."""
    levels = ",".join(f"{side}_{what}_00" for side in ("bid", "ask") for what in ("px", "sz"))
    (tmp_path / "depth.csv").write_text(
        f"ts_event_ns,ts_recv_ns,seq,{levels}\n{START_NS},{START_NS},1,100,1,101,1\n{START_NS},{START_NS},2,100,1,101,2\n"
    )
    (tmp_path / "trades.csv").write_text(f"ts_event_ns,ts_recv_ns,seq,px,sz,aggressor\n{START_NS},{START_NS},2,100,1,1\n")
    outcome = tidemark(
        "data", "import", "csv", tmp_path / "depth.csv", tmp_path / "trades.csv", "--symbol", "ES", "--out", tmp_path / "set"
    )
    assert outcome.code == 2
    assert "seq: got 2; expected numbers that depth and trades share, each once" in outcome.errors[0]


def test_a_portion_of_the_file_is_not_special(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, repeats and line numbers run on from one portion to the next."""
    good = csv_text([csv_row(i) for i in range(1, 40)])
    lines = good.splitlines()
    lines[21] = lines[20]
    (tmp_path / "book.csv").write_text("\n".join(lines))
    monkeypatch.setattr(CsvFile.chunks, "__defaults__", (5,))
    outcome = tidemark("data", "import", "csv", tmp_path / "book.csv", "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.errors == ["error: book.csv:22: update_id: got 20; expected each id once"]
