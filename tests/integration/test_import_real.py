"""Importers against real vendors' files: every row accounted for, every level equal to the source's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset_files import same, tidemark
from real_data import require_real_data
from tidemark.adapters.dataset.store import Dataset
from tidemark.events import LEVELS, EventBlock, Kind

OPEN_NS = 1_703_545_200_000_000_000  # 2023-12-25 23:00 UTC: Globex opens
ES_DBN = "l2/dbn/esh4-glbx-mdp3-20231225-first-part.mbo.dbn.zst"
COLUMNS = [(f"{side}_px_{level:02d}", f"{side}_sz_{level:02d}") for side in ("bid", "ask") for level in range(LEVELS)]


def imported(out: Path, format_name: str, files: list[str], *options: object) -> tuple[Dataset, dict[str, Any]]:
    """(data set, report) of an import that must succeed."""
    paths = [require_real_data(name) for name in files]
    outcome = tidemark("data", "import", format_name, *paths, "--out", out, *options, "--json")
    assert outcome.code == 0, outcome.err
    return Dataset.open(out), json.loads(outcome.out)


def source_books(name: str, tick: float) -> tuple[Any, Any, Any]:
    """(times, prices in ticks, sizes) of a real book file, read with nothing of ours."""
    table = pq.read_table(require_real_data(name))
    px = np.stack([np.rint(table[price].to_numpy() / tick).astype(np.int64) for price, _ in COLUMNS], axis=1)
    sizes = np.stack([table[size].to_numpy() for _, size in COLUMNS], axis=1)
    return table["ts_event"].to_numpy(), px, sizes


def depth_of(dataset: Dataset) -> EventBlock:
    """Depth rows of a data set."""
    block = dataset.block()
    return block[block.kind == Kind.DEPTH]


@pytest.fixture(scope="module")
def es(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return imported(tmp_path_factory.mktemp("es") / "set", "databento", [ES_DBN], "--symbol", "ES")[0]


def test_the_es_book_rebuilt_from_orders_is_the_published_one_row_by_row(es: Dataset) -> None:
    """26,315 ten-level books of an hour of open market, rebuilt independently from the same orders: prices, sizes and times."""
    times, px, sizes = source_books("l2/es_mbp10_ESH4_20231225.parquet", 0.25)
    is_open = times >= OPEN_NS
    depth = depth_of(es)
    depth = depth[depth.event_ts_ns >= OPEN_NS]
    assert len(depth) == is_open.sum() == 26_315
    assert np.array_equal(depth.event_ts_ns, times[is_open])
    assert np.array_equal(depth.px_ticks, px[is_open])
    assert np.array_equal(depth.qty, sizes[is_open])


def test_the_es_trades_are_the_published_ones(es: Dataset) -> None:
    """2,271 prints with price, size and aggressor; the opening auction has none."""
    table = pq.read_table(require_real_data("l2/es_trades_ESH4_20231225.parquet")).to_pydict()
    block = es.block()
    trades = block[block.kind == Kind.TRADE]
    assert trades.event_ts_ns.tolist() == table["ts_event"]
    assert (trades.px_ticks[:, 0] / 4).tolist() == table["price"]
    assert trades.qty[:, 0].tolist() == table["size"]
    assert [{1: "B", -1: "A", 0: "N"}[side] for side in trades.aggressor.tolist()] == table["aggressor_side"]


@pytest.mark.parametrize(
    "files",
    [["l2/es_mbo_ESH4_20231225.parquet"], ["l2/es_mbp10_ESH4_20231225.parquet", "l2/es_trades_ESH4_20231225.parquet"]],
    ids=["orders", "books and trades"],
)
def test_three_ways_to_the_same_es_data(es: Dataset, tmp_path: Path, files: list[str]) -> None:
    """DBN, a table of orders, and a table of books beside one of trades give the same events, seq and all."""
    other, _ = imported(tmp_path / "set", "parquet", files, "--symbol", "ES")
    assert other.data_hash == es.data_hash
    assert same(other.block(), es.block())


def test_only_the_pre_open_es_book_is_crossed(es: Dataset) -> None:
    """143 crossed rows before 23:00 UTC are true states: imported, counted, and just inside the target."""
    outcome = tidemark("data", "check", es.root, "--json")
    quality = json.loads(outcome.out)["symbols"]["ES"]
    assert outcome.code == 0
    assert (quality["defects"], quality["missing_seq"], quality["full_books_ppm"]) == ({"crossed": 143}, 0, 1_000_000)
    depth = depth_of(es)
    opened = depth[depth.event_ts_ns >= OPEN_NS]
    assert (opened.px_ticks[:, LEVELS] > opened.px_ticks[:, 0]).all()


@pytest.mark.parametrize(
    ("name", "symbol", "depth", "trades", "between_ticks"),
    [
        ("l2/lobster_GOOG_20120621_0930-1400_book10.parquet", "GOOG", 100_048, 3_877 + 2_175 - 35, 35),
        ("l2/lobster_AAPL_20120621_0930-1010_book10.parquet", "AAPL", 65_718, 3_110 + 1_718 - 17, 17),
    ],
)
def test_lobster_tables_come_through_row_by_row(
    tmp_path: Path, name: str, symbol: str, depth: int, trades: int, between_ticks: int
) -> None:
    """Visible and hidden executions become trades, but for those at the midpoint between two ticks; every book is kept as it was."""
    dataset, report = imported(tmp_path / "set", "parquet", [name], "--symbol", symbol, "--tick-size", "0.01")
    assert report["rows"] == {"depth": depth, "trades": trades}
    assert report["notes"] == {"hidden or cross executions between two ticks, left out": between_ticks}
    times, px, sizes = source_books(name, 0.01)
    books = depth_of(dataset)
    assert np.array_equal(books.event_ts_ns, times)
    assert np.array_equal(books.px_ticks, px)
    assert np.array_equal(books.qty, sizes)
    assert json.loads(tidemark("data", "check", dataset.root, "--json").out)["quality_ppm"] == 1_000_000


def test_visible_executions_happen_at_the_touch_of_their_side(tmp_path: Path) -> None:
    """A buyer lifts the ask and a seller hits the bid: the aggressor is right wherever a time has one kind of execution."""
    name = "l2/lobster_GOOG_20120621_0930-1400_book10.parquet"
    dataset, _ = imported(tmp_path / "set", "parquet", [name], "--symbol", "GOOG", "--tick-size", "0.01")
    table = pq.read_table(require_real_data(name), columns=["ts_event", "msg_type"]).to_pydict()
    visible = {ts for ts, kind in zip(table["ts_event"], table["msg_type"], strict=True) if kind == 4}
    hidden = {ts for ts, kind in zip(table["ts_event"], table["msg_type"], strict=True) if kind == 5}
    block = dataset.block()
    rows = [i for i in np.flatnonzero(block.kind == Kind.TRADE).tolist() if i and block.event_ts_ns[i] in visible - hidden]
    before = [i - 1 for i in rows]
    bid, ask = block.px_ticks[before, 0], block.px_ticks[before, LEVELS]
    price, aggressor = block.px_ticks[rows, 0], block.aggressor[rows]
    assert len(rows) == 2_982
    assert set(aggressor.tolist()) == {1, -1}
    assert np.array_equal(np.where(aggressor == 1, ask, bid), price)


def test_the_original_lobster_pair_imports_whole(tmp_path: Path) -> None:
    """The vendor's own files, without options but the symbol: 999 events, the first at 09:30:00.004241176 in New York."""
    files = [f"l2/lobster_original/AAPL_2012-06-21_34200000_57600000_{kind}_10.csv" for kind in ("message", "orderbook")]
    dataset, report = imported(tmp_path / "set", "lobster", files, "--symbol", "AAPL")
    assert report["rows"] == {"depth": 999, "trades": 98 + 61}
    books = np.loadtxt(require_real_data(files[1]), delimiter=",", dtype=np.int64)
    depth = depth_of(dataset)
    assert depth.event_ts_ns[0] == 1_340_285_400_004_241_176
    assert np.array_equal(depth.px_ticks[:, LEVELS:] * 100, books[:, 0::4])
    assert np.array_equal(depth.px_ticks[:, :LEVELS] * 100, books[:, 2::4])
    assert np.array_equal(depth.qty[:, LEVELS:], books[:, 1::4])


