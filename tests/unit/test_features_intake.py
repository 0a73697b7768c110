"""One symbol's intake: validated, de-duplicated, featurised; its whole state is one byte string."""

import numpy as np
import pytest

from feature_worlds import SYMBOL, random_events
from tidemark.book.quality import Defect
from tidemark.errors import DecodeError
from tidemark.events import EventBlock
from tidemark.features.batch import grid_rows
from tidemark.features.intake import SymbolIntake
from tidemark.features.params import DEFAULT_PARAMS
from tidemark.features.rows import concat_rows
from tidemark.units import INT64_MAX


def damaged(seed: int, count: int = 200) -> tuple[EventBlock, int]:
    """A sound stream with one crossed book; and its row."""
    block = random_events(seed, count)
    row = int(np.flatnonzero(block.kind == 0)[20])
    block.px_ticks[row, :10] += 1_000
    return block, row


def test_a_bad_event_is_quarantined_with_its_reason_and_the_rest_goes_on() -> None:
    """The features are those of the stream without it, as the batch computes them."""
    block, row = damaged(1)
    taken = SymbolIntake(SYMBOL, DEFAULT_PARAMS).take(block, INT64_MAX)
    assert taken.reasons == (Defect.CROSSED,)
    assert taken.quarantined.seq.tolist() == [int(block.seq[row])]
    assert len(taken.accepted) == len(block) - 1
    np.testing.assert_array_equal(taken.rows.values, grid_rows(block, DEFAULT_PARAMS).values)


def test_a_second_delivery_changes_nothing() -> None:
    """Kinesis delivers at least once; a repeated block is counted and has no other effect, on features and bars alike."""
    block, _ = damaged(2)
    intake = SymbolIntake(SYMBOL, DEFAULT_PARAMS)
    intake.take(block[:120], 0)
    state = intake.to_bytes()
    again = intake.take(block[40:120], 0)
    assert again.duplicates == 80
    assert (len(again.accepted), len(again.quarantined), len(again.rows), again.bars) == (0, 0, 0, [])
    assert intake.counts.pop("duplicate") == 80
    assert intake.to_bytes() == state


@pytest.mark.parametrize("cut", [1, 77, 199])
def test_a_process_that_takes_over_goes_on_as_if_nothing_had_happened(cut: int) -> None:
    """Rows, bars, counts and the final state of a stream with a restart are those of one without."""
    block, _ = damaged(3)
    whole = SymbolIntake(SYMBOL, DEFAULT_PARAMS)
    expected = whole.take(block, INT64_MAX)
    first = SymbolIntake(SYMBOL, DEFAULT_PARAMS)
    head = first.take(block[:cut], 0)
    second = SymbolIntake.from_bytes(first.to_bytes(), DEFAULT_PARAMS)
    tail = second.take(block[cut:], INT64_MAX)
    rows = concat_rows([head.rows, tail.rows])
    assert rows.values.tobytes() == expected.rows.values.tobytes()
    np.testing.assert_array_equal(rows.grid_ts_ns, expected.rows.grid_ts_ns)
    assert head.bars + tail.bars == expected.bars
    assert second.to_bytes() == whole.to_bytes()
    assert second.last_seq == int(block.seq[-1])


def test_a_damaged_checkpoint_is_refused() -> None:
    """Half a state is worse than none: the caller replays instead."""
    saved = SymbolIntake(SYMBOL, DEFAULT_PARAMS).to_bytes()
    for data in (saved[:-3], b"", b"\xff"):
        with pytest.raises(DecodeError, match="CHECKPOINT"):
            SymbolIntake.from_bytes(data, DEFAULT_PARAMS)
