"""Stream and batch are one computation: wherever a stream is cut, stopped and resumed, its rows are the batch's to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_worlds import SYMBOL, random_events
from tidemark.errors import DecodeError
from tidemark.events import EventBlock
from tidemark.features.batch import grid_rows
from tidemark.features.catalogue import GRID_NS
from tidemark.features.params import DEFAULT_PARAMS, FeatureParams
from tidemark.features.rows import FeatureRows, concat_rows
from tidemark.features.stream import FeatureStream
from tidemark.units import INT64_MAX

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
OTHER_PARAMS = FeatureParams(iofi_loadings=(1.0, *[0.0] * 9))

worlds = st.tuples(st.integers(0, 10**6), st.integers(1, 250))
cuts = st.lists(st.integers(0, 250), max_size=12)


def assert_same(got: FeatureRows, wanted: FeatureRows) -> None:
    for name in ("grid_ts_ns", "event_ts_ns", "recv_ts_ns", "seq"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)
    assert got.values.tobytes() == wanted.values.tobytes()


def slices(block: EventBlock, at: list[int]) -> list[EventBlock]:
    bounds = [0, *sorted(min(cut, len(block)) for cut in at), len(block)]
    return [block[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]


def promise(part: EventBlock, rest: EventBlock | None, eager: bool) -> int:
    """An `as_of_ns` that is true: nothing (0), or all that is known before the next event."""
    if not eager:
        return 0
    return int(rest.event_ts_ns[0]) if rest is not None and len(rest) else (int(part.event_ts_ns[-1]) if len(part) else 0)


@given(worlds, cuts, st.booleans(), st.booleans())
@QUICK
def test_any_cut_and_any_restart_gives_the_rows_of_the_batch(world: tuple[int, int], at: list[int], eager: bool, restart: bool) -> None:
    """Blocks of any size (empty ones too), rows published early or late, the state saved and loaded between any two blocks."""
    block = random_events(*world)
    parts = slices(block, at)
    stream, rows = FeatureStream(SYMBOL, DEFAULT_PARAMS), []
    for part, rest in zip(parts, [*parts[1:], None], strict=True):
        rows.append(stream.update(part, promise(part, rest, eager)))
        if restart:
            saved = stream.to_bytes()
            stream = FeatureStream.from_bytes(saved, DEFAULT_PARAMS)
            assert stream.to_bytes() == saved
    rows.append(stream.update(block[:0], INT64_MAX))
    assert_same(concat_rows(rows), grid_rows(block, DEFAULT_PARAMS))
    assert stream.late_count == 0
    assert stream.last_seq == block.seq[-1]


@given(worlds, cuts)
@QUICK
def test_the_state_after_any_cuts_is_the_same_bytes(world: tuple[int, int], at: list[int]) -> None:
    """A restart that replays from the lake in other blocks must reach the state that was lost."""
    block = random_events(*world)
    whole, cut = FeatureStream(SYMBOL, DEFAULT_PARAMS), FeatureStream(SYMBOL, DEFAULT_PARAMS)
    whole.update(block, 0)
    for part in slices(block, at):
        cut.update(part, 0)
    assert whole.to_bytes() == cut.to_bytes()


@given(worlds, st.integers(1, 200))
@QUICK
def test_a_row_is_out_as_soon_as_its_time_is_promised_and_not_before(world: tuple[int, int], position: int) -> None:
    """`as_of_ns` one nanosecond short of the grid time holds the row back; the grid time itself releases it."""
    block = random_events(*world)[:position]
    wanted = grid_rows(block, DEFAULT_PARAMS)
    grid = (int(block.event_ts_ns[-1]) // GRID_NS + 1) * GRID_NS
    stream = FeatureStream(SYMBOL, DEFAULT_PARAMS)
    early = stream.update(block, grid - 1)
    assert (early.grid_ts_ns < grid).all()
    last = stream.update(block[:0], grid)
    assert_same(concat_rows([early, last]), wanted)
    assert len(stream.update(block[:0], grid + 10 * GRID_NS)) == 0, "a row is published once"


def test_an_event_after_its_row_is_counted_and_makes_no_second_row() -> None:
    """A sender that broke its promise must not make history differ from what was published; the state still follows."""
    block = random_events(2, 100)
    stream = FeatureStream(SYMBOL, DEFAULT_PARAMS)
    first = stream.update(block[:50], INT64_MAX)
    same_grid = block[50:51]
    same_grid.event_ts_ns[:] = block.event_ts_ns[49]
    rows = stream.update(same_grid, INT64_MAX)
    assert len(first) > 0
    assert len(rows) == 0
    assert stream.late_count == 1
    assert stream.last_seq == same_grid.seq[0]


def test_a_checkpoint_of_another_schema_or_a_damaged_one_is_refused() -> None:
    """Going on with another definition's windows would give features that no model was trained on."""
    stream = FeatureStream(SYMBOL, DEFAULT_PARAMS)
    stream.update(random_events(1, 20), 0)
    saved = stream.to_bytes()
    for data, params, code in (
        (saved, OTHER_PARAMS, "SCHEMA"),
        (saved[:-1], DEFAULT_PARAMS, "CHECKPOINT"),
        (b"\x00", DEFAULT_PARAMS, "CHECKPOINT"),
    ):
        with pytest.raises(DecodeError, match=code):
            FeatureStream.from_bytes(data, params)


@given(st.integers(0, 10**6), st.integers(1, 255))
@QUICK
def test_a_checkpoint_with_one_altered_byte_is_refused_or_is_the_same_state(place: int, change: int) -> None:
    """A wrong number in a window would give plausible, wrong features for minutes; only a number that nothing reads may pass."""
    stream = FeatureStream(SYMBOL, DEFAULT_PARAMS)
    stream.update(random_events(1, 20), 0)
    saved = stream.to_bytes()
    at = place % (len(saved) if place % 2 else 200)  # every other case in the head, where the lengths and names are
    damaged = saved[:at] + bytes([saved[at] ^ change]) + saved[at + 1 :]
    try:
        resumed = FeatureStream.from_bytes(damaged, DEFAULT_PARAMS)
    except DecodeError:
        return
    assert resumed.to_bytes() == saved
