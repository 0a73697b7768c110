"""`tidemark data import databento`: files made with the vendor's own library, so that both readings of the format must agree."""

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import databento_dbn as dbn
import numpy as np
import pytest
import zstandard

from dataset_files import START_NS, entries, tidemark
from tidemark.adapters.dataset.dbn_file import DbnFile
from tidemark.adapters.dataset.store import Dataset
from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.units import NO_PRICE

LAST, SNAPSHOT, BAD_BOOK = 0x80, 0x20, 0x04
ACTIONS = {
    "A": dbn.Action.ADD,
    "C": dbn.Action.CANCEL,
    "M": dbn.Action.MODIFY,
    "R": dbn.Action.CLEAR,
    "T": dbn.Action.TRADE,
    "F": dbn.Action.FILL,
}
SIDES = {"B": dbn.Side.BID, "A": dbn.Side.ASK, "N": dbn.Side.NONE}


@dataclass
class Interval:
    """A mapping's interval, in the shape that the vendor's encoder takes."""

    start_date: datetime.date
    end_date: datetime.date
    symbol: str


@dataclass
class Mapping:
    """A symbol's mapping."""

    raw_symbol: str
    intervals: list[Interval]


def metadata(schema: Any, ids: dict[str, list[int]]) -> bytes:
    """Encoded metadata with the given symbols and instrument ids."""
    day = datetime.date(2024, 3, 1)
    mappings = [Mapping(name, [Interval(day, day + datetime.timedelta(1), str(one)) for one in numbers]) for name, numbers in ids.items()]
    encoded: bytes = dbn.Metadata(
        dataset="GLBX.MDP3", schema=schema, start=START_NS, stype_in=dbn.SType.RAW_SYMBOL, stype_out=dbn.SType.INSTRUMENT_ID,
        symbols=list(ids), partial=[], not_found=[], mappings=mappings, limit=0, ts_out=False,
    ).encode()  # fmt: skip
    return encoded


def mbo(number: int, action: str, side: str, price: float | None, size: int, order_id: int, flags: int = LAST, **ids: int) -> bytes:
    """One order message, a microsecond after the one before; without a price it is the format's undefined one."""
    return bytes(
        dbn.MBOMsg(
            publisher_id=ids.get("publisher_id", 1), instrument_id=ids.get("instrument_id", 42), ts_event=START_NS + 1000 * number,
            order_id=order_id, price=dbn.UNDEF_PRICE if price is None else round(price * 10**9),
            size=size, action=ACTIONS[action], side=SIDES[side], ts_recv=START_NS + 1000 * number + 500, flags=flags, sequence=number,
        )
    )  # fmt: skip


def mbp10(
    number: int, action: str, side: str, price: float, size: int, flags: int, levels: Sequence[tuple[float, int, float, int]]
) -> bytes:
    """One message with the book after it."""
    pairs = [
        dbn.BidAskPair(bid_px=round(bp * 1e9), ask_px=round(ap * 1e9), bid_sz=bs, ask_sz=az, bid_ct=1, ask_ct=1)
        for bp, bs, ap, az in levels
    ]
    pairs += [dbn.BidAskPair()] * (LEVELS - len(pairs))
    return bytes(
        dbn.MBP10Msg(
            publisher_id=1, instrument_id=42, ts_event=START_NS + 1000 * number, price=round(price * 1e9), size=size,
            action=ACTIONS[action], side=SIDES[side], depth=0, ts_recv=START_NS + 1000 * number + 500, flags=flags,
            sequence=number, levels=pairs,
        )
    )  # fmt: skip


ORDERS = [
    mbo(1, "A", "B", 4800.00, 5, 1, SNAPSHOT),
    mbo(2, "A", "A", 4800.50, 7, 2, SNAPSHOT | LAST),
    mbo(3, "A", "B", 4800.25, 2, 3),
    mbo(4, "T", "A", 4800.25, 2, 9, 0),
    mbo(5, "F", "B", 4800.25, 2, 3, 0),
    mbo(6, "C", "B", 4800.25, 2, 3),
    mbo(7, "M", "B", 4799.75, 5, 1),
    mbo(8, "C", "A", 4800.50, 3, 2),
]


