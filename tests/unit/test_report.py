"""The report of a run: complete, honest about what is missing, and one file that needs nothing else."""

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine_market import AA, config, random_block, random_signals
from tidemark.adapters.report_file import write_report
from tidemark.adapters.runfolder import write_run_folder
from tidemark.adapters.runfolder_read import read_run
from tidemark.cli.main import run as run_command
from tidemark.engine.hours import ALWAYS, FixedHours
from tidemark.errors import InputError
from tidemark.reporting.charts import mean_price
from tidemark.reporting.render import render_report
from tidemark.reporting.rundata import RunData
from tidemark.reporting.statistics import move_reliability, thin, wilson
from tidemark.reporting.targets import kpi_targets, load_targets, other_targets
from tidemark.reporting.text import NO_DATA, duration, moment, percent, usd
from tidemark.research.backtest import run_backtest
from tidemark.research.kpis import measure, targets_of
from tidemark.research.kpis import wilson as wilson_of_kpis
from tidemark.research.summary import build_summary

VOID = {"meta", "link", "br"}
HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


class Outline(HTMLParser):
    """What an HTML text is made of: open elements that match, ids, and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href"):
                self.addresses.append(value or "")
            assert not name.startswith("on"), f"an event handler in the markup: {name}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def made() -> RunData:
    """A run with something in every part."""
    n = 50
    trades = {
        "ts_ns": [i * 10**9 for i in range(1, n + 1)],
        "symbol": ["ES"] * n,
        "signal_id": [f"s{i}" for i in range(n)],
        "tier": ["TIER1", "UNTIERED"] * (n // 2),
        "side": [1, -1] * (n // 2),
        "qty": [2] * n,
        "entry_ticks_qty": [2 * 20_000 + i for i in range(n)],
        "exit_ticks_qty": [2 * 20_002 + i for i in range(n)],
        "gross_micros": [50_000_000, -30_000_000] * (n // 2),
        "fees_micros": [4_800_000] * n,
        "net_micros": [45_200_000, -34_800_000] * (n // 2),
        "risk_micros": [100_000_000] * n,
        "opened_ns": [i * 10**9 - 500_000_000 for i in range(1, n + 1)],
        "closed_ns": [i * 10**9 for i in range(1, n + 1)],
        "reason": ["target", "stop"] * (n // 2),
    }
    equity = {
        "ts_ns": [i * 10**9 for i in range(1, 6)],
        "equity_micros": [100_000_000, 110_000_000, 99_000_000, 105_000_000, 120_000_000],
        "cash_micros": [100_000_000] * 5,
        "high_water_micros": [100_000_000, 110_000_000, 110_000_000, 110_000_000, 120_000_000],
        "drawdown_bps_max": [0, 0, 1_000, 1_000, 1_000],
        "is_stale": [False] * 5,
    }
    summary: dict[str, Any] = {
        "schema": 1,
        "stage": "paper",
        "mode": "run",
        "seed": 7,
        "data": {"hash": "abc123", "events": 1_000, "trades": 90, "quarantined": {"CROSSED": 4, "SEQ_GAP": 1}},
        "symbols": {"ES": {"events": 1_000, "quality_ppm": 995_000}},
        "signals": {"TIER1": 30, "TIER2": 0, "TIER3": 0, "UNTIERED": 40},
        "orders": {"FILLED": 100, "EXPIRED": 3},
        "refusals": {"DAY_LOSS": 18, "STALE_SIGNAL": 2},
        "fills": 100,
        "position_qty": {"ES": 0},
        "pnl_micros": 260_000_000,
        "costs_micros": 240_000_000,
        "latency_ns": {"feed": {"p50": 4_000_000, "p99": 120_000_000, "max": 150_000_000, "n": 9, "budget": 100_000_000}},
        "latency_hist": {"feed": [[1_000_000, 5], [4_000_000, 4]]},
        "kpis": {
            "win_rate": {"value": 0.5, "ci95": [0.36, 0.64], "n": 50, "target": 0.65, "verdict": "not met"},
            "sharpe": {"value": None, "ci95": None, "n": 1, "target": 2.0, "verdict": "no data"},
            "max_drawdown": {"value": 0.1, "ci95": None, "n": 1, "target": 0.1, "verdict": "undecided"},
        },
        "findings": ["the feed was thin"],
    }
    return RunData(
        name="morning",
        summary=summary,
        config={
            "git_revision": "f00d",
            "data_hash": "abc123",
            "strategy": "lob",
            "model": "lob-1",
            "speed": "10",
            "engine": {"account": "paper"},
        },
        trades=trades,
        equity=equity,
        signals={"signal_id": [f"s{i}" for i in range(n)], "p_win_ppm": [400_000 + 4_000 * i for i in range(n)]},
        refusals={
            "ts_ns": [10**9, 2 * 10**9],
            "code": ["DAY_LOSS", "STALE_SIGNAL"],
            "figure": [3_063_000_000, 604_000_000],
            "limit": [3_000_000_000, 500_000_000],
            "symbol": ["ES", "ES"],
        },
        instruments={"ES": {"symbol": "ES", "tick_size": "0.25"}},
    )


def empty() -> RunData:
    """A run in which nothing happened."""
    names = ("ts_ns", "symbol", "signal_id", "tier", "side", "qty", "gross_micros", "fees_micros", "net_micros")
    return RunData(name="quiet", summary={"mode": "run"}, config={}, trades={name: [] for name in names}, equity={})


def charts_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found
    charts: dict[str, Any] = json.loads(found[1])
    return charts


def test_every_part_is_there_and_the_html_is_well_formed() -> None:
    """Elements close in order, no id stands twice, and each link leads to a part."""
    outline = Outline(render_report(made(), ""))
    assert not outline.open
    assert len(outline.ids) == len(set(outline.ids))
    links = [address for address in outline.addresses if address.startswith("#")]
    assert len(links) >= 10
    assert {link[1:] for link in links} <= set(outline.ids)


@pytest.mark.parametrize(
    "said",
    [
        "abc123", "f00d", "lob-1", "mode: run", "the feed was thin",  # what ran, findings
        "36.0 % to 64.0 %", "✕ not met", "≥ 65.0 %", "≤ 10.0 %",  # figures against targets
        "−$34.80", "▲ long", "▼ short", "5,000", "0.452 R", "500 ms",  # trades
        "+$1,130.00", "−$870.00", "+$260.00", "$2.40",  # tiers, costs
        "✕ 120.0 %", "120 ms", "crossed", "0.40 %", "99.500 %",  # latency, data
        "day loss", "$3,063.00 / $3,000.00", "604 ms / 500 ms",  # refusals
        "latency of feed: p99 of 120 ms is over its budget of 100 ms", "Replay speed 10",  # what the figures give away, and their condition
    ],
)  # fmt: skip
def test_what_the_run_came_to_is_said(said: str) -> None:
    """Each figure in its unit, somewhere in the text that a reader sees."""
    assert said in Outline(render_report(made(), "")).text


def test_a_refusal_says_a_unit_that_is_a_word_once() -> None:
    """`1 / 0 contracts`, as one would say it."""
    run = made()
    refusals = {"ts_ns": [10**9], "code": ["ORDER_QTY"], "figure": [6], "limit": [5], "symbol": ["ES"]}
    text = Outline(render_report(replace(run, refusals=refusals, summary={**run.summary, "refusals": {"ORDER_QTY": 1}}), "")).text
    assert "6 / 5 contracts" in text


def test_the_charts_hold_what_the_tables_hold() -> None:
    """Equity in dollars, drawdown from the high-water mark in percent, entries and exits in prices, latency in milliseconds."""
    charts = charts_of(render_report(made(), ""))
    assert charts["equity-chart"]["data"][0]["y"] == [100.0, 110.0, 99.0, 105.0, 120.0]
    assert charts["drawdown-chart"]["data"][0]["y"] == pytest.approx([0.0, 0.0, -10.0, 100 * (105 / 110 - 1), 0.0], abs=1e-3)
    bought = next(trace for trace in charts["trades-chart-0"]["data"] if trace["name"] == "bought to open")
    assert bought["y"][0] == 5_000.0
    assert len(bought["x"]) == 25
    assert charts["latency-chart"]["data"][1]["x"] == [120.0]
    assert charts["latency-hist-chart"]["data"][0]["y"] == pytest.approx([100 * 5 / 9, 100.0], abs=1e-2)
    assert charts["win-chart"]["data"][1]["y"] == pytest.approx([0.52, 0.48], abs=0.03)


def test_a_run_without_trades_or_figures_says_no_data_and_never_zero_for_them() -> None:
    """A figure that was not measured must not look like one that was."""
    text = render_report(empty(), "")
    outline = Outline(text)
    assert charts_of(text) == {}
    assert "No trade was made." in outline.text
    assert f"P&L after costs {NO_DATA}" in outline.text
    assert f"Costs {NO_DATA}" in outline.text
    assert "$0.00" not in outline.text


def test_null_figures_of_a_summary_read_no_data() -> None:
    """null, in whatever part, is neither 0 nor None nor nan."""
    run = made()
    summary = json.loads(json.dumps(run.summary))
    summary |= {
        "pnl_micros": None,
        "costs_micros": None,
        "fills": None,
        "latency_ns": {"feed": dict.fromkeys(("p50", "p99", "max", "n", "budget"))},
    }
    summary["data"] = {"hash": None, "events": None, "trades": None, "quarantined": {}}
    summary["symbols"] = {"ES": {"events": None, "quality_ppm": None}}
    text = Outline(render_report(replace(run, summary=summary), "")).text
    assert "None" not in text.replace("None.", "")
    assert "nan" not in text.lower().split()
    assert text.count(NO_DATA) > 10


def test_nothing_from_the_data_is_markup() -> None:
    """Names, findings and settings come from outside: they are text, in the tables, in the charts' data and in the title."""
    run = made()
    summary = {
        **run.summary,
        "findings": [HOSTILE],
        "refusals": {HOSTILE: 1},
        "mode": HOSTILE,
        "latency_ns": {HOSTILE: {"p99": 1, "budget": 2}},
    }
    hostile = {**run.trades, "symbol": [HOSTILE] * 50, "tier": [HOSTILE] * 50, "reason": [HOSTILE] * 50}
    text = render_report(replace(run, name=HOSTILE, summary=summary, trades=hostile, config={HOSTILE: HOSTILE}), "")
    outline = Outline(text)
    assert "img" not in outline.tags
    assert text.count("</script") == 3
    assert HOSTILE in html.unescape(text)
    assert charts_of(text)["latency-chart"]["data"][0]["y"] == [HOSTILE]