@pytest.mark.parametrize(
    ("name", "tick", "step", "depth", "trades", "options"),
    [
        ("usdm_btcusdt", "0.1", "0.001", 6_545, 21_313, ()),
        ("cm_btcusd_perp", "0.1", "1", 26_822, 2_286, ("--contract", "inverse", "--tick-value-micros", "162")),
        ("spot_btcusdt", "0.01", "0.00001", 3_448, 9_757, ("--tick-value-micros", "1")),
    ],
)
def test_binance_books_and_trades_come_through(
    tmp_path: Path, name: str, tick: str, step: str, depth: int, trades: int, options: tuple[str, ...]
) -> None:
    """Fractional sizes become whole steps without a rounding; the receiver's clock, 1.2 s behind, is reported."""
    files = [f"l2/binance_{name}_20240808_{kind}.parquet" for kind in ("book10", "trades")]
    dataset, report = imported(tmp_path / "set", "parquet", files, "--symbol", "BTC", "--tick-size", tick, "--qty-step", step, *options)
    assert report["rows"] == {"depth": depth, "trades": trades}
    times, px, sizes = source_books(files[0], float(tick))
    books = depth_of(dataset)
    assert np.array_equal(books.event_ts_ns, times)
    assert np.array_equal(books.px_ticks, px)
    assert np.array_equal(books.qty, np.rint(sizes / float(step)).astype(np.int64))
    block = dataset.block()
    prints = block[block.kind == Kind.TRADE]
    quantities = pq.read_table(require_real_data(files[1]))["qty"].to_numpy()
    assert np.array_equal(prints.qty[:, 0], np.rint(quantities / float(step)).astype(np.int64))
    quality = json.loads(tidemark("data", "check", dataset.root, "--json").out)["symbols"]["BTC"]
    assert quality["recv_before_event"] == depth + trades
    assert quality["quality_ppm"] == 1_000_000


