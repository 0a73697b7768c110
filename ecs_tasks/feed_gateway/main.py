"""Feed gateway task: replays a data set to the market-data stream, the hot book and the direct feed of the execution task."""

import os
import sys
from pathlib import Path

from tidemark.adapters.dataset.store import Dataset

from tidemark.adapters.cache import Cache, connect
from tidemark.adapters.feed_socket import FeedServer
from tidemark.adapters.gateway import Gateway, Pace
from tidemark.adapters.kinesis import StreamPublisher
from tidemark.adapters.settings import cache_settings, client, required
from tidemark.errors import InputError, TidemarkError, bad_input

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


def main() -> int:
    """Run one replay to its end. Exit codes: 0 done, 2 bad settings or data, 3 a dependency is gone."""
    try:
        pace = parse_speed(required("REPLAY_SPEED"))
        data = Dataset.open(Path(required("REPLAY_DATASET")))
        feed = FeedServer(Path(required("FEED_SOCKET")))
        cache = Cache(connect(cache_settings()))
        stream = StreamPublisher(client("kinesis"), required("MARKET_DATA_STREAM"))
        gateway = Gateway(stream, cache, feed, data.instruments, pace, data.event_count)
        print("ready", flush=True)
        feed.wait_for_reader(float(os.environ.get("FEED_READER_TIMEOUT_S", READER_TIMEOUT_S)))
        sent = gateway.replay(data.iter_blocks(EVENTS_PER_READ))
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
