"""The codecs of market events: exact both ways, and nothing damaged gets through."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.errors import DecodeError
from tidemark.events import (
    EVENTS_PER_BLOCK_MAX,
    LEVELS,
    Depth,
    Event,
    Trade,
    block_of,
    concat,
    decode_block,
    decode_json,
    empty_block,
    encode_block,
    encode_json,
    events_of,
)
from tidemark.units import INT64_MAX, INT64_MIN

SYMBOLS = ("ES", "NQ")
INT64 = st.integers(INT64_MIN, INT64_MAX)
INT32 = st.integers(-(2**31), 2**31 - 1)
PRICES, SIZES = st.lists(INT64, min_size=LEVELS, max_size=LEVELS).map(tuple), st.lists(INT32, min_size=LEVELS, max_size=LEVELS).map(tuple)
DEPTHS = st.builds(Depth, st.sampled_from(SYMBOLS), INT64, INT64, INT64, PRICES, SIZES, PRICES, SIZES)
TRADES = st.builds(Trade, st.sampled_from(SYMBOLS), INT64, INT64, INT64, INT64, INT32, st.sampled_from((-1, 0, 1)))
EVENTS = st.lists(st.one_of(DEPTHS, TRADES), max_size=8)


@given(events=EVENTS, as_of_ns=INT64)
def test_a_block_survives_the_binary_codec(events: list[Event], as_of_ns: int) -> None:
    """Integers of the whole int64 range come back as they were, in their order."""
    decoded, decoded_as_of_ns = decode_block(encode_block(block_of(events, SYMBOLS), as_of_ns))
    assert events_of(decoded) == events
    assert decoded_as_of_ns == as_of_ns


@given(event=st.one_of(DEPTHS, TRADES))
def test_an_event_survives_the_json_codec(event: Event) -> None:
    """JSON integers are exact: no float on the way."""
    assert decode_json(encode_json(event)) == event


@given(events=EVENTS, cut=st.integers(0, 8))
def test_a_block_is_the_sum_of_its_parts(events: list[Event], cut: int) -> None:
    """Where a stream is cut changes nothing."""
    block = block_of(events, SYMBOLS)
    assert events_of(concat([block[:cut], block[cut:]])) == events


@settings(max_examples=300)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_is_refused(position: int, bit: int) -> None:
    """A damaged record must never become a wrong book."""
    data = bytearray(encode_block(empty_block(SYMBOLS, 3), 5))
    position %= len(data)
    data[position] ^= 1 << bit
    with pytest.raises(DecodeError):
        decode_block(bytes(data))


@given(length=st.integers(0, 2_000))
def test_a_truncated_block_is_refused(length: int) -> None:
    """Every proper prefix of a block is an error with a reason code, never a shorter block."""
    data = encode_block(empty_block(SYMBOLS, 4), 5)
    with pytest.raises(DecodeError):
        decode_block(data[: min(length, len(data) - 1)])


def test_an_oversize_count_is_refused_before_memory_is_taken() -> None:
    """The header alone must not make us allocate."""
    data = bytearray(encode_block(empty_block(SYMBOLS, 0), 0))
    data[6:10] = (EVENTS_PER_BLOCK_MAX + 1).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="OVERSIZE"):
        decode_block(bytes(data))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'{"type":"depth"}',
        b'{"type":"trade","symbol":"ES","seq":1.5,"event_ts_ns":1,"recv_ts_ns":1,"price_ticks":1,"qty":1,"aggressor":1}',
        b'{"type":"trade","symbol":"ES","seq":1,"event_ts_ns":1,"recv_ts_ns":1,"price_ticks":NaN,"qty":1,"aggressor":1}',
        b'{"type":"trade","symbol":"ES","seq":1,"event_ts_ns":1,"recv_ts_ns":1,"price_ticks":1,"qty":1,"aggressor":1,"x":1}',
        b"\xff\xfe",
        b"[" * 40_000,
        b'{"type":"quote"}',
        b" " * 70_000,
    ],
)
def test_json_that_is_not_an_event_is_refused(text: bytes) -> None:
    """Wrong types, unknown fields, NaN, bad UTF-8, deep nesting, oversize: a DecodeError each, nothing else."""
    with pytest.raises(DecodeError):
        decode_json(text)


def test_columns_of_a_decoded_block_have_the_documented_types() -> None:
    """Kernels rely on these."""
    block, _ = decode_block(encode_block(empty_block(SYMBOLS, 2), 0))
    assert [column.dtype for column in block.columns()] == [np.int16, np.int8, np.int8, np.int64, np.int64, np.int64, np.int64, np.int32]
    assert block.px_ticks.shape == block.qty.shape == (2, 2 * LEVELS)
