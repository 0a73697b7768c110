"""Turn market-data records into stored events, bars and features, and pass the features on, in stream order.

Order matters, so a batch stops where a dependency fails and Lambda resumes there; a record may therefore come twice, and every write
is keyed so that this changes nothing. A record that can never be read is kept in quarantine with its reason and does not block
its shard. State lives in the cache between batches; an instance whose memory is behind the cache reloads it.
"""

import os
import time
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.data_classes import KinesisStreamEvent
from aws_lambda_powertools.utilities.typing import LambdaContext

from tidemark.adapters.cache import RING_ROWS, Cache, HotRow, connect
from tidemark.adapters.kinesis import StreamPublisher
from tidemark.adapters.lake_rows import lake_rows
from tidemark.adapters.postgres_market import MarketStore
from tidemark.adapters.settings import cache_settings, client, database_conninfo, instruments_from_parameter, required, required_int
from tidemark.adapters.sinks import FirehoseSink, QuarantineStore
from tidemark.errors import DecodeError, UnavailableError
from tidemark.events import EventBlock, Kind, concat, decode_block, encode_json, events_of
from tidemark.features.catalogue import SCHEMA_HASH
from tidemark.features.intake import SymbolIntake, Taken
from tidemark.features.params import DEFAULT_PARAMS
from tidemark.signals.messages import HASH_CHARS, FeatureBatch, encode_features

logger = Logger(service="market_data")
metrics = Metrics(namespace="Tidemark", service="market_data")
CHUNK_RECORDS = 50  # the remaining time is looked at between chunks; a chunk is published whole or not at all
GUARD_FRAC = 0.2  # of the function's time-out: less than that left, and the rest of the batch is handed back
ROWS_PER_MESSAGE = 1_000


@dataclass(slots=True)
class Poison:
    """A record that will never parse."""

    event_id: str
    data: bytes
    reason: str


class App:
    """The ports of this function and the symbols' state, made once per cold start."""

    def __init__(self) -> None:
        self.instruments = instruments_from_parameter()
        self.cache = Cache(connect(cache_settings()))
        self.store = MarketStore(database_conninfo(), self.instruments, sample=required_int("MARKET_DATA_SAMPLE"))
        self.depth_lake = FirehoseSink(client("firehose"), required("LAKE_DEPTH_FIREHOSE"))
        self.trades_lake = FirehoseSink(client("firehose"), required("LAKE_TRADES_FIREHOSE"))
        self.quarantine = QuarantineStore(client("s3"), required("QUARANTINE_BUCKET"))
        self.features = StreamPublisher(client("kinesis"), required("FEATURES_STREAM"))
        self.intakes: dict[str, SymbolIntake] = {}
        self.uncounted: dict[str, str] = {}  # {event id: reason} of records that are in quarantine but not yet in the counts

    def parse(self, data: bytes) -> tuple[EventBlock, int]:
        """(block of one known symbol, as_of_ns). Raises DecodeError."""
        block, as_of_ns = decode_block(data)
        if len(block.symbols) != 1:
            raise DecodeError("SYMBOLS", f"{len(block.symbols)} symbols in a record, expected 1")
        if block.symbols[0] not in self.instruments:
            raise DecodeError("UNKNOWN_SYMBOL", f"{block.symbols[0]} is not an instrument of this stage")
        return block, as_of_ns

    def load(self, symbols: list[str]) -> None:
        """Have the newest state of each symbol in memory: ours, unless another instance has gone on since."""
        marks = self.cache.checkpoints([f"ckpt:features:{symbol}:seq" for symbol in symbols])
        for symbol, mark in zip(symbols, marks, strict=True):
            known = self.intakes.get(symbol)
            if mark is None:
                self.intakes[symbol] = SymbolIntake(symbol, DEFAULT_PARAMS)
            elif known is None or str(known.last_seq).encode() != mark:
                state = self.cache.checkpoints([f"ckpt:features:{symbol}"])[0]
                self.intakes[symbol] = (
                    SymbolIntake.from_bytes(state, DEFAULT_PARAMS) if state is not None else SymbolIntake(symbol, DEFAULT_PARAMS)
                )

    def process(self, blocks: dict[str, tuple[EventBlock, int]], poison: list[Poison]) -> None:
        """Take the blocks and publish what they led to; checkpoints come last, so that a failure repeats the whole."""
        self.load(list(blocks))
        try:
            taken = {symbol: self.intakes[symbol].take(block, as_of_ns) for symbol, (block, as_of_ns) in blocks.items()}
            self.publish(taken, {symbol: as_of_ns for symbol, (_, as_of_ns) in blocks.items()}, poison)
        except UnavailableError:
            self.intakes.clear()  # what was taken is not published: go back to the checkpoint
            raise
        measure(taken, poison)

    def publish(self, taken: dict[str, Taken], as_of_ns: dict[str, int], poison: list[Poison]) -> None:
        """Quarantine, Postgres, the lake, the features stream, and last the cache with the checkpoints."""
        for item in poison:
            if self.quarantine.put(f"records/{item.event_id.replace(':', '/')}", item.data, item.reason):
                self.uncounted[item.event_id] = item.reason
        for symbol, result in taken.items():
            self.keep_quarantined(symbol, result)
        self.store.write(
            [result.accepted for result in taken.values()],
            [bar for result in taken.values() for bar in result.bars],
            {symbol: refused_counts(self.intakes[symbol]) for symbol in taken},
            list(self.uncounted.values()),
            now_ns=time.time_ns(),
        )
        self.uncounted.clear()
        rows = [lake_rows(result.accepted) for result in taken.values()]
        self.depth_lake.put([row for depth, _ in rows for row in depth])
        self.trades_lake.put([row for _, trades in rows for row in trades])
        self.features.put([record for symbol, result in taken.items() for record in feature_records(symbol, result, as_of_ns[symbol])])
        checkpoints: dict[str, bytes] = {}
        for symbol in taken:
            checkpoints[f"ckpt:features:{symbol}"] = self.intakes[symbol].to_bytes()
            checkpoints[f"ckpt:features:{symbol}:seq"] = str(self.intakes[symbol].last_seq).encode()
        self.cache.store(checkpoints, [row for symbol, result in taken.items() for row in hot_rows(symbol, result)])

    def keep_quarantined(self, symbol: str, result: Taken) -> None:
        """Store refused events, each with its reason."""
        if result.reasons:
            lines = [
                {"reason": reason.name, "event": encode_json(event).decode()}
                for reason, event in zip(result.reasons, events_of(result.quarantined), strict=True)
            ]
            self.quarantine.put_lines(f"events/{symbol}/{int(result.quarantined.seq[0]):020d}.jsonl", lines, lines[0]["reason"])