def test_a_script_that_is_put_in_cannot_end_its_element() -> None:
    """plotly's source may contain the closing tag in a string."""
    text = render_report(made(), 'const a = "</script><p id=broken>";')
    assert "broken" not in Outline(text).ids


def test_the_file_asks_nobody_for_anything() -> None:
    """No address but its own parts, and a policy that forbids all others."""
    text = render_report(made(), "")
    assert [address for address in Outline(text).addresses if not address.startswith("#")] == ["data:,"]
    assert "default-src 'none'" in text


def test_equal_runs_make_equal_reports() -> None:
    """The report of a run can be made again and compared."""
    assert render_report(made(), "x") == render_report(made(), "x")


def test_a_sharpe_ratio_that_is_too_good_is_called_a_leak() -> None:
    """Above anything that was ever seen to last, error is more likely than skill."""
    run = made()
    too_good = {**run.summary, "kpis": {"sharpe": {"value": 18.0, "ci95": [9.0, 30.0], "n": 40, "target": 2.0, "verdict": "met"}}}
    assert "sign of a leak" in Outline(render_report(replace(run, summary=too_good), "")).text
    assert "sign of a leak" not in Outline(render_report(run, "")).text


def test_targets_are_of_figures_that_a_run_measures() -> None:
    """A target whose name nothing measures would silently never be judged."""
    run = run_backtest([random_block(1, 50, ("AA",))], (AA,), config(), hours=FixedHours({"AA": [ALWAYS]}))
    assert set(kpi_targets()) <= set(measure(run.result, 1))
    assert len({row.id for row in load_targets()}) == len(load_targets())
    assert len(kpi_targets()) + len(other_targets()) == len(load_targets())
    assert targets_of(kpi_targets())["max_drawdown"].is_upper
    assert kpi_targets()["win_rate"] == {"min": 0.65}


