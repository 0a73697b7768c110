"""Rows in, predictions and signals out, the same however the rows arrive."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_worlds import DESCRIPTION, STEP_NS, WINDOW, KnownPredictor, feature_rows
from tidemark.errors import DecodeError, InputError, UnavailableError
from tidemark.features.rows import FeatureRows, concat_rows
from tidemark.instruments import INSTRUMENTS
from tidemark.signals.messages import Prediction, Signal, Tier
from tidemark.signals.pipeline import SignalConfig, SignalPipeline, signal_id
from tidemark.units import NS_PER_S, Side

SOURCE = Path(__file__).resolve().parents[2] / "src"


def pipeline(predictor: KnownPredictor | None = None, config: SignalConfig | None = None) -> SignalPipeline:
    return SignalPipeline(predictor or KnownPredictor(), INSTRUMENTS, config)


def run(target: SignalPipeline, parts: list[FeatureRows]) -> tuple[list[Prediction], list[Signal]]:
    predictions, signals = [], []
    for part in parts:
        more_predictions, more_signals = target.on_rows(part)
        predictions += more_predictions
        signals += more_signals
    return predictions, signals


def test_nothing_is_predicted_before_the_window_is_full():
    """Half a window is another input than the model was trained on."""
    target = pipeline()
    predictions, _ = target.on_rows(feature_rows([0.0] * 6))
    assert [one.seq for one in predictions] == [12, 15, 18]
    assert target.refusals == {"WARMUP": WINDOW - 1}


def test_a_good_chance_becomes_a_bracket_with_its_reasons():
    """Side, distances, money and times all follow from the row; nothing from a clock."""
    predictions, signals = pipeline().on_rows(feature_rows([0, 0, 0, 0.8]))
    (signal,) = signals
    assert (signal.side, signal.p_win, signal.stop_ticks, signal.target_ticks) == (Side.BUY, pytest.approx(0.8), 4, 6)
    fees_micros = 2 * INSTRUMENTS["ES"].fee_micros
    assert signal.expectancy_micros == pytest.approx((0.8 * 6 - 0.2 * 4 - 0.5) * 12_500_000 - fees_micros, abs=500)
    assert signal.input_ts_ns == predictions[-1].input_ts_ns == 4 * STEP_NS - 10_000_000
    assert signal.created_ts_ns == 4 * STEP_NS
    assert (signal.tier, signal.evidence_id, signal.mid2) == (Tier.UNTIERED, None, 10_001)
    assert signal.signal_id == signal_id("ES", 12, "v1")
    assert predictions[-1].target_ts_ns == 4 * STEP_NS + DESCRIPTION.latency_ns + DESCRIPTION.horizon_ns


def test_the_other_side_is_as_good():
    """A chance to win short sells."""
    _, signals = pipeline().on_rows(feature_rows([0, 0, 0, -0.8]))
    assert [one.side for one in signals] == [Side.SELL]


def test_one_candidate_per_symbol_lives_at_a_time():
    """After a signal its symbol is quiet for the bracket's life; another symbol is not."""
    target = pipeline()
    _, signals = target.on_rows(feature_rows([0.8] * 40))
    gaps = np.diff([one.input_ts_ns for one in signals])
    assert len(signals) == 2
    assert (gaps >= DESCRIPTION.bracket.horizon_ns).all()
    _, other = target.on_rows(feature_rows([0.8] * 4, symbol="NQ"))
    assert len(other) == 1
    _, all_of_them = pipeline(config=SignalConfig(cooldown_ns=0)).on_rows(feature_rows([0.8] * 40))
    assert len(all_of_them) == 40 - WINDOW + 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=6), st.data())
def test_however_rows_are_cut_repeated_or_interrupted_the_outcome_is_the_same(ofi: list[float], cuts: list[int], data: st.DataObject):
    """Batches, redeliveries and restarts from a checkpoint are the transport's business; decisions must not see them."""
    rows = feature_rows(ofi)
    expected = run(pipeline(), [rows])
    target, got = pipeline(), ([], [])
    borders = sorted({0, len(ofi), *(min(cut, len(ofi)) for cut in cuts)})
    for first, last in zip(borders, borders[1:], strict=False):
        back = data.draw(st.integers(0, first))
        if data.draw(st.booleans()):
            saved, target = target.to_bytes("ES"), pipeline()
            target.from_bytes("ES", saved)
        predictions, signals = target.on_rows(rows[first - back : last])
        got[0].extend(predictions)
        got[1].extend(signals)
    assert got == expected
    straight = pipeline()
    straight.on_rows(rows)
    assert target.to_bytes("ES") == straight.to_bytes("ES")


