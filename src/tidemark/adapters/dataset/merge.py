"""Several ordered streams of blocks as one, with memory bounded by a block or two of each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidemark.events import I64, EventBlock, concat
from tidemark.units import INT64_MIN

SortKey = Callable[[EventBlock], I64]


def by_seq(block: EventBlock) -> I64:
    """Order of depth and trades of one symbol."""
    return block.seq


def by_event_time(block: EventBlock) -> I64:
    """Feed order of symbols; ties go to the stream that stands first."""
    return block.event_ts_ns


@dataclass(slots=True)
class _Head:
    """What has been read of one stream and not yet passed on. `keys` never fall, even where the stream's do: see `merge_sorted`."""

    stream: Iterator[EventBlock]
    key: SortKey
    block: EventBlock | None = None
    keys: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    highest: int = INT64_MIN
    ended: bool = False

    def read(self) -> None:
        """Append the stream's next block that has rows."""
        for block in self.stream:
            if len(block):
                keys = np.maximum(np.maximum.accumulate(self.key(block)), self.highest)
                self.highest = int(keys[-1])
                self.keys = np.concatenate([self.keys, keys]) if self.block else keys
                self.block = concat([self.block, block]) if self.block else block
                return
        self.ended = True

    def take(self, count: int) -> EventBlock:
        """The first `count` rows."""
        assert self.block is not None
        taken = self.block[:count]
        self.block = self.block[count:] if count < len(self.keys) else None
        self.keys = self.keys[count:]
        return taken


def merge_sorted(streams: Sequence[Iterable[EventBlock]], key: SortKey) -> Iterator[EventBlock]:
    """Rows of all streams in ascending order of `key`; ties go to the first stream; the order inside a stream is always kept.

    A stream that is not in order (damaged data) is not silently sorted: a row that falls back stays behind its neighbour.
    All blocks have the same symbol table.
    """
    heads = [_Head(iter(stream), key) for stream in streams]
    while True:
        for head in heads:
            if head.block is None and not head.ended:
                head.read()
        live = [head for head in heads if head.block is not None]
        if not live:
            return
        if len(live) == 1 and all(head.ended for head in heads if head is not live[0]):
            yield live[0].take(len(live[0].keys))
            continue
        # Rows below the lowest end of what has been read cannot be overtaken by rows still to come.
        open_ends = [head.highest for head in live if not head.ended]
        counts = [int(np.searchsorted(head.keys, min(open_ends), "left")) if open_ends else len(head.keys) for head in live]
        if not any(counts):
            for head in live:
                if not head.ended and head.highest == min(open_ends):
                    head.read()
            continue
        keys = np.concatenate([head.keys[:count] for head, count in zip(live, counts, strict=True)])
        rows = concat([head.take(count) for head, count in zip(live, counts, strict=True)])
        yield rows[np.argsort(keys, kind="stable")]


def rechunk(blocks: Iterable[EventBlock], rows_max: int) -> Iterator[EventBlock]:
    """The same rows in blocks of exactly `rows_max`, but for the last."""
    waiting: list[EventBlock] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count >= rows_max:
            joined = concat(waiting)
            whole = count - count % rows_max
            for start in range(0, whole, rows_max):
                yield joined[start : start + rows_max]
            waiting, count = [joined[whole:]], count - whole
    if count:
        yield concat(waiting)