def test_vendor_samples_of_other_schemas_import(tmp_path: Path) -> None:
    """Top of book with trades, trades alone, ten levels: Databento's own sample files."""
    samples = {
        "l2/dbn/fixtures/nautilus/futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst": {"depth": 2_168, "trades": 120},
        "l2/dbn/fixtures/nautilus/futures_trades_2024-07-01T23-58_2024-07-02T00-02.dbn.zst": {"depth": 0, "trades": 120},
        "l2/dbn/fixtures/GLBX.MDP3/test_data.mbp-10.dbn.zst": {"depth": 4, "trades": 0},
    }
    for i, (name, rows) in enumerate(samples.items()):
        _, report = imported(tmp_path / str(i), "databento", [name], "--symbol", "ES")
        assert report["rows"] == rows
    dates = Dataset.open(tmp_path / "0").dates()
    assert dates == ["2024-07-01", "2024-07-02"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("l2/dbn/fixtures/GLBX.MDP3/test_data.ohlcv-1s.dbn.zst", ("--symbol", "ES"), "schema: got ohlcv-1s"),
        ("l2/dbn/fixtures/OPRA.PILLAR/test_data.mbp-1.dbn.zst", ("--symbol", "ES"), "--symbol: got ES"),
        (ES_DBN, ("--symbol", "NQ"), "--symbol: got NQ; expected an instrument of the file: ESH4"),
    ],
)
def test_other_samples_are_refused(tmp_path: Path, name: str, options: tuple[str, ...], message: str) -> None:
    """Bars and options are no book of a future."""
    outcome = tidemark("data", "import", "databento", require_real_data(name), *options, "--out", tmp_path / "set")
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert message in outcome.errors[0]
    assert not (tmp_path / "set").exists()