def test_more_rows_than_a_request_may_hold_are_asked_in_several():
    """A catch-up after an outage is long; an endpoint takes 64 at a time."""
    predictor = KnownPredictor()
    predictions, _ = pipeline(predictor).on_rows(feature_rows([0.0] * 150))
    assert len(predictions) == 147
    assert predictor.asked == [64, 64, 19]


def test_a_predictor_that_is_down_leaves_the_state_as_it_was():
    """The batch comes again; it must then find what it would have found."""
    predictor = KnownPredictor()
    target = pipeline(predictor)
    target.on_rows(feature_rows([0.0] * 5))
    before = target.to_bytes("ES")
    predictor.down = True
    with pytest.raises(UnavailableError):
        target.on_rows(feature_rows([0.8] * 3, first=6))
    assert target.to_bytes("ES") == before
    predictor.down = False
    assert len(target.on_rows(feature_rows([0.8] * 3, first=6))[0]) == 3


def test_a_silence_empties_the_window():
    """A window over a halt would mix before and after."""
    target = pipeline()
    late = feature_rows([0.0] * 6, first=1_000)
    predictions, _ = target.on_rows(concat_rows([feature_rows([0.0] * 6), late]))
    assert [one.seq for one in predictions] == [12, 15, 18, 3_009, 3_012, 3_015]
    split = pipeline()
    assert run(split, [feature_rows([0.0] * 6), late[:2], late[2:]])[0] == predictions


def test_a_refused_window_is_no_prediction_and_is_counted():
    """No answer means no signal; it is never filled in."""
    target = pipeline()
    predictions, signals = target.on_rows(feature_rows([0, 0, 0, 99.0, 0.0]))
    assert [one.seq for one in predictions] == [15]
    assert signals == []
    assert target.refusals == {"WARMUP": 3, "OOD": 1}


def test_unknown_symbols_are_refused_and_counted():
    """A model answers only for what it was trained on."""
    target = pipeline()
    assert target.on_rows(feature_rows([0.8] * 9, symbol="ZN")) == ([], [])
    assert target.refusals == {"SYMBOL": 9}


def test_a_model_of_other_features_is_refused_at_start():
    """The same names computed another way are another input."""
    other = KnownPredictor(replace(DESCRIPTION, catalogue="0" * 64))
    with pytest.raises(InputError, match="train it anew"):
        pipeline(other)


def test_a_checkpoint_of_another_model_is_refused():
    """A window of another shape, or half a file, must not be read as this one's."""
    saved = pipeline().to_bytes("ES")
    for schema in ("lob-other",):
        with pytest.raises(DecodeError, match="SCHEMA"):
            pipeline(KnownPredictor(replace(DESCRIPTION, schema=schema))).from_bytes("ES", saved)
    for bad in (b"", saved[:-5], b"\x00" * 20):
        with pytest.raises(DecodeError):
            pipeline().from_bytes("ES", bad)


def test_signal_ids_tell_symbols_rows_and_versions_apart():
    """An id is an order's ancestry: two decisions never share one, a repeated decision always does."""
    ids = {signal_id(symbol, seq, version) for symbol in ("ES", "NQ") for seq in range(200) for version in ("v1", "v2")}
    assert len(ids) == 800
    assert signal_id("ES", 5, "v1") == signal_id("ES", 5, "v1")


def test_the_signal_path_imports_nothing_that_a_function_cannot_carry():
    """A zip Lambda holds 250 MB and starts in a second: no torch, scikit-learn, scipy, pandas, pyarrow or numba behind these imports."""
    program = (
        "import sys, tidemark.signals.pipeline, tidemark.signals.tracking, tidemark.signals.tiers, tidemark.signals.latency\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'pandas', 'pyarrow', 'numba', 'threadpoolctl'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "TIDEMARK_JIT": "off", "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_cooldown_counts_from_the_signals_input():
    """Event time, so that a replay at any speed is quiet for the same rows."""
    config = SignalConfig(cooldown_ns=2 * NS_PER_S)
    _, signals = pipeline(config=config).on_rows(feature_rows([0.8] * 30))
    assert {int(gap) for gap in np.diff([one.input_ts_ns for one in signals])} == {2 * NS_PER_S}
