"""Runs every kernel of book/ and features/ once, so that numba's cache holds them before anything is timed or served."""

from tidemark.book.quality import fresh_state, scan_block
from tidemark.events import EventBlock
from tidemark.features.batch import all_rows, grid_rows
from tidemark.features.params import DEFAULT_PARAMS
from tidemark.features.stream import FeatureStream
from tidemark.features.synthetic import synthetic_block
from tidemark.jit import JIT_ENABLED

_EVENTS = 64


def warm_up() -> None:
    """Call each entry point on a few events; without numba do nothing. The drivers copy columns into the one layout that is compiled."""
    if not JIT_ENABLED:
        return
    block = synthetic_block(_EVENTS)
    scan_block(block, *fresh_state(1))
    _batch(block)
    _stream(block)


def _batch(block: EventBlock) -> None:
    all_rows(block, DEFAULT_PARAMS)
    grid_rows(block, DEFAULT_PARAMS)


def _stream(block: EventBlock) -> None:
    stream = FeatureStream(block.symbols[0], DEFAULT_PARAMS)
    half = len(block) // 2
    stream.update(block[:half], int(block.event_ts_ns[half - 1]))
    resumed = FeatureStream.from_bytes(stream.to_bytes(), DEFAULT_PARAMS)
    resumed.update(block[half:], int(block.event_ts_ns[-1]))
