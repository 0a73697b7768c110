"""Random sound events of one symbol with everything that makes features hard: holes, jumps, ties in time, silences, unknown aggressors."""

from typing import Any

import numpy as np

from tidemark.events import LEVELS, EventBlock, Kind, empty_block
from tidemark.features.catalogue import SILENCE_NS
from tidemark.units import NO_PRICE, NS_PER_MS, NS_PER_S

SYMBOL = "AA"
START_NS = 1_700_000_000_000_000_000 + 3  # off every grid


def random_events(seed: int, count: int) -> EventBlock:
    """`count` usable events (no defect but, for a reader from the start, none at all)."""
    rng = np.random.default_rng(seed)
    block = empty_block([SYMBOL], count)
    gaps = rng.choice(
        [0, 1, NS_PER_MS, 20 * NS_PER_MS, 300 * NS_PER_MS, 2 * NS_PER_S, 40 * NS_PER_S], count, p=[0.2, 0.05, 0.3, 0.3, 0.1, 0.04, 0.01]
    )
    gaps = gaps * rng.integers(1, 4, count)
    gaps[rng.random(count) < 0.005] = SILENCE_NS
    block.seq[:] = np.arange(1, count + 1)
    block.event_ts_ns[:] = START_NS + np.cumsum(gaps)
    block.recv_ts_ns[:] = block.event_ts_ns + rng.integers(0, NS_PER_MS, count)
    book = _fresh_book(rng)
    for i in range(count):
        if rng.random() < 0.3:
            block.kind[i], block.aggressor[i] = Kind.TRADE, rng.integers(-1, 2)
            block.px_ticks[i, 0] = book["bid"][0] + rng.integers(0, 3)
            block.qty[i, 0] = rng.integers(1, 30)
            continue
        _change(rng, book)
        _put(rng, block, i, book)
    return block


def _fresh_book(rng: np.random.Generator) -> dict[str, Any]:
    bid = int(rng.integers(-5, 2_000))
    return {
        "bid": [bid - j for j in range(LEVELS)],
        "ask": [bid + 1 + j for j in range(LEVELS)],
        "bid_qty": rng.integers(1, 50, LEVELS).tolist(),
        "ask_qty": rng.integers(1, 50, LEVELS).tolist(),
    }


def _change(rng: np.random.Generator, book: dict[str, Any]) -> None:
    what = rng.random()
    if what < 0.6:  # one size, sometimes beyond the logarithm's table
        side, level = ("bid_qty", "ask_qty")[int(rng.integers(2))], int(rng.integers(LEVELS))
        book[side][level] = int(rng.integers(1, 50) if rng.random() < 0.9 else rng.integers(1, 2**31 - 1))
    elif what < 0.9:  # a step, with or without holes
        bid = book["bid"][0] + int(rng.integers(-2, 3))
        book["bid"] = (bid - np.cumsum(np.r_[0, rng.integers(1, 3, LEVELS - 1)])).tolist()
        book["ask"] = (bid + np.cumsum(rng.integers(1, 4, LEVELS))).tolist()
    else:
        book.update(_fresh_book(rng))


def _put(rng: np.random.Generator, block: EventBlock, i: int, book: dict[str, Any]) -> None:
    for first, side in ((0, "bid"), (LEVELS, "ask")):
        depth = LEVELS if rng.random() < 0.9 else int(rng.integers(1, LEVELS + 1))
        block.px_ticks[i, first : first + depth] = book[side][:depth]
        block.qty[i, first : first + depth] = book[f"{side}_qty"][:depth]
        assert (block.px_ticks[i, first + depth : first + LEVELS] == NO_PRICE).all()
