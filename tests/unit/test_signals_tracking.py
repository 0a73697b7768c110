"""What became of predictions: judged once, on what they were about, and never early."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.errors import DecodeError
from tidemark.signals.messages import Prediction
from tidemark.signals.tracking import PENDING_MAX, Matured, MaturityTracker

HORIZON = 100


def prediction(seq: int, at: int, up: float = 0.6, latency: int = 10) -> Prediction:
    """Made at `at`, about the mean mid of the HORIZON that starts one latency later."""
    return Prediction("ES", "lob", "v1", seq, at, at + latency + HORIZON, 200, 1 - up - 0.1, 0.1, up, 0.5, 0.5, 0.0)


def tracker() -> MaturityTracker:
    return MaturityTracker(HORIZON, {"ES": 1.0})


def test_a_prediction_is_held_against_the_mean_mid_of_its_horizon():
    """Base 200 at 20; 204 from 70 on: the mean over 20 to 120 is 202, one tick up: not beyond the threshold, so flat came."""
    target = tracker()
    assert target.update("ES", [0, 70, 119], [200, 204, 204], [prediction(1, 10)]) == []
    (matured,) = target.update("ES", [125], [300], [])
    assert matured == Matured("ES", "lob", 1, 202.0, 0.0)
    steeper = tracker()
    steeper.update("ES", [0, 70], [200, 206], [prediction(1, 10)])
    assert steeper.update("ES", [125], [300], []) == [Matured("ES", "lob", 1, 203.0, 1.0)]


def test_nothing_is_judged_before_an_event_after_its_time():
    """At the target itself the market may still move; silence is not an outcome."""
    target = tracker()
    target.update("ES", [0], [200], [prediction(1, 10)])
    assert target.update("ES", [120], [210], []) == []
    assert len(target.update("ES", [121], [210], [])) == 1
    assert target.update("ES", [500], [210], []) == []


def test_symbols_do_not_see_each_others_prices():
    """A prediction waits for its own market."""
    target = tracker()
    target.update("ES", [0], [200], [prediction(1, 10)])
    assert target.update("NQ", [0, 900], [1, 2], []) == []
    assert len(target.update("ES", [900], [200], [])) == 1


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(150, 250)), min_size=3, max_size=40),
    st.lists(st.integers(0, 39), max_size=5),
    st.data(),
)
def test_cuts_repeats_and_restarts_change_no_outcome(steps: list[tuple[int, int]], cuts: list[int], data: st.DataObject):
    """Whatever the batches, each prediction is judged once, with the figure of a slow reckoning."""
    ts = np.cumsum([gap for gap, _ in steps]).tolist()
    mids = [mid for _, mid in steps]
    made = [prediction(i, t) for i, t in enumerate(ts)]
    got: list[Matured] = []
    target = tracker()
    borders = sorted({0, len(ts), *(min(cut, len(ts)) for cut in cuts)})
    for first, last in zip(borders, borders[1:], strict=False):
        back = data.draw(st.integers(0, first))
        if data.draw(st.booleans()):
            target = MaturityTracker.from_bytes(target.to_bytes(), HORIZON, {"ES": 1.0})
        got += target.update("ES", ts[first - back : last], mids[first - back : last], made[first:last])

    def mid_at(t: int) -> int:
        return mids[max(i for i, at in enumerate(ts) if at <= t)]

    expected = []
    for one in made:
        if one.target_ts_ns < ts[-1]:
            base = one.target_ts_ns - HORIZON
            mean2 = float(np.mean([mid_at(t) for t in range(base, base + HORIZON)]))
            move = (mean2 - mid_at(base)) / 2
            came = 1 if move > 1 else -1 if move < -1 else 0
            expected.append((one.seq, mean2, float(came == one.direction)))
    assert [(one.seq, pytest.approx(one.actual_mid2), one.accuracy_score) for one in got] == expected


def test_a_prediction_from_before_the_first_price_is_dropped():
    """Without a base there is nothing to compare with; no figure is invented."""
    target = tracker()
    assert target.update("ES", [500, 900], [200, 200], [prediction(1, 10)]) == []


def test_waiting_predictions_are_bounded_and_losses_counted():
    """A market that went silent must not fill the memory."""
    target = tracker()
    target.update("ES", [0], [200], [prediction(i, 10) for i in range(PENDING_MAX + 5)])
    assert target.dropped == 5


def test_weeks_of_silence_fit_the_checkpoint():
    """Days of nanoseconds times a price do not fit 64 bits; nothing of the kind may be stored."""
    target = tracker()
    for hour in range(0, 24 * 30, 6):
        target.update("ES", [hour * 3_600 * 10**9], [2_000_000], [])
        target = MaturityTracker.from_bytes(target.to_bytes(), HORIZON, {"ES": 1.0})


def test_a_damaged_state_is_refused():
    """Better to lose what was waiting than to judge with half of it."""
    data = tracker().to_bytes()
    for bad in (b"", data[:-1], b"\xc1"):
        with pytest.raises(DecodeError):
            MaturityTracker.from_bytes(bad, HORIZON, {})
