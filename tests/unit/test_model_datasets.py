"""Windows and splits: nothing from later in anything earlier."""

from dataclasses import replace

import numpy as np
import pytest

from model_worlds import FAST, world
from tidemark.errors import InputError
from tidemark.features.catalogue import COLUMN, COUNT
from tidemark.features.rows import FeatureRows
from tidemark.models.baselines import BaselineData, fit_baselines, lag_summaries, persistence
from tidemark.models.brackets import BracketRule
from tidemark.models.config import LabelConfig
from tidemark.models.datasets import SymbolSession, build_windows, split_at, split_windows
from tidemark.models.inputs import INPUT_NAMES, input_columns
from tidemark.models.labels import Quotes
from tidemark.models.mirror import mirror
from tidemark.models.scaler import fit_scaler
from tidemark.models.trend import scaled_inputs
from tidemark.units import NS_PER_S

STEP_NS = NS_PER_S // 4


def session(name: str, symbol: str, rows: int, start_s: int, *, hole_after: int | None = None) -> SymbolSession:
    """A session of random rows and a random walk of quotes; after row `hole_after` two minutes of silence."""
    rng = np.random.default_rng(start_s + rows)
    grid = start_s * NS_PER_S + STEP_NS * np.arange(1, rows + 1)
    if hole_after is not None:
        grid[hole_after + 1 :] += 120 * NS_PER_S
    values = rng.standard_normal((rows, COUNT)).astype(np.float32)
    values[:, COLUMN["rv_10s"]] = 10.0
    values[:, COLUMN["spread"]] = 1.0
    feature_rows = FeatureRows(symbol, grid, grid - 1, grid, np.arange(1, rows + 1), values)
    bid = 1_000 + np.cumsum(rng.integers(-2, 3, rows))
    return SymbolSession(name, feature_rows, Quotes(grid - 1, bid, bid + 1), 0.25)


LABELS = LabelConfig(horizons=(NS_PER_S, 3 * NS_PER_S), primary_i=0, latency_ns=STEP_NS)
BRACKET = BracketRule(horizon_ns=5 * NS_PER_S)


def days(count: int, rows: int = 200) -> list[SymbolSession]:
    return [session(f"2026-01-{i + 5:02d}", s, rows, 86_400 * (i + 1), hole_after=60) for i in range(count) for s in ("ES", "NQ")]


def test_windows_stay_inside_a_symbol_a_session_and_a_stretch_without_silence():
    """A window that reaches over a border mixes two markets."""
    windows = build_windows(days(3), LABELS, BRACKET, 16)
    ready = np.flatnonzero(windows.full)
    assert len(ready) == 3 * 2 * (200 - 2 * 15)
    for i in ready:
        span = slice(i - 15, i + 1)
        assert len(set(windows.symbol_i[span])) == len(set(windows.session_i[span])) == 1
        assert np.diff(windows.decision_ns[span]).max() == STEP_NS


def test_a_window_is_its_48_columns_by_name():
    """Columns are chosen by name: a reordered catalogue must not change what the model sees."""
    one = session("2026-01-05", "ES", 60, 86_400)
    windows = build_windows([one], LABELS, BRACKET, 16)
    got = windows.windows(np.array([30]))[0]
    for j, name in enumerate(INPUT_NAMES):
        assert np.array_equal(got[:, j], one.rows.column(name)[15:31])
    assert len(set(input_columns().tolist())) == 48


def test_splits_are_ordered_and_purged():
    """Every training label has ended before validation begins, every validation label before the test."""
    windows = build_windows(days(8), LABELS, BRACKET, 16)
    split = split_windows(windows)
    assert split.by == "session"
    end = windows.end_ns.max(axis=0)
    assert end[split.train].max() < split.valid_start_ns <= windows.decision_ns[split.valid].min()
    assert end[split.valid].max() < split.test_start_ns <= windows.decision_ns[split.test].min()
    sessions = [set(windows.session_i[part].tolist()) for part in (split.train, split.valid, split.test)]
    assert sessions[0] | sessions[1] | sessions[2] == set(range(8))
    assert not (sessions[0] & sessions[1])
    assert not (sessions[1] & sessions[2])


def test_one_day_is_cut_by_time_and_says_so():
    """The earlier 60 % trains and validates, the later 40 % tests; labels that cross a cut are dropped."""
    windows = build_windows([session("2012-06-21", "GOOG", 2_000, 86_400)], LABELS, BRACKET, 16)
    split = split_windows(windows)
    assert split.by == "time"
    share = (split.test_start_ns - windows.decision_ns[0]) / (windows.decision_ns[-1] - windows.decision_ns[0])
    assert share == pytest.approx(0.6, abs=0.01)
    assert windows.end_ns.max(axis=0)[split.valid].max() < split.test_start_ns
    crossing = (windows.decision_ns < split.test_start_ns) & (windows.end_ns.max(axis=0) >= split.test_start_ns)
    assert crossing.any()
    assert not np.isin(np.flatnonzero(crossing), np.concatenate([split.train, split.valid, split.test])).any()


