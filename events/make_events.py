"""Writes the sample events of this folder: `python events/make_events.py`. A test checks that the files are what this makes.

One JSON file per event that a Lambda can meet, the ugly ones too. Kinesis data is base64 of the stream's own codec.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from tidemark.events import Depth, Event, Trade, block_of, encode_block
from tidemark.features.catalogue import COUNT, SCHEMA_HASH
from tidemark.signals.messages import HASH_CHARS, FeatureBatch, encode_features
from tidemark.units import NO_PRICE, NS_PER_MS

FOLDER = Path(__file__).parent
START_NS = 1_772_461_800_000_000_000  # 2026-03-02 14:30 UTC, in the session
STEP_NS = 100 * NS_PER_MS
MID_TICKS = 24_000  # ES 6000.00
EMPTY_SIDE = ((NO_PRICE,) * 10, (0,) * 10)


def depth(seq: int, *, spread_ticks: int = 1, qty: int = 10) -> Depth:
    """A plain ten-level ES book; `spread_ticks` below 1 locks or crosses it."""
    ts_ns = START_NS + seq * STEP_NS
    bids = tuple(MID_TICKS - level for level in range(10))
    asks = tuple(MID_TICKS + spread_ticks + level for level in range(10))
    sizes = tuple(qty + level for level in range(10))
    return Depth("ES", seq, ts_ns, ts_ns + NS_PER_MS, bids, sizes, asks, sizes)


def trade(seq: int) -> Trade:
    """A buyer takes three contracts."""
    ts_ns = START_NS + seq * STEP_NS
    return Trade("ES", seq, ts_ns, ts_ns + NS_PER_MS, MID_TICKS + 1, 3, 1)


def one_sided(seq: int) -> Depth:
    """A book whose asks are gone."""
    book = depth(seq)
    return Depth("ES", seq, book.event_ts_ns, book.recv_ts_ns, book.bid_ticks, book.bid_qty, *EMPTY_SIDE)


def kinesis(stream: str, records: list[bytes]) -> dict[str, Any]:
    """The event that Lambda gets for a batch of one shard."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "ES",
                    "sequenceNumber": str(49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898 + i),
                    "data": base64.b64encode(data).decode(),
                    "approximateArrivalTimestamp": START_NS / 1e9 + i,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000006:{49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898 + i}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::111111111111:role/lambda",
                "awsRegion": "us-east-1",
                "eventSourceARN": f"arn:aws:kinesis:us-east-1:111111111111:stream/{stream}",
            }
            for i, data in enumerate(records)
        ]
    }


def block(events: list[Event], symbol: str = "ES") -> bytes:
    """Stream bytes of these events; as_of is the end of the grid step of the last one."""
    last_ns = max((event.event_ts_ns for event in events), default=START_NS)
    return encode_block(block_of(events, [symbol]), last_ns // (250 * NS_PER_MS) * 250 * NS_PER_MS + 250 * NS_PER_MS)


def features(rows: int, *, schema: str = SCHEMA_HASH[:HASH_CHARS]) -> bytes:
    """A feature batch of calm zeros: valid bytes, whatever a model makes of it."""
    grid = [START_NS + (i + 1) * 250 * NS_PER_MS for i in range(rows)]
    values = np.zeros((rows, COUNT), np.float32).tobytes()
    times = [ts - NS_PER_MS for ts in grid]
    return encode_features(
        FeatureBatch("ES", grid[-1] if rows else START_NS, schema, grid, times, times, list(range(1, rows + 1)), values, rows, START_NS)
    )


def samples() -> dict[str, dict[str, Any]]:
    """Every sample by its path below this folder."""
    good = block([depth(1), trade(2), depth(3)])
    flipped = bytes([good[0], good[1], good[2], good[3], good[4] ^ 1]) + good[5:]
    market_data = {
        "good": [good, block([depth(4), depth(5)])],
        "heartbeat": [block([])],
        "duplicate": [good, good],
        "late": [block([depth(4)]), block([depth(2)])],
        "crossed": [block([depth(1), depth(2, spread_ticks=-2), depth(3)])],
        "one_sided": [block([depth(1), one_sided(2)])],
        "negative_size": [block([depth(1), depth(2, qty=-5)])],
        "truncated": [good[:-7], block([depth(4)])],
        "damaged": [flipped, block([depth(4)])],
        "not_a_block": [b'{"hello": "world"}', b"", block([depth(1)])],
        "unknown_symbol": [block([], symbol="XX"), block([depth(1)])],
        "empty_batch": [],
    }
    signal = {
        "good": [features(3)],
        "heartbeat": [features(0)],
        "wrong_schema": [features(2, schema="00000000"), features(1)],
        "not_features": [b"\x93\x01\x02", b"", features(1)],
        "empty_batch": [],
    }
    return {
        **{f"market_data/{name}.json": kinesis("tidemark-dev-market-data", records) for name, records in market_data.items()},
        **{f"signal/{name}.json": kinesis("tidemark-dev-features", records) for name, records in signal.items()},
    }


def main() -> None:
    """Write every sample."""
    for name, event in samples().items():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(event, indent=1) + "\n")


if __name__ == "__main__":
    main()
