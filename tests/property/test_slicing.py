"""Slices of a replayed stream: nothing lost, nothing early, whatever the cuts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidemark.book.slicing import GRID_NS, LOW_LATENCY, THROUGHPUT, SliceRule, cut_slices
from tidemark.events import EventBlock, concat, empty_block

RULES = st.sampled_from([THROUGHPUT, LOW_LATENCY, SliceRule(GRID_NS, 3, 2 * GRID_NS)])


def stream(gaps_ns: list[int]) -> EventBlock:
    """Events of one symbol with the given gaps between them."""
    block = empty_block(("ES",), len(gaps_ns))
    block.event_ts_ns[:] = np.cumsum(gaps_ns) if gaps_ns else []
    block.seq[:] = np.arange(1, len(gaps_ns) + 1)
    return block


@given(gaps_ns=st.lists(st.integers(0, 3 * GRID_NS), min_size=1, max_size=60), cut=st.integers(0, 60), rule=RULES)
def test_slices_keep_every_event_in_order_and_their_promise(gaps_ns: list[int], cut: int, rule: SliceRule) -> None:
    """`as_of_ns` says that all earlier events are out: every event of a slice is before it, every later one is not."""
    block = stream(gaps_ns)
    slices = list(cut_slices([block[:cut], block[cut:]], rule))
    assert concat([events for events, _ in slices]).seq.tolist() == block.seq.tolist()
    assert all(len(events) for events, _ in slices)
    for (events, as_of_ns), following in zip(slices, [*slices[1:], None], strict=True):
        assert as_of_ns % rule.step_ns == 0
        assert events.event_ts_ns.max() < as_of_ns
        assert following is None or following[0].event_ts_ns.min() >= as_of_ns


@given(gaps_ns=st.lists(st.integers(0, 3 * GRID_NS), min_size=1, max_size=60), cuts=st.lists(st.integers(0, 60), max_size=4), rule=RULES)
def test_where_the_reader_cuts_its_blocks_changes_no_slice(gaps_ns: list[int], cuts: list[int], rule: SliceRule) -> None:
    """A run that reads its file in other portions must publish the same records."""
    block = stream(gaps_ns)
    edges = [0, *sorted(cuts), len(block)]
    portions = [block[start:stop] for start, stop in zip(edges, edges[1:], strict=False)]
    whole = [(events.seq.tolist(), as_of_ns) for events, as_of_ns in cut_slices([block], rule)]
    assert [(events.seq.tolist(), as_of_ns) for events, as_of_ns in cut_slices(portions, rule)] == whole