def write(path: Path, body: Sequence[bytes], schema: Any = dbn.Schema.MBO, ids: dict[str, list[int]] | None = None) -> Path:
    """A DBN file; compressed if its name says so."""
    data = metadata(schema, {"ESH4": [42]} if ids is None else ids) + b"".join(body)
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


def imported(tmp_path: Path, path: Path, *more: object, symbol: str = "ES") -> EventBlock:
    """The events of a file that must import."""
    outcome = tidemark("data", "import", "databento", path, "--symbol", symbol, "--out", tmp_path / "set", *more)
    assert outcome.code == 0, outcome.err
    return Dataset.open(tmp_path / "set").block()


def touches(block: EventBlock) -> list[tuple[int, ...]]:
    """(best bid, size, best ask, size) per depth row."""
    depth = block[block.kind == Kind.DEPTH]
    return [(int(p[0]), int(q[0]), int(p[LEVELS]), int(q[LEVELS])) for p, q in zip(depth.px_ticks, depth.qty, strict=True)]


@pytest.mark.parametrize("name", ["orders.mbo.dbn", "orders.mbo.dbn.zst"])
def test_rebuilds_the_book_order_by_order(tmp_path: Path, name: str) -> None:
    """Snapshot, improvement, trade and the cancel that shows it, a move, a partial cancel: a row for each group that changed the book."""
    block = imported(tmp_path, write(tmp_path / name, ORDERS))
    assert block.kind.tolist() == [0, 0, 1, 0, 0, 0]
    assert touches(block) == [(19200, 5, 19202, 7), (19201, 2, 19202, 7), (19200, 5, 19202, 7), (19199, 5, 19202, 7), (19199, 5, 19202, 4)]
    trade = block[block.kind == Kind.TRADE]
    assert (trade.px_ticks[0, 0], trade.qty[0, 0], trade.aggressor[0]) == (19201, 2, -1)
    assert (block.event_ts_ns - START_NS).tolist() == [2000, 3000, 4000, 6000, 7000, 8000]
    assert (block.recv_ts_ns - block.event_ts_ns).tolist() == [500] * 6


def test_acts_only_at_the_end_of_an_event_group(tmp_path: Path) -> None:
    """In the middle of a group the book is crossed or half gone; nobody may see it."""
    group = [mbo(3, "A", "B", 4801.00, 1, 3, 0), mbo(4, "C", "A", 4800.50, 7, 2, 0), mbo(5, "A", "A", 4801.25, 1, 4)]
    assert touches(imported(tmp_path, write(tmp_path / "x.dbn", [*ORDERS[:2], *group]))) == [(19200, 5, 19202, 7), (19204, 1, 19205, 1)]


def test_clear_empties_the_book_and_a_doubtful_one_is_not_shown(tmp_path: Path) -> None:
    """After a gap the venue's messages no longer add up: until a snapshot, an empty book is the honest state."""
    later = [
        mbo(3, "A", "B", 4800.25, 1, 3, LAST | BAD_BOOK),
        mbo(4, "A", "B", 4800.25, 1, 4, LAST),
        mbo(5, "R", "N", 0, 0, 0, 0),
        mbo(6, "A", "B", 4700.00, 1, 5, SNAPSHOT),
        mbo(7, "A", "A", 4700.25, 1, 6, SNAPSHOT | LAST),
    ]
    block = imported(tmp_path, write(tmp_path / "x.dbn", [*ORDERS[:2], *later]))
    assert touches(block) == [(19200, 5, 19202, 7), (NO_PRICE, 0, NO_PRICE, 0), (18800, 1, 18801, 1)]


