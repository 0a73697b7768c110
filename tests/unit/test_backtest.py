"""A backtest from a data set to a run's folder, and the figures that it states."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine_market import AA, MS, T0, Tape, config, of, play, random_block, random_signals, signal
from real_data import require_real_data
from tidemark.adapters.dataset.writer import write_dataset
from tidemark.adapters.parquet import read_table
from tidemark.adapters.runfolder import git_revision, read_run_journal, write_run_folder
from tidemark.cli.main import run as run_command
from tidemark.engine.hours import ALWAYS, FixedHours
from tidemark.engine.journal import RunFinished, RunStarted, TradeClosed, TradeDay, encode_journal
from tidemark.engine.result import EngineResult
from tidemark.engine.signal import PacedSignal, visible_ns
from tidemark.errors import DecodeError, InputError
from tidemark.events import EventBlock
from tidemark.instruments import lookup
from tidemark.research.backtest import SignalPath, of_symbol, run_backtest
from tidemark.research.bench import bench_engine, walk_block
from tidemark.research.kpis import (
    Figure,
    Target,
    bootstrap,
    growth,
    kpis_json,
    max_drawdown,
    measure,
    profit_factor,
    sharpe,
    sortino,
    stationary_draws,
    targets_of,
    wilson,
)
from tidemark.research.summary import build_summary

ALWAYS_OPEN = FixedHours({"AA": [ALWAYS], "BB": [ALWAYS]})
SPECS = (AA,)


class EveryHundredth:
    """A signal source that buys and sells by turns, whatever it sees."""

    def __init__(self) -> None:
        self.slices: list[tuple[int, int]] = []
        self._count = 0

    def on_events(self, events: EventBlock, as_of_ns: int) -> list[tuple[PacedSignal, int]]:
        self.slices.append((int(events.event_ts_ns[-1]), as_of_ns))
        found = []
        for row in range(99, len(events), 100):
            self._count += 1
            ts = int(events.event_ts_ns[row])
            one = PacedSignal(f"n{self._count}", "AA", 1 if self._count % 2 else -1, "UNTIERED", 0.9, 7, 7, 1_000 * MS, ts)
            found.append((one, ts + 150 * MS))
        return found


def test_signals_are_made_slice_by_slice_before_the_engine_sees_the_events() -> None:
    """`as_of_ns` covers every event of its slice, so features of the last step are complete."""
    source, block = EveryHundredth(), random_block(5, 900, ("AA",))
    done = run_backtest([block[:300], block[300:]], SPECS, config(), source=source, hours=ALWAYS_OPEN)
    assert all(last < as_of for last, as_of in source.slices)
    assert sum(done.result.signals.values()) > 5
    assert done.result.trades
    assert done.result.finished is not None


def test_a_backtest_is_the_same_however_the_data_set_is_cut_into_blocks() -> None:
    """Row groups of a file are nobody's business."""
    block = random_block(6, 600, ("AA",))
    signals = random_signals(6, block, 20)
    whole = run_backtest([block], SPECS, config(), signals=signals, hours=ALWAYS_OPEN)
    pieces = run_backtest([block[i : i + 37] for i in range(0, 600, 37)], SPECS, config(), signals=signals, hours=ALWAYS_OPEN)
    assert encode_journal(whole.records) == encode_journal(pieces.records)
    assert whole.digest == pieces.digest


class Made(msgspec.Struct):
    """What the signal path below passes from step to step."""

    rows: Any


def test_the_signal_path_takes_each_symbols_own_events_and_draws_a_latency_per_signal() -> None:
    """Visible one latency after the newest input, but not before the grid step has ended."""
    taken: list[tuple[str, int]] = []

    class Intake:
        def __init__(self, symbol: str) -> None:
            self.symbol = symbol

        def take(self, block: EventBlock, as_of_ns: int) -> Made:
            assert block.symbols == (self.symbol,)
            taken.append((self.symbol, len(block)))
            return Made((self.symbol, as_of_ns))

    class Pipeline:
        def on_rows(self, rows: Any) -> tuple[list[Any], list[Any]]:
            symbol, as_of_ns = rows
            return [f"p{symbol}"], [Named(f"s{symbol}", symbol, T0, as_of_ns)]

    class Named(msgspec.Struct):
        signal_id: str
        symbol: str
        input_ts_ns: int
        created_ts_ns: int

    block = random_block(1, 50)
    path = SignalPath(
        {name: Intake(name) for name in ("AA", "BB")}, Pipeline(), lambda seed, name: seed + (5 if name == "sAA" else 900 * MS), 10
    )
    found = path.on_events(block, T0 + 250 * MS)
    assert [(s.symbol, at - T0) for s, at in found] == [("AA", 250 * MS), ("BB", 900 * MS + 10)]
    assert sum(count for _, count in taken) == 50
    assert path.predictions == ["pAA", "pBB"]
    assert len(of_symbol(block, 1)) == (block.symbol_i == 1).sum()
    assert visible_ns(10, 30, 15) == 30