def test_too_little_data_is_an_input_error():
    """An empty part would train on nothing or test on nothing."""
    windows = build_windows([session("2026-01-05", "ES", 30, 86_400)], LABELS, BRACKET, 16)
    with pytest.raises(InputError, match="no rows"):
        split_windows(windows)
    with pytest.raises(InputError, match="no rows"):
        split_at(build_windows(days(3), LABELS, BRACKET, 16), 0, 1)
    with pytest.raises(InputError, match="rows"):
        build_windows([], LABELS, BRACKET, 16)


def test_the_future_of_a_row_does_not_change_it():
    """Truncation: inputs, variance and bracket distances from half of the day equal those from all of it, bit for bit."""
    whole = session("2026-01-05", "ES", 400, 86_400)
    half = replace(
        whole,
        rows=whole.rows[:200],
        quotes=Quotes(whole.quotes.ts_ns[:200], whole.quotes.bid_ticks[:200], whole.quotes.ask_ticks[:200]),
    )
    full, cut = (build_windows([part], LABELS, BRACKET, 16) for part in (whole, half))
    for name in ("x", "variance", "stop_ticks", "target_ticks", "first_row", "decision_ns"):
        assert np.array_equal(getattr(full, name)[:200], getattr(cut, name))
    known = cut.valid[0]
    assert np.array_equal(full.y[0, :200][known], cut.y[0][known])
    assert not known[-5:].any()


def test_scaling_commutes_with_the_mirror_and_is_bounded():
    """A mirrored book scaled is the scaled book mirrored, bit for bit; jumps are clipped."""
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((500, 48)) * np.geomspace(0.01, 1e4, 48)).astype(np.float32)
    rows[:, INPUT_NAMES.index("lob_ask_px_0")] = 0.5
    rows[:, INPUT_NAMES.index("lob_bid_px_0")] = 0.5
    order, sign = mirror(INPUT_NAMES)
    scaler = fit_scaler({"ES": rows}, order, sign)
    fresh = rows[:50] * 3
    straight = scaler.transform(fresh, 0)[:, order] * sign
    assert np.array_equal(straight, scaler.transform(fresh[:, order] * sign, 0))
    assert np.abs(scaler.transform(fresh * 1e6, 0)).max() == 8.0
    z = scaler.transform(rows, 0)
    spread = np.median(np.abs(z), axis=0)
    assert spread[INPUT_NAMES.index("spread")] == pytest.approx(0.674, abs=0.1)
    assert spread[INPUT_NAMES.index("lob_ask_px_0")] == 0.0


def test_scaling_statistics_come_from_training_rows_only():
    """The test part must not be visible in anything that was fitted."""
    from tidemark.models.training import _fit_scaler  # the one private name: there is no other way to see what it used

    windows = world(edge=0.0, sessions=4, rows=100)
    parts = split_windows(windows)
    before = _fit_scaler(windows, parts.train)
    windows.x[parts.test] = 1e6
    windows.x[parts.valid] = -1e6
    assert np.array_equal(before.scale, _fit_scaler(windows, parts.train).scale)


def test_lag_summaries_are_plain_means_of_the_past():
    """B3's inputs: the newest row, then means over 4, 16 and all rows of the window."""
    windows = world(edge=0.0, sessions=4, rows=100, config=replace(FAST, net=replace(FAST.net, window_rows=20)))
    data = BaselineData(windows.x, windows, split_windows(windows), 0)
    rows = np.array([30, 57])
    got = lag_summaries(data, rows)
    for k, i in enumerate(rows):
        expected = [windows.x[i], *(windows.x[i - span + 1 : i + 1].mean(axis=0) for span in (4, 16, 20))]
        assert np.allclose(got[k], np.concatenate(expected), atol=1e-4)


def test_persistence_sees_only_labels_that_had_ended():
    """B1 may use what a trader at that moment would know."""
    windows = world(edge=0.0, sessions=4, rows=200)
    late = replace(windows, end_ns=windows.decision_ns[None] + 10 * STEP_NS)
    data = BaselineData(windows.x, late, split_windows(late), 0)
    forecast = persistence(data)
    before = forecast(data.split.test)
    flipped = late.y.copy()
    i = data.split.test[50]
    flipped[:, i - 9 : i + 1] = 2 - flipped[:, i - 9 : i + 1]  # labels of the last nine rows have not ended at row i
    after = persistence(BaselineData(windows.x, replace(late, y=flipped), data.split, 0))(data.split.test)
    assert np.array_equal(before[50], after[50])


def test_baselines_find_a_strong_edge_and_give_distributions():
    """A baseline that is broken would make any model look good."""
    windows = world(edge=1.5, sessions=6, rows=300)
    data = BaselineData(scaled_inputs(windows, fit_scaler({"ES": windows.x}, *mirror(INPUT_NAMES))), windows, split_windows(windows), 0)
    y = data.y[data.split.test]
    losses = {}
    for name, forecast in fit_baselines(data, 0).items():
        p = forecast(data.split.test)
        assert p.shape == (len(y), 3)
        assert np.allclose(p.sum(axis=1), 1.0)
        losses[name] = -np.log(p[np.arange(len(y)), y]).mean()
    assert losses["B3 boosting"] < losses["B0 climatology"] - 0.2
    assert losses["B2 logistic"] < losses["B0 climatology"] - 0.02
