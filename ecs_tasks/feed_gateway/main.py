"""Feed gateway task: replays a data set to the market-data stream, the hot book and the direct feed of the execution task."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tidemark.adapters.cache import Cache, connect
from tidemark.adapters.dataset.store import Dataset
from tidemark.adapters.feed_socket import FeedServer
from tidemark.adapters.gateway import Gateway, Pace
from tidemark.adapters.kinesis import StreamPublisher
from tidemark.adapters.settings import cache_settings, client, required, required_int
from tidemark.errors import InputError, TidemarkError, bad_input
from tidemark.events import EventBlock

EVENTS_PER_READ = 50_000
READER_TIMEOUT_S = 120.0


def parse_speed(text: str) -> Pace:
    """`max`, or a positive number of event-time seconds per second."""
    if text == "max":
        return Pace(None)
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1_000:
        raise bad_input("environment", "REPLAY_SPEED", text, "max, or a number above 0 and at most 1000")
    return Pace(speed)


def since(blocks: Iterable[EventBlock], from_ns: int) -> Iterator[EventBlock]:
    """Only the events at or after `from_ns`: the rest of a set may be what a model was trained on."""
    for block in blocks:
        part = block[block.event_ts_ns >= from_ns]
        if len(part):
            yield part


def main() -> int:
    """Run one replay to its end. Exit codes: 0 done, 2 bad settings or data, 3 a dependency is gone."""
    try:
        pace = parse_speed(required("REPLAY_SPEED"))
        data = Dataset.open(Path(required("REPLAY_DATASET")))
        feed = FeedServer(Path(required("FEED_SOCKET")))
        cache = Cache(connect(cache_settings()))
        stream = StreamPublisher(client("kinesis"), required("MARKET_DATA_STREAM"))
        from_ns = required_int("REPLAY_FROM_NS", minimum=0, maximum=2**62)
        gateway = Gateway(stream, cache, feed, data.instruments, pace, data.event_count())
        print("ready", flush=True)
        feed.wait_for_reader(float(os.environ.get("FEED_READER_TIMEOUT_S", READER_TIMEOUT_S)))
        sent = gateway.replay(since(data.iter_blocks(EVENTS_PER_READ), from_ns))
        print(f"replayed {sent} events", flush=True)
        feed.close()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TidemarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