# --- figures ---------------------------------------------------------------------------------------------------------------------


def test_returns_give_the_textbook_ratios() -> None:
    """Five sessions: mean 0.4 %, sample deviation 1.140 %; downside sqrt((0.01^2 + 0.01^2) / 5)."""
    returns = np.array([0.01, -0.01, 0.02, 0.01, -0.01])
    assert float(sharpe(returns)) == pytest.approx(math.sqrt(252) * 0.004 / 0.0134164, rel=1e-4)
    assert float(sortino(returns)) == pytest.approx(math.sqrt(252) * 0.004 / math.sqrt(0.0002 / 5), rel=1e-9)
    assert float(max_drawdown(np.array([0.1, -0.2, 0.1, -0.1]))) == pytest.approx(1 - 0.8 * 1.1 * 0.9, rel=1e-12)
    assert float(max_drawdown(np.array([-0.05, 0.02]))) == pytest.approx(0.05)
    assert float(growth(2)(np.array([0.1, 0.1]))) == pytest.approx(0.21)
    assert float(profit_factor(np.array([3.0, -1.0, 1.0, -1.0]))) == 2.0


def test_wilsons_interval_is_the_published_one() -> None:
    """8 of 10: 0.490 to 0.943; 10 of 10 is not certainty; 0 of 10 is not impossibility."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_resamples_are_blocks_of_the_series_and_the_seed_fixes_them() -> None:
    """Neighbours stay neighbours about as often as the mean block length says: n^(1/3) = 10 of 1,000."""
    draws = stationary_draws(1_000, 50, np.random.default_rng(1))
    assert draws.min() >= 0
    assert draws.max() < 1_000
    follows = ((draws[:, 1:] - draws[:, :-1]) % 1_000 == 1).mean()
    assert 0.88 < follows < 0.92
    values = np.random.default_rng(2).normal(size=200)
    mean = lambda rows: np.asarray(rows.mean(axis=-1))  # noqa: E731
    low, high = bootstrap(values, mean, 3) or (0.0, 0.0)
    assert bootstrap(values, mean, 3) == (low, high) != bootstrap(values, mean, 4)
    assert low < values.mean() < high
    assert 2.5 < (high - low) / (values.std() / math.sqrt(200)) < 5.5


@pytest.mark.parametrize(
    ("value", "ci95", "target", "verdict"),
    [
        (None, None, Target(1.0), "no data"),
        (2.0, (1.5, 2.5), Target(1.5), "met"),
        (2.0, (1.4, 2.5), Target(1.5), "undecided"),
        (1.0, (0.5, 1.4), Target(1.5), "not met"),
        (0.05, (0.01, 0.08), Target(0.1, is_upper=True), "met"),
        (0.05, (0.01, 0.12), Target(0.1, is_upper=True), "undecided"),
        (0.2, (0.11, 0.3), Target(0.1, is_upper=True), "not met"),
        (2.0, None, Target(1.0), "undecided"),
        (2.0, (1.5, 2.5), None, "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval(
    value: float | None, ci95: tuple[float, float] | None, target: Target | None, verdict: str
) -> None:
    """A figure above its target by luck is not evidence."""
    assert Figure(value, ci95, 50).verdict(target) == verdict


def test_few_sessions_never_meet_a_target_and_no_data_is_null() -> None:
    """Under ten sessions: undecided at best. A run without trades has no win rate, not one of zero."""
    assert Figure(9.0, (8.0, 10.0), 5, may_be_met=False).verdict(Target(2.0)) == "undecided"
    figures = measure(EngineResult.from_journal(play(Tape().book(0, 1000, 1001))), 1)
    entries = kpis_json(figures, targets_of({"win_rate": {"min": 0.65}, "max_drawdown": {"max": 0.1}}))
    for name in ("win_rate", "sharpe", "profit_factor", "tier1_win_rate", "max_drawdown", "total_return", "risk_limit_breaches"):
        assert entries[name]["value"] is None
        assert entries[name]["ci95"] is None
        assert entries[name]["verdict"] == "no data"
    assert entries["win_rate"]["target"] == 0.65
    assert entries["data_quality"]["value"] == 1.0


def journal_of(days_usd: list[float], nets_usd: list[float]) -> list[Any]:
    """A journal with given equities at the start of each day (and the end), and given trades."""
    usd = 10**6
    start = RunStarted(0, "a", "s", "backtest", int(days_usd[0] * usd), "h", (AA.to_manifest(),))
    days = [TradeDay(n, 20240102 + n, int(value * usd)) for n, value in enumerate(days_usd[:-1])]
    trades = [
        TradeClosed(n, "AA", f"s{n}", "TIER1", 1, 1, 0, 0, int(net * usd), 0, int(net * usd), 100 * usd, n, n, "target")
        for n, net in enumerate(nets_usd)
    ]
    end = RunFinished(99, int(days_usd[-1] * usd), int(days_usd[0] * usd), 0)
    return [start, *days, *trades, end]


def test_key_figures_follow_from_days_and_trades() -> None:
    """Two of three trades win 200 each and one loses 100: win rate 2/3, profit factor 4, reward to risk 2, expectancy 1 R."""
    figures = measure(EngineResult.from_journal(journal_of([100_000, 101_000, 100_495, 101_500], [200, -100, 200])), 1)
    assert figures["win_rate"].value == pytest.approx(2 / 3)
    assert figures["profit_factor"].value == 4.0
    assert figures["tier1_reward_risk"].value == 2.0
    assert figures["expectancy_r"].value == 1.0
    returns = [0.01, -0.005, 1_005 / 100_495]
    assert figures["sharpe"].value == pytest.approx(math.sqrt(252) * np.mean(returns) / np.std(returns, ddof=1))
    assert figures["annual_return"].value is None, "three sessions say nothing about a year"
    assert figures["sharpe"].n == 3


def test_a_result_whose_cash_does_not_follow_from_its_fills_is_refused() -> None:
    """The journal is the only source, so it must agree with itself."""
    records = journal_of([1_000, 1_000], [])
    records[-1] = msgspec.structs.replace(records[-1], cash_micros=5)
    with pytest.raises(DecodeError, match="does not follow"):
        EngineResult.from_journal(records)
    with pytest.raises(DecodeError, match="no run begins"):
        EngineResult.from_journal(records[1:])


def test_the_summary_has_every_key_and_is_the_same_for_the_same_run() -> None:
    """Machine-readable, and comparable between two runs by equality."""
    tape = Tape()
    for n in range(60):
        tape.book(n * 20, 1000 + n // 10, 1001 + n // 10)
    records = play(tape, signal("s", 1, 0), delay_ms=5)
    made = [
        build_summary(EngineResult.from_journal(records), stage="backtest", mode="backtest", seed=3, data={"hash": "h"}) for _ in range(2)
    ]
    assert json.dumps(made[0], sort_keys=True) == json.dumps(made[1], sort_keys=True)
    summary = made[0]
    assert {"schema", "stage", "mode", "seed", "data", "symbols", "signals", "orders", "refusals", "fills", "position_qty"} <= set(summary)
    assert {"pnl_micros", "costs_micros", "latency_ns", "kpis", "findings"} <= set(summary)
    assert summary["data"] == {"hash": "h", "events": 60, "trades": 0, "quarantined": {}}
    assert summary["symbols"] == {"AA": {"events": 60, "quality_ppm": 1_000_000}}
    assert summary["signals"] == {"TIER1": 0, "TIER2": 0, "TIER3": 0, "UNTIERED": 1}
    assert summary["position_qty"] == {"AA": 0}
    assert summary["pnl_micros"] == of(records, TradeClosed)[0].net_micros
    for kpi in summary["kpis"].values():
        assert set(kpi) == {"value", "ci95", "n", "target", "verdict"}


# --- the command -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty thousand events of a walking ES."""
    out = tmp_path_factory.mktemp("data") / "walk"
    block = walk_block(20_000, 4, step_ns=20 * MS)
    session_ns = 1_710_417_600 * 10**9 - int(block.event_ts_ns[0])  # Thursday 14 March 2024, 12:00 UTC: Globex is open
    block.event_ts_ns[:] += session_ns
    block.recv_ts_ns[:] += session_ns
    write_dataset(out, {"ES": lookup("ES")}, [block], source="test", licence="none")
    return out


