"""`tidemark data import lobster`: what each message type becomes, and which pairs are refused."""

import gzip
import json
from pathlib import Path

import pytest

from dataset_files import entries, tidemark
from tidemark.adapters.dataset.store import Dataset
from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.units import NO_PRICE, NS_PER_S

NAME = "AAPL_2012-06-21_34200000_57600000_{}_2.csv"
SESSION_NS = 1_340_285_400 * NS_PER_S  # 2012-06-21 09:30 New York: summer time, 13:30 UTC
BOOK = "5859400,200,5853300,18,5859800,100,5853200,20"
MESSAGES = [
    "34200.004241176,1,11,18,5853300,1",
    "34200.1,4,11,5,5853300,1",
    "34200.25,4,12,7,5859400,-1",
    "34200.5,5,0,3,5856100,-1",
    "34200.5,2,11,1,5853300,1",
    "34201,3,11,12,5853300,1",
]


def pair(folder: Path, messages: list[str] | None = None, books: list[str] | None = None, name: str = NAME) -> list[Path]:
    """A pair of files with two levels."""
    lines = MESSAGES if messages is None else messages
    contents = {"message": lines, "orderbook": [BOOK] * len(lines) if books is None else books}
    paths = []
    for kind, content in contents.items():
        path = folder / name.format(kind)
        path.write_text("\n".join(content) + "\n" if content else "")
        paths.append(path)
    return paths


def imported(folder: Path, paths: list[Path], *more: object, symbol: str = "AAPL") -> EventBlock:
    """The events of a pair that must import."""
    outcome = tidemark("data", "import", "lobster", *paths, "--symbol", symbol, "--out", folder / "set", *more)
    assert outcome.code == 0, outcome.err
    return Dataset.open(folder / "set").block()


def test_a_depth_row_for_every_message_and_a_trade_for_every_execution(tmp_path: Path) -> None:
    """An execution of a resting buy order was initiated by a seller; the print stands before the book after it."""
    block = imported(tmp_path, pair(tmp_path))
    assert block.kind.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0]
    trades = block[block.kind == Kind.TRADE]
    assert trades.px_ticks[:, 0].tolist() == [58533, 58594, 58561]
    assert trades.qty[:, 0].tolist() == [5, 7, 3]
    assert trades.aggressor.tolist() == [-1, 1, 1]
    depth = block[block.kind == Kind.DEPTH]
    assert depth.px_ticks[0, [0, 1, LEVELS, LEVELS + 1]].tolist() == [58533, 58532, 58594, 58598]
    assert depth.qty[0, [0, 1, LEVELS, LEVELS + 1]].tolist() == [18, 20, 200, 100]
    assert (depth.px_ticks[:, 2:LEVELS] == NO_PRICE).all()


def test_times_are_new_yorks_to_the_nanosecond(tmp_path: Path) -> None:
    """34200.004241176 s after midnight in summer is 13:30:00.004241176 UTC; floats would lose the last digits."""
    assert (imported(tmp_path, pair(tmp_path)).event_ts_ns[[0, -1]] - SESSION_NS).tolist() == [4_241_176, NS_PER_S]


def test_winter_time_is_an_hour_later(tmp_path: Path) -> None:
    """The offset is that of the day, not of today."""
    block = imported(tmp_path, pair(tmp_path, name=NAME.replace("2012-06-21", "2012-12-21")))
    assert block.event_ts_ns[-1] == 1_356_100_200 * NS_PER_S + NS_PER_S


def test_the_stock_has_a_tick_of_a_cent_unless_told_otherwise(tmp_path: Path) -> None:
    """A cent a share is 10,000 micro-dollars."""
    imported(tmp_path, pair(tmp_path))
    spec = Dataset.open(tmp_path / "set").instruments["AAPL"]
    assert (spec.tick_size.numerator, spec.tick_size.denominator, spec.tick_value_micros, spec.venue) == (1, 100, 10_000, "XNAS")
    other = tmp_path / "half"
    other.mkdir()
    assert imported(other, pair(other), "--tick-size", "0.005").px_ticks[0, 0] == 117066