def test_the_interval_of_shares_is_that_of_the_summary() -> None:
    """Tiers are counted by the report, key figures by the summary; the same counts give the same interval."""
    for wins, n in ((0, 1), (3, 10), (10, 10), (500, 1_000)):
        assert wilson(wins, n) == wilson_of_kpis(wins, n)


def test_a_predictions_outcome_is_the_mid_at_its_target_time() -> None:
    """In ticks, of the same symbol; without a later mid within a second there is no outcome."""
    second = 10**9
    predictions = {
        "symbol": ["A", "B", "A", "B", "A"],
        "input_ts_ns": [0, 0, 2 * second, 5 * second, 9 * second],
        "target_ts_ns": [2 * second, 2 * second, 4 * second, 6 * second, 11 * second],
        "mid2": [100, 50, 106, 60, 90],
        "expected_ticks": [1.5, 9.0, 9.0, 9.0, 9.0],
    }
    found = move_reliability(predictions)
    assert found is not None
    assert (found.claimed.tolist(), found.measured.tolist(), found.n.tolist()) == ([1.5], [3.0], [1])
    assert move_reliability(None) is None


def test_a_long_curve_is_thinned_without_losing_its_extremes() -> None:
    """A drawdown of one mark must still be seen."""
    values = np.random.default_rng(3).normal(size=100_000)
    values[77_777], values[12_345] = -50.0, 50.0
    kept = thin(np.arange(100_000), values, 400)
    assert len(kept) <= 400
    assert {0, 99_999, 77_777, 12_345} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.99997), "99.997 %"), (percent(1.0), "100.0 %"), (percent(0.0), "0.00 %"), (percent(-0.0298), "−2.98 %"),
        (usd(-1_234_567_890), "−$1,234.57"), (usd(None), NO_DATA), (duration(1_900_000), "1.9 ms"), (duration(999), "999 ns"),
        (moment(1_767_623_619_053_000_001), "2026-01-05 14:33:39.053"), (percent(float("nan")), NO_DATA),
    ],
)  # fmt: skip
def test_figures_are_shown_in_their_unit(shown: str, expected: str) -> None:
    """A share just under all of it is not all of it; nothing that is not a number is shown as one."""
    assert shown == expected