app: App | None = None


@metrics.log_metrics(raise_on_empty_metrics=False)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """Kinesis batch in, partial-batch response out."""
    global app
    if app is None:
        app = App()
    records = list(KinesisStreamEvent(event).records)
    guard_ms = GUARD_FRAC * 1_000 * int(os.environ.get("FUNCTION_TIMEOUT_S", "30"))
    for start in range(0, len(records), CHUNK_RECORDS):
        first = records[start].kinesis.sequence_number
        if context.get_remaining_time_in_millis() < guard_ms:
            logger.warning("out of time", extra={"left": len(records) - start})
            return {"batchItemFailures": [{"itemIdentifier": first}]}
        try:
            app.process(*gather(app, records[start : start + CHUNK_RECORDS]))
        except UnavailableError as error:
            logger.error("dependency unavailable", extra={"detail": str(error)})
            metrics.add_metric("DependencyUnavailable", MetricUnit.Count, 1)
            return {"batchItemFailures": [{"itemIdentifier": first}]}
    return {"batchItemFailures": []}


def gather(app: App, records: list[Any]) -> tuple[dict[str, tuple[EventBlock, int]], list[Poison]]:
    """Events of a chunk by symbol, joined in order, with the newest as_of; and what could not be read."""
    blocks: dict[str, list[EventBlock]] = {}
    as_of: dict[str, int] = {}
    poison: list[Poison] = []
    for record in records:
        data = record.kinesis.data_as_bytes()
        try:
            block, as_of_ns = app.parse(data)
        except DecodeError as error:
            logger.warning("record quarantined", extra={"reason": error.reason, "detail": error.detail})
            poison.append(Poison(record.event_id, data, error.reason))
            continue
        blocks.setdefault(block.symbols[0], []).append(block)
        as_of[block.symbols[0]] = max(as_of_ns, as_of.get(block.symbols[0], 0))
    return {symbol: (concat(parts), as_of[symbol]) for symbol, parts in blocks.items()}, poison


def feature_records(symbol: str, result: Taken, as_of_ns: int) -> list[tuple[str, bytes]]:
    """Messages for the features stream: all new rows, and in any case one that carries the watermark."""
    rows = result.rows
    records = []
    for start in range(0, max(1, len(rows.seq)), ROWS_PER_MESSAGE):
        part = slice(start, start + ROWS_PER_MESSAGE)
        last = start + ROWS_PER_MESSAGE >= len(rows.seq)
        batch = FeatureBatch(
            symbol=symbol,
            as_of_ns=as_of_ns if last else int(rows.grid_ts_ns[part][-1]),
            names_hash=SCHEMA_HASH[:HASH_CHARS],
            grid_ts_ns=rows.grid_ts_ns[part].tolist(),
            event_ts_ns=rows.event_ts_ns[part].tolist(),
            recv_ts_ns=rows.recv_ts_ns[part].tolist(),
            seq=rows.seq[part].tolist(),
            values=rows.values[part].tobytes(),
            rows=len(rows.seq[part]),
            sent_ts_ns=time.time_ns(),
        )
        records.append((symbol, encode_features(batch)))
    return records


def hot_rows(symbol: str, result: Taken) -> list[HotRow]:
    """The new rows for the hot ring, oldest first."""
    rows, schema = result.rows, SCHEMA_HASH[:HASH_CHARS]
    newest = slice(-RING_ROWS, None)
    columns = (rows.seq[newest].tolist(), rows.event_ts_ns[newest].tolist(), rows.recv_ts_ns[newest].tolist(), rows.values[newest])
    return [HotRow("book", symbol, schema, seq, ts, recv, values.tobytes()) for seq, ts, recv, values in zip(*columns, strict=True)]


def refused_counts(intake: SymbolIntake) -> dict[str, int]:
    """Counts by reason without the accepted ones."""
    return {reason: count for reason, count in intake.counts.items() if reason != "accepted"}


def measure(taken: dict[str, Taken], poison: list[Poison]) -> None:
    """Count what happened; the alarms read these names."""
    depth = sum(int((result.accepted.kind == Kind.DEPTH).sum()) for result in taken.values())
    metrics.add_metric("DepthEvents", MetricUnit.Count, depth)
    metrics.add_metric("Quarantined", MetricUnit.Count, len(poison) + sum(len(result.reasons) for result in taken.values()))
    metrics.add_metric("Duplicates", MetricUnit.Count, sum(result.duplicates for result in taken.values()))