def test_counts_messages_that_contradict_the_book(tmp_path: Path) -> None:
    """A file cut from the middle of a day imports, and says that its book is incomplete."""
    path = write(tmp_path / "x.dbn", [*ORDERS[:2], mbo(3, "C", "B", 4800.00, 1, 77), mbo(4, "M", "B", 4800.25, 1, 78)])
    outcome = tidemark("data", "import", "databento", path, "--symbol", "ES", "--check", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["notes"] == {
        "cancels of orders that the file never added": 1,
        "modifies of orders that the file never added, taken as adds": 1,
    }


def test_takes_books_that_come_with_each_message(tmp_path: Path) -> None:
    """Schema mbp-10: the trade first, then the book at the end of its group; levels without a price are empty."""
    levels = [(4800.00, 5, 4800.50, 7), (4799.75, 6, 4800.75, 8)]
    body = [
        mbp10(1, "A", "B", 4800.00, 5, LAST, levels),
        mbp10(2, "T", "B", 4800.50, 3, 0, levels),
        mbp10(3, "C", "A", 4800.50, 3, LAST, [(4800.00, 5, 4800.50, 4), levels[1]]),
    ]
    block = imported(tmp_path, write(tmp_path / "x.dbn", body, dbn.Schema.MBP_10))
    assert block.kind.tolist() == [0, 1, 0]
    assert block.aggressor.tolist() == [0, 1, 0]
    assert touches(block) == [(19200, 5, 19202, 7), (19200, 5, 19202, 4)]
    assert block.px_ticks[0, 2:LEVELS].tolist() == [NO_PRICE] * 8
    assert block.px_ticks[0, 1] == 19199


def test_takes_trades_alone(tmp_path: Path) -> None:
    """Schema trades: every record is a print."""
    body = [
        bytes(dbn.TradeMsg(1, 42, START_NS + i, 4800250000000, i, dbn.Action.TRADE, side, 0, START_NS + i, flags=0))
        for i, side in enumerate((dbn.Side.BID, dbn.Side.ASK, dbn.Side.NONE), 1)
    ]
    block = imported(tmp_path, write(tmp_path / "x.dbn", body, dbn.Schema.TRADES))
    assert block.kind.tolist() == [1, 1, 1]
    assert block.qty[:, 0].tolist() == [1, 2, 3]
    assert block.aggressor.tolist() == [1, -1, 0]


def test_takes_only_the_named_instrument(tmp_path: Path) -> None:
    """A parent request brings many contracts; one data set symbol is one of them."""
    other = mbo(3, "A", "B", 17000.00, 1, 50, instrument_id=43)
    path = write(tmp_path / "x.dbn", [*ORDERS[:2], other, *ORDERS[2:]], ids={"ESH4": [42], "NQH4": [43]})
    assert len(imported(tmp_path, path)) == 6
    assert touches(imported(tmp_path / "nq", path, symbol="NQ")) == [(68000, 1, NO_PRICE, 0)]


def test_several_contracts_of_a_symbol_have_to_be_told_apart(tmp_path: Path) -> None:
    """Two expiries in one book would be nonsense; the caller names one."""
    later = mbo(3, "A", "B", 4850.00, 1, 50, instrument_id=43)
    path = write(tmp_path / "x.dbn", [*ORDERS[:2], later], ids={"ESH4": [42], "ESM4": [43]})
    outcome = tidemark("data", "import", "databento", path, "--symbol", "ES", "--check")
    assert outcome.code == 2
    assert "expected --raw-symbol with one of ESH4, ESM4" in outcome.errors[0]
    assert touches(imported(tmp_path, path, "--raw-symbol", "ESM4")) == [(19400, 1, NO_PRICE, 0)]


def test_records_of_other_types_are_left_out(tmp_path: Path) -> None:
    """A live capture mixes status and system messages among the records; lengths differ from one to the next."""
    system = bytes(dbn.SystemMsg(ts_event=START_NS, msg="Heartbeat"))
    path = write(tmp_path / "x.dbn", [system, *ORDERS[:4], system, *ORDERS[4:]])
    assert len(imported(tmp_path, path)) == 6


def test_reads_the_same_values_as_the_vendors_library(tmp_path: Path) -> None:
    """Our arrays against its objects, field by field."""
    rng = np.random.default_rng(5)
    body = [
        mbo(i, "ACM"[i % 3], "BA"[i % 2], float(rng.integers(1, 9000)) / 4, int(rng.integers(1, 99)), int(rng.integers(1, 2**62)))
        for i in range(500)
    ]
    path = write(tmp_path / "x.dbn.zst", body)
    decoder = dbn.DBNDecoder()
    decoder.write(HEAD + b"".join(body))
    theirs = decoder.decode()[1:]
    [(lines, ours, others)] = DbnFile(path).batches()
    assert lines.tolist() == list(range(1, 501))
    assert others == 0
    for name in (
        "ts_event",
        "ts_recv",
        "order_id",
        "price",
        "size",
        "sequence",
        "instrument_id",
        "publisher_id",
        "channel_id",
        "ts_in_delta",
    ):
        assert ours[name].tolist() == [getattr(record, name) for record in theirs]
    for name in ("action", "side"):
        assert [chr(code) for code in ours[name].tolist()] == [str(getattr(record, name)) for record in theirs]
    assert ours["flags"].tolist() == [int(record.flags) for record in theirs]


HEAD = metadata(dbn.Schema.MBO, {"ESH4": [42]})
NQ_HEAD = metadata(dbn.Schema.MBO, {"NQH4": [42]})
TWO_IDS_HEAD = metadata(dbn.Schema.MBO, {"ESH4": [42, 43]})
NAMELESS_HEAD = metadata(dbn.Schema.MBO, {})
GOOD = mbo(1, "A", "B", 4800, 1, 1)
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "content: got an empty file; expected a DBN file"),
    "not DBN": (b"ts_event,price\n1,2\n", "expected a DBN file"),
    "metadata cut": (HEAD[:60], "metadata: got"),
    "metadata length of a bomb": (b"DBN\x03\xff\xff\xff\xff", "metadata: got 4294967295 bytes"),
    "record cut": (HEAD + b"".join(ORDERS)[:-10], ":8: record: got 46 bytes; expected a whole record"),
    "compressed and cut": (zstandard.compress(HEAD + b"".join(ORDERS))[:-30], "truncated or damaged?"),
    "zero length record": (HEAD + bytes(56), "record: got length 0"),
    "another schema": (metadata(dbn.Schema.OHLCV_1M, {"ESH4": [42]}), "schema: got ohlcv-1m; expected one of mbo, mbp-10"),
    "another instrument": (NQ_HEAD + ORDERS[0], "--symbol: got ES; expected an instrument of the file: NQH4"),
    "one name, two instruments": (TWO_IDS_HEAD + ORDERS[0], "instrument_id: got [42, 43]; expected one contract"),
    "nameless instruments": (NAMELESS_HEAD + ORDERS[0] + mbo(2, "A", "A", 1, 1, 1, instrument_id=7), "instrument_id: got [7, 42]"),
    "two venues": (HEAD + ORDERS[0] + mbo(2, "A", "A", 1, 1, 1, publisher_id=2), "publisher_id: got [1, 2]"),
    "no records": (HEAD, "events: got 0; expected at least one event"),
    "off tick": (HEAD + mbo(1, "A", "B", 4800.1, 1, 1), ":1: price: got 4800100000000; expected a multiple of the tick"),
    "no price": (HEAD + mbo(1, "A", "B", None, 1, 1), ":1: price: got 9223372036854775807; expected a value"),
    "no time": (HEAD + GOOD.replace((START_NS + 1000).to_bytes(8, "little"), b"\xff" * 8), ":1: ts_event: got 1844674407370955"),
    "unknown action": (HEAD + GOOD[:38] + b"Z" + GOOD[39:], ":1: action: got 90; expected a word of this layout"),
    "time backwards": (HEAD + ORDERS[2] + ORDERS[1], "got event time is before that of the symbol"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_refuses_a_bad_file_in_one_line_and_writes_nothing(tmp_path: Path, name: str) -> None:
    """Exit 2, where it is and what was expected."""
    content, message = BAD_FILES[name]
    (tmp_path / "x.dbn").write_bytes(content)
    outcome = tidemark("data", "import", "databento", tmp_path / "x.dbn", "--symbol", "ES", "--out", tmp_path / "set")
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert message in outcome.errors[0]
    assert entries(tmp_path) == ["x.dbn"]