def test_a_mean_price_is_exact() -> None:
    """Sums of ticks times contracts, on ticks that are no binary fractions."""
    assert mean_price(7_079 * 3 + 1, 3, {"tick_size": "0.015625"}) == pytest.approx((7_079 + 1 / 3) / 64)
    assert mean_price(10, 0, {"tick_size": "1"}) is None
    assert mean_price(10, 1, None) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run: a backtest of a random book, written as `tidemark backtest` writes it."""
    block = random_block(6, 600, ("AA",))
    done = run_backtest([block], (AA,), config(), signals=random_signals(6, block, 20), hours=FixedHours({"AA": [ALWAYS]}))
    summary = build_summary(done.result, stage="backtest", mode="backtest", seed=7, targets=targets_of(kpi_targets()))
    out = tmp_path_factory.mktemp("runs") / "first"
    write_run_folder(out, summary=summary, config={"seed": 7}, records=done.records, result=done.result)
    assert done.result.trades
    return out


def test_a_runs_folder_comes_back_as_it_was_written(folder: Path) -> None:
    """Trades, equity, signals and instruments, from the very files of the writer."""
    run = read_run(folder)
    assert run.summary["mode"] == "backtest"
    assert len(run.trades["net_micros"]) > 0
    assert len(run.signals["signal_id"]) == sum(run.summary["signals"].values())
    assert len(run.refusals["code"]) == sum(run.summary["refusals"].values())
    assert run.instruments["AA"]["tick_size"] == AA.to_manifest()["tick_size"]
    assert run.predictions is None


def test_the_command_writes_the_report_and_prints_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file with its script inside, over an older report, with no other file left behind."""
    before = {path.name for path in folder.iterdir()}
    assert run_command(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert {path.name for path in folder.iterdir()} - before <= {"report.html"}
    text = write_report(folder).read_text("utf-8")
    assert len(text) > 1_000_000, "plotly's script is inside"
    assert '<section id="trades"' in text


def test_no_chart_is_drawn_without_plotly_and_the_report_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures do not depend on a drawing library."""
    monkeypatch.setattr("tidemark.adapters.report_file.find_spec", lambda _: None)
    text = write_report(folder).read_text("utf-8")
    assert len(text) < 1_000_000
    assert "plotly package was not installed" in text


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("summary.json", None, "summary.json: content"),
        ("summary.json", b'{"mode": ', "summary.json: content"),
        ("summary.json", b"[1]", "summary.json: content"),
        ("config.json", b"\xff\xfe", "config.json: content"),
        ("trades.parquet", None, "trades.parquet"),
        ("trades.parquet", b"PAR1 no", "trades.parquet"),
        ("equity.parquet", b"", "equity.parquet"),
        ("journal.bin", b"TMJ\x01 no", "journal.bin: journal"),
    ],
)
def test_a_broken_folder_is_refused_by_the_name_of_the_file(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, and no report from half of a run."""
    for path in folder.iterdir():
        if path.name != "report.html":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    assert run_command(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert field in said
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(InputError, match="expected the folder of a run"):
        read_run(tmp_path / "none")


def test_summaries_are_read_whatever_order_their_keys_have(folder: Path, tmp_path: Path) -> None:
    """The writer sorts keys; the report has its own order: the ratio that people ask for first comes first."""
    text = Outline(render_report(read_run(folder), "")).text
    assert text.index("total return") < text.index("Sharpe ratio") < text.index("usable share of events")
    assert msgspec.json.decode((folder / "summary.json").read_bytes())["schema"] == 1
