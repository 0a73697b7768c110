"""What travels: round trips, and refusals before a number is used."""

import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.errors import DecodeError
from tidemark.signals.messages import (
    BATCH_BYTES_MAX,
    FeatureBatch,
    Prediction,
    Signal,
    SignalBatch,
    Tier,
    batch_values,
    decode_features,
    decode_signal,
    decode_signals,
    encode_features,
    encode_signal,
    encode_signals,
)
from tidemark.units import INT64_MAX, Side

time_ns = st.integers(0, INT64_MAX)
name = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
signals = st.builds(
    Signal, signal_id=name, symbol=st.just("ES"), side=st.sampled_from(Side), tier=st.sampled_from(Tier), p_win=st.floats(0, 1),
    expectancy_micros=st.integers(-(2**53), 2**53), stop_ticks=st.integers(1, 10**6), target_ticks=st.integers(1, 10**6),
    horizon_ns=st.integers(1, INT64_MAX), input_ts_ns=time_ns, created_ts_ns=time_ns, model=name, model_version=name,
    mid2=st.integers(-(2**40), 2**40), evidence_id=st.none() | name,
)  # fmt: skip
SIGNAL = Signal("ES-1-ab", "ES", Side.BUY, Tier.UNTIERED, 0.5, 10, 4, 6, 10, 1, 2, "lob", "v", 3)
BATCH = SignalBatch("ES", 7, [SIGNAL], 9)


def features(rows: int, columns: int = 3) -> FeatureBatch:
    values = np.arange(rows * columns, dtype=np.float32).tobytes()
    column = list(range(rows))
    return FeatureBatch("ES", 100, "abcdef01", column, column, column, column, values, rows, 101)


@given(st.lists(signals, max_size=4), time_ns, time_ns)
def test_signals_come_back_as_they_were(some: list[Signal], as_of_ns: int, sent_ts_ns: int):
    """JSON keeps every integer and every digit of a chance."""
    batch = SignalBatch("ES", as_of_ns, some, sent_ts_ns)
    assert decode_signals(encode_signals(batch)) == batch
    assert [decode_signal(encode_signal(one)) for one in some] == some


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_feature_batches_come_back_as_they_were(rows: int):
    """Also the empty one: it is the watermark of a quiet symbol."""
    batch = features(rows)
    assert decode_features(encode_features(batch)) == batch
    assert batch_values(batch, 3).tolist() == np.arange(rows * 3, dtype=float).reshape(rows, 3).tolist()


def damaged(**change: object) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(SIGNAL), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"side": 2}, {"side": 0}, {"side": "buy"}, {"tier": "TIER9"}, {"p_win": 1.01}, {"p_win": -0.1}, {"p_win": "0.5"}, {"p_win": None},
        {"stop_ticks": 0}, {"stop_ticks": 1.5}, {"target_ticks": -4}, {"horizon_ns": 0}, {"input_ts_ns": -1}, {"input_ts_ns": 2**63},
        {"signal_id": ""}, {"symbol": "x" * 33}, {"mid2": True}, {"expectancy_micros": 1.5}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_signal_that_cannot_be_one_is_refused(change: dict[str, object]):
    """Each would otherwise become an order: a side that is neither, a stop of nothing, a chance above one."""
    with pytest.raises(DecodeError):
        decode_signal(damaged(**change))


def test_nan_and_foreign_symbols_are_refused():
    """A NaN passes every comparison; a signal in another symbol's batch has the wrong watermark."""
    with pytest.raises(DecodeError):
        decode_signal(encode_signal(SIGNAL).replace(b"0.5", b"NaN"))
    with pytest.raises(DecodeError, match="SYMBOL"):
        decode_signals(encode_signals(BATCH).replace(b'{"symbol":"ES"', b'{"symbol":"NQ"', 1))


def test_feature_columns_must_agree():
    """Row counts, widths and finiteness are checked before a value is read."""
    good = features(3)
    for change in ({"rows": 4}, {"rows": 2}, {"seq": [1, 2]}, {"values": b"\0" * 35}, {"values": b""}):
        with pytest.raises(DecodeError, match="LENGTH"):
            decode_features(encode_features(msgspec.structs.replace(good, **change)))
    with pytest.raises(DecodeError, match="SCHEMA"):
        batch_values(good, 4)
    nan = np.full(9, np.nan, np.float32).tobytes()
    with pytest.raises(DecodeError, match="NAN"):
        batch_values(msgspec.structs.replace(good, values=nan), 3)
    with pytest.raises(DecodeError):
        decode_features(encode_features(msgspec.structs.replace(good, rows=10**6)))


def test_what_cannot_fit_a_stream_record_is_refused_unread():
    """A Kinesis record holds a megabyte."""
    for decode in (decode_signals, decode_features, decode_signal):
        with pytest.raises(DecodeError, match="OVERSIZE"):
            decode(b" " * (BATCH_BYTES_MAX + 1))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from([0, 1]))
def test_noise_raises_nothing_but_a_decode_error(noise: bytes, at: int, form: int):
    """One poison record must be one quarantined record."""
    good, decode = ((encode_signals(BATCH), decode_signals), (encode_features(features(2)), decode_features))[form]
    for data in (noise, good[: at % len(good)] + noise + good[at % len(good) + len(noise) :]):
        with contextlib.suppress(DecodeError):
            decode(data)


@pytest.mark.parametrize(
    ("p", "direction", "confidence"),
    [
        ((0.2, 0.3, 0.5), 1, 0.5),
        ((0.5, 0.3, 0.2), -1, 0.5),
        ((0.2, 0.6, 0.2), 0, 0.6),
        ((0.4, 0.2, 0.4), 0, 0.2),
        ((0.4, 0.4, 0.2), 0, 0.4),
    ],
)
def test_a_predictions_direction_is_its_most_probable_class(p: tuple[float, float, float], direction: int, confidence: float):
    """A tie is no direction."""
    one = Prediction("ES", "lob", "v", 1, 1, 2, 3, *p, 0.4, 0.4, 0.0)
    assert (one.direction, one.confidence) == (direction, confidence)
