"""Cutting a replayed stream into the slices that travel together.

A slice ends on the feature grid, so that its `as_of_ns` ("every event before this venue time has been sent") lets features of the
last grid step be made at once. Where slices are cut changes nothing that is computed, only how much travels at a time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tidemark.budgets import GRID_NS as GRID_NS
from tidemark.events import EventBlock, concat
from tidemark.units import NS_PER_MS, NS_PER_S


@dataclass(frozen=True, slots=True)
class SliceRule:
    """A slice is closed at the first step boundary at which it holds `events_min` events or spans `span_ns_max`."""

    step_ns: int
    events_min: int
    span_ns_max: int


THROUGHPUT = SliceRule(step_ns=GRID_NS, events_min=400, span_ns_max=5 * NS_PER_S)
PACED = SliceRule(step_ns=GRID_NS, events_min=1, span_ns_max=GRID_NS)
LOW_LATENCY = SliceRule(step_ns=50 * NS_PER_MS, events_min=1, span_ns_max=50 * NS_PER_MS)


def cut_slices(blocks: Iterable[EventBlock], rule: SliceRule) -> Iterator[tuple[EventBlock, int]]:
    """(events, as_of_ns) slices of a stream given as consecutive blocks in feed order; no slice is empty, none is lost."""
    rest: EventBlock | None = None
    for block in blocks:
        pending = block if rest is None else concat([rest, block])
        starts = _starts(pending, rule)
        for start, stop in zip(starts[:-1], starts[1:], strict=True):
            yield _slice(pending[start:stop], rule)
        rest = pending[starts[-1] :]
    if rest is not None and len(rest):
        yield _slice(rest, rule)


def _slice(events: EventBlock, rule: SliceRule) -> tuple[EventBlock, int]:
    return events, (int(events.event_ts_ns[-1]) // rule.step_ns + 1) * rule.step_ns


def _starts(block: EventBlock, rule: SliceRule) -> list[int]:
    """First rows of the slices of `block`; the last of them is still open."""
    step = np.maximum.accumulate(block.event_ts_ns) // rule.step_ns
    boundaries = [0, *(np.flatnonzero(np.diff(step)) + 1).tolist()]
    steps = step[boundaries].tolist() if len(block) else []
    starts = [0]
    for row, first_step in zip(boundaries[1:], steps[1:], strict=True):
        spanned_ns = (first_step - int(step[starts[-1]])) * rule.step_ns
        if row - starts[-1] >= rule.events_min or spanned_ns >= rule.span_ns_max:
            starts.append(row)
    return starts
