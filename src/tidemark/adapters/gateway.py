"""The feed gateway's work: a replayed data set out to the durable stream, the hot book and the direct feed, at a chosen pace.

Nothing is dropped: a reader that falls behind stops the replay (back-pressure). In lock-step the durable stream comes before the
direct feed, because the execution task waits for what the stream's consumers make of a slice; in real time the direct feed is first.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np

from tidemark.adapters.cache import Cache
from tidemark.adapters.feed_socket import FeedServer
from tidemark.adapters.kinesis import StreamPublisher
from tidemark.book.slicing import LOW_LATENCY, PACED, THROUGHPUT, SliceRule, cut_slices
from tidemark.budgets import FEED_NS_MAX
from tidemark.events import LEVELS, EventBlock, Kind, encode_block
from tidemark.instruments import Instrument
from tidemark.latency import Histogram
from tidemark.units import NS_PER_S, decimal_text

PACED_SPEED_MAX = 30.0  # above it a slice a grid step is more messages than a laptop moves
EVENTS_PER_RECORD_MAX = 1_000  # about 270 kB
PAGE_INTERVAL_NS = 100_000_000  # a page cannot be read faster than ten times a second
PROGRESS_KEY = "run:progress"


@dataclass(frozen=True, slots=True)
class Pace:
    """`speed` events-time seconds per second; None as fast as the rest can follow. Only 1 is real time, all else is lock-step."""

    speed: float | None

    @property
    def real_time(self) -> bool:
        return self.speed == 1.0

    @property
    def rule(self) -> SliceRule:
        if self.real_time:
            return LOW_LATENCY
        return PACED if self.speed is not None and self.speed <= PACED_SPEED_MAX else THROUGHPUT


class Gateway:
    """Publishes slices to every destination and keeps the pace."""

    def __init__(
        self, stream: StreamPublisher, cache: Cache, feed: FeedServer, instruments: dict[str, Instrument], pace: Pace, events_total: int
    ) -> None:
        self._stream = stream
        self._cache = cache
        self._feed = feed
        self._instruments = instruments
        self._pace = pace
        self._total = events_total
        self._done = 0
        self._as_of_ns = 0
        self._page_at_ns = 0
        self._latency = Histogram()  # a slice is due → its books are hot

    def replay(self, blocks: Iterable[EventBlock]) -> int:
        """Publish everything, then the end of the feed. Returns the number of events sent."""
        started_ns, first_ns = time.monotonic_ns(), None
        for block, as_of_ns in cut_slices(blocks, self._pace.rule):
            first_ns = as_of_ns if first_ns is None else first_ns
            self._wait_for(started_ns, as_of_ns - first_ns)
            self._publish(block, as_of_ns)
        self._feed.send_end(time.time_ns())
        self._report_progress(last=True)
        return self._done

    def _wait_for(self, started_ns: int, elapsed_event_ns: int) -> None:
        if self._pace.speed is None:
            return
        due_ns = started_ns + int(elapsed_event_ns / self._pace.speed)
        behind_ns = due_ns - time.monotonic_ns()
        if behind_ns > 0:
            time.sleep(behind_ns / NS_PER_S)

    def _publish(self, block: EventBlock, as_of_ns: int) -> None:
        due_ns = time.monotonic_ns()
        records = [record for i in range(len(block.symbols)) for record in self._records(block, i, as_of_ns)]
        if self._pace.real_time:
            self._feed.send(block, as_of_ns, time.time_ns())
        self._show(block)
        self._latency.add(time.monotonic_ns() - due_ns)
        self._stream.put(records)
        if not self._pace.real_time:
            self._feed.send(block, as_of_ns, time.time_ns())
        self._as_of_ns = as_of_ns
        self._done += len(block)

    def _records(self, block: EventBlock, symbol_i: int, as_of_ns: int) -> list[tuple[str, bytes]]:
        """This symbol's events as stream records; without events one record still carries the watermark."""
        symbol = block.symbols[symbol_i]
        part = block[np.flatnonzero(block.symbol_i == symbol_i)]
        own = EventBlock((symbol,), np.zeros(len(part), np.int16), *part.columns()[1:])
        cuts = list(range(0, max(1, len(own)), EVENTS_PER_RECORD_MAX))
        return [
            (symbol, encode_block(own[cut : cut + EVENTS_PER_RECORD_MAX], as_of_ns if cut == cuts[-1] else self._as_of_ns)) for cut in cuts
        ]

    def _show(self, block: EventBlock) -> None:
        """Hot books for every slice; the page only as often as it can be read."""
        books = {block.symbols[i]: row for i in range(len(block.symbols)) if (row := _last_depth(block, i)) is not None}
        self._cache.put_books({symbol: msgspec.json.encode(book) for symbol, book in books.items()})
        now_ns = time.monotonic_ns()
        if now_ns - self._page_at_ns < PAGE_INTERVAL_NS:
            return
        self._page_at_ns = now_ns
        self._cache.page(
            [
                (f"book:{symbol}", {"type": "book", "tick_size": decimal_text(self._instruments[symbol].tick_size), **book})
                for symbol, book in books.items()
            ]
        )
        self._report_progress(last=False)

    def _report_progress(self, *, last: bool) -> None:
        feed = self._latency.figures(FEED_NS_MAX)
        message = {"done": self._done, "total": self._total, "as_of_ns": self._as_of_ns, "last": last, "feed": feed}
        self._cache.page([("latency:gateway", {"type": "latency", "feed": feed})])
        self._cache.store({PROGRESS_KEY: msgspec.json.encode(message)})


def _last_depth(block: EventBlock, symbol_i: int) -> dict[str, object] | None:
    rows = np.flatnonzero((block.symbol_i == symbol_i) & (block.kind == Kind.DEPTH))
    if not len(rows):
        return None
    row = int(rows[-1])
    px, qty = block.px_ticks[row].tolist(), block.qty[row].tolist()
    return {
        "symbol": block.symbols[symbol_i],
        "seq": int(block.seq[row]),
        "event_ts_ns": int(block.event_ts_ns[row]),
        "recv_ts_ns": int(block.recv_ts_ns[row]),
        "bid_ticks": px[:LEVELS],
        "bid_qty": qty[:LEVELS],
        "ask_ticks": px[LEVELS:],
        "ask_qty": qty[LEVELS:],
    }