def test_midpoint_executions_have_no_tick_and_are_left_out_aloud(tmp_path: Path) -> None:
    """585.635 is a true print between two ticks; dropped, counted, and its depth row stays. A visible one there is a fault."""
    paths = pair(tmp_path, [MESSAGES[0], "34200.5,5,0,3,5856350,-1"])
    outcome = tidemark("data", "import", "lobster", *paths, "--symbol", "AAPL", "--out", tmp_path / "set", "--json")
    assert outcome.code == 0
    report = json.loads(outcome.out)
    assert report["rows"] == {"depth": 2, "trades": 0}
    assert report["notes"] == {"hidden or cross executions between two ticks, left out": 1}
    visible = tidemark("data", "import", "lobster", *pair(tmp_path, ["34200.5,4,0,3,5856350,-1"]), "--symbol", "AAPL", "--check")
    assert visible.code == 1


def test_hidden_executions_tell_their_side_only_until_july_2014(tmp_path: Path) -> None:
    """Since then NASDAQ marks all of them as executions of buy orders; to believe it would make every hidden trade a sale."""
    before = imported(tmp_path, pair(tmp_path, ["34200.5,5,0,3,5856100,1"], name=NAME.replace("2012-06-21", "2014-07-11")))
    later = tmp_path / "later"
    later.mkdir()
    after = imported(later, pair(later, ["34200.5,5,0,3,5856100,1"], name=NAME.replace("2012-06-21", "2014-07-14")))
    assert (before.aggressor[0], after.aggressor[0]) == (-1, 0)


