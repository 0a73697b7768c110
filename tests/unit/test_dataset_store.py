"""The canonical data set on disk: what is written is read back, in feed order, whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset_files import START_NS, entries, market_block, same
from tidemark.adapters.dataset.bars import bars_of_block
from tidemark.adapters.dataset.layout import file_sha256
from tidemark.adapters.dataset.store import Dataset, write_dataset
from tidemark.errors import InputError
from tidemark.events import EventBlock, concat, empty_block
from tidemark.features.bars import BarBuilder
from tidemark.instruments import INSTRUMENTS
from tidemark.units import NS_PER_DAY, NS_PER_MIN

SYMBOLS = ("ES", "NQ", "ZN")
SPECS = {symbol: INSTRUMENTS[symbol] for symbol in SYMBOLS}


def write(out: Path, block: EventBlock, rows_per_block: int = 700) -> Dataset:
    """Store a block in portions."""
    portions = (block[start : start + rows_per_block] for start in range(0, len(block), rows_per_block))
    write_dataset(out, {symbol: INSTRUMENTS[symbol] for symbol in block.symbols}, portions, source="a test", licence="none")
    return Dataset.open(out)


@pytest.fixture(scope="module")
def block() -> EventBlock:
    return market_block(SYMBOLS, 5000)


@pytest.fixture(scope="module")
def dataset(block: EventBlock, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("data") / "set", block)


def test_reads_back_what_was_written_in_feed_order(dataset: Dataset, block: EventBlock) -> None:
    """Every replay starts from these rows; a lost or moved one changes every figure after it."""
    assert same(dataset.block(), block)
    assert dataset.event_count() == len(block)
    assert dataset.instruments == SPECS


@pytest.mark.parametrize("events_max", [1, 7, 999, 5000, 60_000])
def test_streams_the_same_rows_in_blocks_of_the_asked_size(dataset: Dataset, block: EventBlock, events_max: int) -> None:
    """A stream with bounded memory may not differ from the whole."""
    blocks = list(dataset.iter_blocks(events_max))
    assert same(concat(blocks), block)
    assert all(len(part) == events_max for part in blocks[:-1])


def test_selects_symbols_and_dates(tmp_path: Path) -> None:
    """Walk-forward takes single days, training single symbols."""
    first = market_block(SYMBOLS, 300)
    second = market_block(SYMBOLS, 300, seed=1)
    second.event_ts_ns[:] += NS_PER_DAY
    second.recv_ts_ns[:] += NS_PER_DAY
    for i in range(len(SYMBOLS)):
        second.seq[second.symbol_i == i] += int((first.symbol_i == i).sum())
    dataset = write(tmp_path / "set", concat([first, second]))
    assert dataset.dates() == dataset.dates("NQ") == ["2024-03-01", "2024-03-02"]
    assert same(dataset.block(date="2024-03-02"), second)
    one = dataset.block(["NQ"], "2024-03-01")
    assert one.symbols == ("NQ",)
    assert one.seq.tolist() == first.seq[first.symbol_i == 1].tolist()


def test_events_at_one_time_come_in_the_manifests_order_of_symbols(tmp_path: Path) -> None:
    """Feed order is total: two machines must replay the same sequence."""
    block = market_block(SYMBOLS, 60)
    block.event_ts_ns[:] = START_NS
    dataset = write(tmp_path / "set", block)
    assert dataset.block().symbol_i.tolist() == sorted(block.symbol_i.tolist())


def test_damaged_order_is_kept_not_repaired(tmp_path: Path) -> None:
    """A reader that sorts would hide from the check, and from run time, what is wrong with the data."""
    block = market_block(("ES",), 50, trade_share=0.0)
    block.event_ts_ns[30] -= NS_PER_MIN
    block.seq[40] = block.seq[39]
    dataset = write(tmp_path / "set", block)
    assert same(dataset.block(), block)


def test_the_hash_does_not_depend_on_how_the_rows_were_cut(tmp_path: Path, block: EventBlock) -> None:
    """It names the data, not the program that wrote the file."""
    assert write(tmp_path / "a", block, 64).data_hash == write(tmp_path / "b", block, 5000).data_hash
    other = concat([block])
    other.qty[17, 0] += 1
    assert write(tmp_path / "c", other).data_hash != write(tmp_path / "d", block).data_hash


def test_the_manifest_has_the_hash_and_rows_of_every_file(dataset: Dataset) -> None:
    """What an archive holds can be proved years later with standard tools."""
    document = json.loads((dataset.root / "manifest.json").read_text())
    assert sorted(document["files"]) == [name for name in entries(dataset.root) if name.endswith(".parquet")]
    for name, entry in document["files"].items():
        assert entry["sha256"] == file_sha256(dataset.root / name)
        assert entry["rows"] == pq.ParquetFile(dataset.root / name).metadata.num_rows
    assert document["instruments"]["ZN"]["tick_size"] == "0.015625"


def test_the_columns_are_the_published_ones(dataset: Dataset) -> None:
    """Athena, the lake and other people's programs read them by name and type."""
    depth = pq.read_schema(dataset.root / "depth/symbol=ES/date=2024-03-01/part-0000.parquet")
    assert depth.names[:7] == ["ts_event_ns", "ts_recv_ns", "seq", "bid_px_00", "bid_sz_00", "bid_px_01", "bid_sz_01"]
    assert len(depth.names) == 43
    assert {str(depth.field(name).type) for name in depth.names if "_sz_" in name} == {"int32"}
    assert {str(depth.field(name).type) for name in depth.names if "_sz_" not in name} == {"int64"}
    trades = pq.read_schema(dataset.root / "trades/symbol=ES/date=2024-03-01/part-0000.parquet")
    assert [(field.name, str(field.type)) for field in trades] == [
        ("ts_event_ns", "int64"), ("ts_recv_ns", "int64"), ("seq", "int64"), ("px", "int64"), ("sz", "int32"), ("aggressor", "int8"),
    ]  # fmt: skip