def backtest(data_set: Path, out: Path, *options: str) -> int:
    return run_command(["backtest", str(data_set), "--out", str(out), "--strategy", "every-n", "--every", "500", *options])


def test_the_command_writes_a_run_that_can_be_repeated_to_the_byte(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same data, settings and seed: the same summary and the same journal."""
    assert backtest(data_set, tmp_path / "a", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert backtest(data_set, tmp_path / "b") == 0
    for name in ("summary.json", "journal.bin", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary == printed
    assert summary["fills"] > 20
    assert summary["data"]["events"] == 20_000
    used = json.loads((tmp_path / "a" / "config.json").read_text())
    assert used["engine"]["pace"]["events"] == 500
    assert used["data_hash"] == summary["data"]["hash"]
    trades = read_table(tmp_path / "a" / "trades.parquet")
    assert int(trades["net_micros"].sum()) == summary["pnl_micros"]
    assert len(read_table(tmp_path / "a" / "equity.parquet")["equity_micros"]) > 20
    assert EngineResult.from_journal(read_run_journal(tmp_path / "a")).final_equity_micros == 10**11 + summary["pnl_micros"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--config", "missing.json"), "--config"),
        (("--config", "{typo}"), "cash_microns"),
        (("--every", "0"), "every"),
        (("--speed", "2"), "speed"),
        (("--strategy", "luck"), "strategy"),
    ],
)
def test_bad_usage_ends_with_2_one_line_and_no_output(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], named: str
) -> None:
    """The field is named; nothing is half written."""
    typo = tmp_path / "typo.json"
    typo.write_text('{"cash_microns": 5}')
    name, value = options
    assert backtest(data_set, tmp_path / "run", name, value.replace("{typo}", str(typo))) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert named in error
    assert not (tmp_path / "run").exists()


def test_signals_need_a_model_and_a_taken_folder_is_not_overwritten(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No model, no signals, no silent empty run; results are never mixed with what is there."""
    assert run_command(["backtest", str(data_set), "--out", str(tmp_path / "x")]) == 2
    assert "--model" in capsys.readouterr().err
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    assert backtest(data_set, tmp_path / "taken") == 2


def test_a_run_folder_without_a_sound_journal_is_refused(tmp_path: Path) -> None:
    """One changed byte is one too many."""
    records = play(Tape().book(0, 1000, 1001))
    result = EngineResult.from_journal(records)
    write_run_folder(tmp_path / "run", summary={}, config={}, records=records, result=result)
    path = tmp_path / "run" / "journal.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(InputError, match="journal"):
        read_run_journal(tmp_path / "run")
    with pytest.raises(InputError, match="journal"):
        read_run_journal(tmp_path / "nowhere")


def test_a_folder_without_a_checkout_has_no_revision(tmp_path: Path) -> None:
    """Null, not a guess."""
    assert git_revision(tmp_path) is None


def test_the_benchmark_orders_as_often_as_it_says() -> None:
    """One order per 1,000 events, both ways of entering, and figures for each."""
    figures = bench_engine(20_000, 1)
    assert figures["order_per_1000_ioc"]["orders"] == 20
    assert figures["order_per_1000_ioc"]["fills"] >= 15
    assert figures["idle"]["orders"] == 0
    assert all(figures[name]["events_per_s"] > 0 for name in ("idle", "order_per_1000_ioc", "order_per_1000_passive"))


def test_a_strategy_that_knows_nothing_loses_its_costs_on_a_real_market(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Forty minutes of ES on Christmas night 2023, with its crossed books before the open. If buying and selling by the clock
    earned money here, the venue would be giving some away.
    """
    source = require_real_data("l2/dbn/esh4-glbx-mdp3-20231225-first-part.mbo.dbn.zst")
    assert run_command(["data", "import", "databento", str(source), "--symbol", "ES", "--out", str(tmp_path / "es")]) == 0
    options = ["--strategy", "every-n", "--every", "200", "--out", str(tmp_path / "run"), "--json"]
    capsys.readouterr()
    assert run_command(["backtest", str(tmp_path / "es"), *options]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["fills"] > 50
    assert summary["data"]["quarantined"] == {"CROSSED": 143}
    assert "DATA_QUALITY" not in summary["refusals"]
    trades = read_table(tmp_path / "run" / "trades.parquet")
    tick_micros, fee_micros = lookup("ES").tick_value_micros, lookup("ES").fee_micros
    per_contract = -int(trades["net_micros"].sum()) / int(trades["qty"].sum())
    assert 2 * fee_micros < per_contract < 2 * fee_micros + 5 * tick_micros, "fees, and a spread of one to a few ticks"
    assert summary["position_qty"] == {"ES": 0}
