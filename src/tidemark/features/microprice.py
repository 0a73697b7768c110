"""The micro-price of Stoikov (2018): where the mid is expected to come to rest, by imbalance and spread, fitted as a Markov chain.

States are (imbalance bucket, spread). With Q the chances of a step between states while the mid stays, R those of a first move by K, and
T those of the state that such a move leads to, the expected first move is g1 = (1 - Q)^-1 R K, those that follow are B g1, B^2 g1, ...
with B = (1 - Q)^-1 T, and the adjustment is their sum. Every transition is counted together with its mirror image (sides exchanged,
moves negated), so that the table is antisymmetric and the sum converges (Stoikov, theorem 3.1).

S. Stoikov, "The micro-price: a high-frequency estimator of future prices", Quantitative Finance 18(12), 2018.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from tidemark.book.quality import fresh_state, is_usable, scan_block
from tidemark.errors import bad_input
from tidemark.events import I64, LEVELS, EventBlock, Kind
from tidemark.features.arith import F64
from tidemark.features.catalogue import SILENCE_NS
from tidemark.features.prior import MICRO_BUCKETS, MICRO_SPREADS

MOVE_HALF_TICKS_MAX: Final = 4
"""A mid that moves further at once counts as this far: rare jumps must not set the table. Chosen: four half-ticks, two ticks."""
_STATES: Final = MICRO_BUCKETS * MICRO_SPREADS
_MOVES: Final = 2 * MOVE_HALF_TICKS_MAX + 1
_ROUNDS_MAX: Final = 10_000
_SETTLED_TICKS: Final = 1e-12
_TRANSITIONS_MIN: Final = 1


def fit_micro_table(blocks: Iterable[EventBlock]) -> tuple[tuple[float, ...], ...]:
    """Ticks to add to the mid, (10 buckets, 3 spreads), for `FeatureParams.micro_table`.

    Fit it on training data alone. Blocks are taken one by one, each symbol's in time order, and nothing flows from a block to the next;
    a state that never occurs gets 0, the mid. Raises InputError when the data hold no two consecutive usable books, or so few that
    the chain of moves never comes to rest.
    """
    counts = np.zeros((_STATES, _MOVES, _STATES))
    for block in blocks:
        usable = is_usable(scan_block(block, *fresh_state(len(block.symbols), joined_midway=True))) & (block.kind == Kind.DEPTH)
        for symbol_i in range(len(block.symbols)):
            counts += _count_transitions(block[usable & (block.symbol_i == symbol_i)])
    if counts.sum() < _TRANSITIONS_MIN:
        raise bad_input("micro-price", "blocks", "no two consecutive books", "training data with usable books")
    adjustment = _fixed_point(_with_mirror(counts)).reshape(MICRO_BUCKETS, MICRO_SPREADS)
    adjustment = (adjustment - adjustment[::-1]) / 2  # already so but for rounding
    return tuple(tuple(row) for row in adjustment.tolist())


def _states(block: EventBlock) -> I64:
    """State of every book (n,): bucket x 3 + min(spread, 3) - 1, as in the kernel."""
    bid_qty, ask_qty = block.qty[:, 0].astype(np.int64), block.qty[:, LEVELS].astype(np.int64)
    bucket = np.minimum(MICRO_BUCKETS * bid_qty // (bid_qty + ask_qty), MICRO_BUCKETS - 1)
    spread = np.minimum(block.px_ticks[:, LEVELS] - block.px_ticks[:, 0], MICRO_SPREADS)
    states: I64 = bucket * MICRO_SPREADS + spread - 1
    return states


def _count_transitions(books: EventBlock) -> F64:
    """How often (state, move in half-ticks, next state) occurred; a pair around a long silence is none."""
    states = _states(books)
    mid2 = books.px_ticks[:, 0] + books.px_ticks[:, LEVELS]
    joined = np.diff(books.event_ts_ns) < SILENCE_NS
    move = np.clip(np.diff(mid2), -MOVE_HALF_TICKS_MAX, MOVE_HALF_TICKS_MAX) + MOVE_HALF_TICKS_MAX
    cell = (states[:-1] * _MOVES + move) * _STATES + states[1:]
    return np.bincount(cell[joined], minlength=_STATES * _MOVES * _STATES).astype(np.float64).reshape(_STATES, _MOVES, _STATES)


def _with_mirror(counts: F64) -> F64:
    """Counts plus those of the same market with its sides exchanged."""
    state = np.arange(_STATES)
    mirror = (MICRO_BUCKETS - 1 - state // MICRO_SPREADS) * MICRO_SPREADS + state % MICRO_SPREADS
    both: F64 = counts + counts[mirror][:, ::-1][:, :, mirror]
    return both


def _fixed_point(counts: F64) -> F64:
    """Adjustment in ticks (30,): g1 + B g1 + B^2 g1 + ..."""
    seen = counts.sum(axis=(1, 2))
    chance = counts / np.maximum(seen, 1)[:, None, None]
    still = chance[:, MOVE_HALF_TICKS_MAX]
    moved = chance.copy()
    moved[:, MOVE_HALF_TICKS_MAX] = 0
    half_ticks = np.arange(-MOVE_HALF_TICKS_MAX, MOVE_HALF_TICKS_MAX + 1)
    leaves = _leaving(moved.sum(axis=(1, 2)) > 0, still)
    resolvent = np.linalg.inv(np.eye(_STATES) - np.where(leaves[:, None] & leaves[None, :], still, 0))
    first = np.where(leaves, resolvent @ (moved.sum(axis=2) @ half_ticks / 2), 0)
    onward = np.where(leaves[:, None], resolvent @ moved.sum(axis=1), 0)
    total, term = first, first
    for _ in range(_ROUNDS_MAX):
        term = onward @ term
        total = total + term
        if np.abs(term).max() < _SETTLED_TICKS:
            return total
    raise bad_input("micro-price", "blocks", f"no rest after {_ROUNDS_MAX} moves", "a chain whose moves die out", "use more training data")


def _leaving(moves: npt.NDArray[np.bool_], still: F64) -> npt.NDArray[np.bool_]:
    """States from which a move of the mid can be reached; without one the chain would stay for ever and 1 - Q has no inverse."""
    leaves = moves
    for _ in range(_STATES):
        leaves = leaves | ((still > 0) & leaves[None, :]).any(axis=1)
    return leaves