def test_stored_bars_are_those_that_the_stream_builds(dataset: Dataset, block: EventBlock) -> None:
    """Two ways to a bar would be two truths about the same minute."""
    streamed = BarBuilder("ES").update(block[block.symbol_i == 0], int(block.event_ts_ns[-1]) + 2 * NS_PER_MIN)
    stored = dataset.bars("ES")
    assert bars_of_block(block, "ES").vwap_ticks.tolist() == stored.vwap_ticks.tolist()
    columns = (
        stored.open_ts_ns,
        stored.open_ticks,
        stored.high_ticks,
        stored.low_ticks,
        stored.close_ticks,
        stored.volume,
        stored.vwap_ticks,
    )
    assert len(streamed) > 3
    assert [
        (bar.open_ts_ns, bar.open_ticks, bar.high_ticks, bar.low_ticks, bar.close_ticks, bar.volume, bar.vwap_ticks, bar.trade_count)
        for bar in streamed
    ] == list(zip(*(column.tolist() for column in columns), stored.trade_count.tolist(), strict=True))


def test_longer_bars_cover_the_same_trades(dataset: Dataset) -> None:
    """A five-minute bar is its minutes, no more and no less."""
    minutes, fives = dataset.bars("NQ"), dataset.bars("NQ", "5m")
    assert 1 < len(fives) < len(minutes)
    assert fives.volume.sum() == minutes.volume.sum()
    assert fives.high_ticks.max() == minutes.high_ticks.max()
    assert np.isclose((fives.vwap_ticks * fives.volume).sum(), (minutes.vwap_ticks * minutes.volume).sum())


def _failing(block: EventBlock, error: BaseException) -> Iterator[EventBlock]:
    yield block
    raise error