def test_halts_and_crosses(tmp_path: Path) -> None:
    """A cross is a trade without an aggressor; a halt is no trade (its price -1, 0 or 1 is a code) and is counted."""
    paths = pair(tmp_path, ["34200,6,-1,900,5853300,-1", "34201,7,0,0,-1,-1", "34202,7,0,0,0,-1", "34203,7,0,0,1,-1"])
    outcome = tidemark("data", "import", "lobster", *paths, "--symbol", "AAPL", "--out", tmp_path / "set", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["notes"] == {"trading halts and resumptions": 3}
    block = Dataset.open(tmp_path / "set").block()
    assert (block.kind.tolist(), block.aggressor.tolist()) == ([1, 0, 0, 0, 0], [0] * 5)


def test_dummy_prices_are_empty_levels(tmp_path: Path) -> None:
    """9999999999 and -9999999999 stand for levels that do not exist."""
    book = "5859400,200,5853300,18,9999999999,0,-9999999999,0"
    block = imported(tmp_path, pair(tmp_path, MESSAGES[:1], [book]))
    assert block.px_ticks[0, [1, LEVELS + 1]].tolist() == [NO_PRICE, NO_PRICE]


def test_one_file_of_the_pair_brings_the_other_and_days_come_in_order(tmp_path: Path) -> None:
    """Shell patterns give any order; two days make two dates of one data set."""
    later = pair(tmp_path, name=NAME.replace("06-21", "06-22"))
    first = pair(tmp_path)
    imported(tmp_path, [later[1], first[0]])
    assert Dataset.open(tmp_path / "set").dates() == ["2012-06-21", "2012-06-22"]


def test_reads_gzip_and_names_of_ones_own_with_a_date(tmp_path: Path) -> None:
    """Renamed files lack the date that the times need."""
    for path in pair(tmp_path, name="mine_{}.csv"):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    files = [tmp_path / "mine_message.csv.gz", tmp_path / "mine_orderbook.csv.gz"]
    assert "--date: got nothing; expected a date" in tidemark("data", "import", "lobster", *files, "--symbol", "AAPL", "--check").errors[0]
    assert imported(tmp_path, files, "--date", "2012-06-21").event_ts_ns[-1] == SESSION_NS + NS_PER_S


SHORT = MESSAGES[:3]
BAD_PAIRS: dict[str, tuple[list[str], list[str], str]] = {
    "no messages": ([], [BOOK], "content: got an empty file"),
    "no books": (SHORT, [], "content: got an empty file"),
    "a header": (["time,type,id,size,price,direction", *SHORT], [BOOK] * 4, "time: got time; expected seconds after midnight"),
    "milliseconds": (["34200004,1,11,18,5853300,1"], [BOOK], "time: got 34200004; expected seconds after midnight"),
    "fewer books": (SHORT, [BOOK] * 2, "expected as many messages as books; one of the files is truncated"),
    "fewer messages": (SHORT, [BOOK] * 4, "expected as many messages as books; one of the files is truncated"),
    "a book of other depth": (SHORT, [f"{BOOK},1,1,1,1"] * 3, "row: got 12 cells; expected 8 cells, as the file's name says"),
    "five message columns": (["34200,1,11,18,5853300"], [BOOK], "row: got 5 cells"),
    "a short message": ([SHORT[0], "34200.1,4,11,5,5853300", SHORT[2]], [BOOK] * 3, ":2: row: got 5 cells; expected 6 cells"),
    "a short book": (SHORT, [BOOK, BOOK[:-3], BOOK], ":2: row: got 7 cells; expected 8 cells"),
    "time after midnight": ([SHORT[0], "90000.1,4,11,5,5853300,1"], [BOOK] * 2, ":2: time: got 90000.1"),
    "time in words": ([SHORT[0], "09:30:01,4,11,5,5853300,1"], [BOOK] * 2, ":2: time: got 09:30:01"),
    "time backwards": ([SHORT[1], SHORT[0]], [BOOK] * 2, "got event time is before that of the symbol"),
    "unknown type": ([SHORT[0], "34200.1,8,11,5,5853300,1"], [BOOK] * 2, ":2: type: got 8; expected a word of this layout"),
    "unknown direction": ([SHORT[0], "34200.1,4,11,5,5853300,0"], [BOOK] * 2, ":2: direction: got 0"),
    "execution without size": ([SHORT[0], "34200.1,4,11,0,5853300,1"], [BOOK] * 2, "got a trade's size is not positive"),
    "execution off the tick": ([SHORT[0], "34200.1,4,11,5,5853350,1"], [BOOK] * 2, ":2: price: got 5853350; expected a multiple"),
    "level off the tick": (SHORT, [BOOK, BOOK.replace("5853300", "5853350"), BOOK], ":2: bid_px_00: got 5853350"),
    "ghost size": (SHORT, [BOOK, "5859400,200,5853300,18,9999999999,5,5853200,20", BOOK], "got a size without a price"),
    "unordered levels": (SHORT, [BOOK, "5859400,200,5853300,18,5859800,100,5853400,20", BOOK], "got levels are not strictly ordered"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_refuses_a_bad_pair_in_one_line_and_writes_nothing(tmp_path: Path, name: str) -> None:
    """Two files that do not belong together give a book that never was."""
    messages, books, message = BAD_PAIRS[name]
    paths = pair(tmp_path, messages, books)
    before = entries(tmp_path)
    outcome = tidemark("data", "import", "lobster", *paths, "--symbol", "AAPL", "--out", tmp_path / "set")
    assert outcome.code == 2
    assert message in outcome.errors[0]
    assert entries(tmp_path) == before


def test_refuses_what_contradicts_the_files_name(tmp_path: Path) -> None:
    """The vendor's name is the only place that tells instrument and date."""
    paths = pair(tmp_path)
    cases = [
        (("--symbol", "MSFT"), "--symbol: got MSFT; expected AAPL, as the file's name says"),
        (("--symbol", "AAPL", "--date", "2012-06-22"), "--date: got 2012-06-22; expected 2012-06-21"),
        (("--symbol", "AAPL", "--date", "2026-02-30"), "date: got 2026-02-30; expected a date YYYY-MM-DD"),
    ]
    for more, message in cases:
        outcome = tidemark("data", "import", "lobster", *paths, *more, "--check")
        assert outcome.code == 2
        assert message in outcome.errors[0]
    paths[1].unlink()
    assert "expected both files of a pair" in tidemark("data", "import", "lobster", paths[0], "--symbol", "AAPL", "--check").errors[0]