@pytest.mark.parametrize("error", [InputError("bad row"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_write_that_stops_midway_leaves_nothing(tmp_path: Path, block: EventBlock, error: BaseException) -> None:
    """Half a data set looks like a whole one to whoever comes next."""
    with pytest.raises(type(error)):
        write_dataset(tmp_path / "new" / "set", SPECS, _failing(block, error), source="a test", licence="none")
    assert entries(tmp_path) == []


def test_refuses_a_folder_with_content_and_leaves_it_alone(tmp_path: Path, block: EventBlock) -> None:
    """Data sets are never mixed."""
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="--out: got a folder with 1 entries; expected a new or an empty folder"):
        write_dataset(tmp_path, SPECS, [block], source="a test", licence="none")
    assert entries(tmp_path) == ["mine.txt"]


def test_refuses_a_place_that_cannot_be_written_to(tmp_path: Path, block: EventBlock) -> None:
    """One line for the user, not a traceback."""
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "set", tmp_path / "file", Path("/proc/tidemark/set")):
        with pytest.raises(InputError):
            write_dataset(out, SPECS, [block], source="a test", licence="none")
    assert entries(tmp_path) == ["file"]


def test_refuses_a_set_without_an_event(tmp_path: Path) -> None:
    """An empty result is a mistake upstream."""
    with pytest.raises(InputError, match="events: got 0; expected at least one event"):
        write_dataset(tmp_path / "set", SPECS, [empty_block(SYMBOLS, 0)], source="a test", licence="none")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("symbol", ["../../etc", "A/B", "", ".hidden", "x" * 33, "ES=1", "Ñ"])
def test_refuses_symbols_that_cannot_name_a_folder(tmp_path: Path, symbol: str) -> None:
    """A symbol becomes a path; it may not leave the data set."""
    with pytest.raises(InputError, match="symbol"):
        write_dataset(tmp_path / "set", {symbol: INSTRUMENTS["ES"]}, [market_block((symbol,), 5)], source="a test", licence="none")
    assert entries(tmp_path) == []


def _truncate(root: Path) -> None:
    path = next(root.glob("depth/symbol=ES/*/part-0000.parquet"))
    path.write_bytes(path.read_bytes()[:-100])


def _scramble(root: Path) -> None:
    path = next(root.glob("depth/symbol=ES/*/part-0000.parquet"))
    path.write_bytes(b"x" * path.stat().st_size)


def _manifest(root: Path, **changes: object) -> None:
    document = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda root: shutil.rmtree(root), "data set: got nothing"),
        (lambda root: (root / "manifest.json").unlink(), "manifest.json: got nothing; expected a data set's folder"),
        (lambda root: (root / "manifest.json").write_text("{"), "expected a JSON document"),
        (lambda root: (root / "manifest.json").write_bytes(b"\xff\xfe{"), "expected a JSON document"),
        (lambda root: (root / "manifest.json").write_text("[" * 100_000), "expected a JSON document"),
        (lambda root: (root / "manifest.json").write_text("[]"), "expected a JSON object"),
        (lambda root: _manifest(root, schema=2), "schema: got 2; expected 1"),
        (lambda root: _manifest(root, symbols=["ES"]), "symbols"),
        (lambda root: _manifest(root, files={"../x": {"rows": 1, "bytes": 1, "sha256": ""}}), "a path inside the data set"),
        (lambda root: _manifest(root, files={"depth/x": {}}), "rows: got nothing"),
        (lambda root: _manifest(root, rows=3), "the fields of a data set's manifest"),
        (_truncate, "truncated or altered since it was written"),
        (_scramble, "expected a readable Parquet file"),
        (lambda root: next(root.glob("trades/symbol=ES/*/*")).unlink(), "expected a file that the manifest names"),
    ],
)  # fmt: skip
def test_refuses_a_damaged_set_in_one_line(tmp_path: Path, dataset: Dataset, harm: object, message: str) -> None:
    """The line names the file, so that somebody can restore it."""
    root = tmp_path / "set"
    shutil.copytree(dataset.root, root)
    assert callable(harm)
    harm(root)
    with pytest.raises(InputError, match=message) as caught:
        Dataset.open(root).block()
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_unknown_symbols_dates_and_time_frames(dataset: Dataset) -> None:
    """An empty answer to a misspelt question would pass for data."""
    with pytest.raises(InputError, match="symbol: got CL; expected one of ES, NQ, ZN"):
        dataset.block(["CL"])
    with pytest.raises(InputError, match="date: got 2026-02-30; expected a date"):
        dataset.block(date="2026-02-30")
    with pytest.raises(InputError, match="timeframe: got 7m"):
        dataset.bars("ES", "7m")
    with pytest.raises(InputError, match="events_max"):
        next(dataset.iter_blocks(0))
    assert len(dataset.block(date="2024-03-05")) == 0
