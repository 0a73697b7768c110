"""Turn feature rows into predictions and candidate signals, and answer every feature batch on the signals stream.

A batch that cannot be read is kept in quarantine and does not block its shard; without the endpoint or a store the batch is handed
back and comes again. Predictions, signals and checkpoints are keyed by symbol and seq, so a repeat changes nothing.
"""

import os
import time
from typing import Any

import numpy as np
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.data_classes import KinesisStreamEvent
from aws_lambda_powertools.utilities.typing import LambdaContext

from tidemark.adapters.cache import Cache, connect
from tidemark.adapters.emf import emit_milliseconds
from tidemark.adapters.endpoint import EndpointPredictor, EventClock, WallClock
from tidemark.adapters.kinesis import StreamPublisher
from tidemark.adapters.postgres_signals import SignalStore
from tidemark.adapters.settings import cache_settings, client, database_conninfo, instruments_from_parameter, required
from tidemark.adapters.sinks import QuarantineStore
from tidemark.errors import DecodeError, UnavailableError
from tidemark.features.catalogue import COLUMN, COUNT, SCHEMA_HASH
from tidemark.features.rows import FeatureRows
from tidemark.signals.messages import (
    HASH_CHARS,
    FeatureBatch,
    Prediction,
    Signal,
    SignalBatch,
    batch_values,
    decode_features,
    encode_signals,
)
from tidemark.signals.pipeline import SignalPipeline
from tidemark.signals.tracking import Matured, MaturityTracker
from tidemark.units import NS_PER_MS

logger = Logger(service="signal")
metrics = Metrics(namespace="Tidemark", service="signal")
CHUNK_RECORDS = 50
GUARD_FRAC = 0.2  # of the function's time-out: less than that left, and the rest of the batch is handed back
REPLAY_CLOCK = "REPLAY_CLOCK"  # "event" in replays that run faster than time; ages are then event time


class App:
    """The ports of this function and the symbols' state, made once per cold start."""

    def __init__(self) -> None:
        self.instruments = instruments_from_parameter()
        self.cache = Cache(connect(cache_settings()))
        self.store = SignalStore(database_conninfo(), self.instruments)
        self.quarantine = QuarantineStore(client("s3"), required("QUARANTINE_BUCKET"))
        self.signals = StreamPublisher(client("kinesis"), required("SIGNALS_STREAM"))
        clock = EventClock() if os.environ.get(REPLAY_CLOCK) == "event" else WallClock()
        self.predictor = EndpointPredictor(client("sagemaker-runtime"), required("MODEL_ENDPOINT"), clock)
        self.marks: dict[str, bytes] = {}
        self.pipeline: SignalPipeline | None = None
        self.trackers: dict[str, MaturityTracker] = {}

    def load(self, symbols: list[str]) -> SignalPipeline:
        """Have the newest state of each symbol in memory: ours, unless another instance has gone on since."""
        if self.pipeline is None:
            self.pipeline = SignalPipeline(self.predictor, self.instruments)
        marks = self.cache.checkpoints([f"ckpt:signal:{symbol}:seq" for symbol in symbols])
        for symbol, mark in zip(symbols, marks, strict=True):
            if mark is not None and self.marks.get(symbol) != mark:
                self.restore(self.pipeline, symbol)
            if symbol not in self.trackers:
                self.trackers[symbol] = self.new_tracker()
        return self.pipeline

    def restore(self, pipeline: SignalPipeline, symbol: str) -> None:
        """State of one symbol from the cache; a checkpoint of another model is left where it is."""
        window, tracker = self.cache.checkpoints([f"ckpt:signal:{symbol}", f"ckpt:maturity:{symbol}"])
        try:
            if window is not None:
                pipeline.from_bytes(symbol, window)
            if tracker is not None:
                described = self.predictor.description
                self.trackers[symbol] = MaturityTracker.from_bytes(tracker, described.horizon_ns, described.threshold_ticks)
        except DecodeError as error:
            logger.warning("checkpoint not used", extra={"symbol": symbol, "detail": str(error)})

    def new_tracker(self) -> MaturityTracker:
        """A tracker that has seen nothing."""
        return MaturityTracker(self.predictor.description.horizon_ns, self.predictor.description.threshold_ticks)

    def process(self, batches: list[FeatureBatch], poison: list[tuple[str, bytes, str]]) -> None:
        """Predict, store, publish; checkpoints last, so that a failure repeats the whole."""
        for name, data, reason in poison:
            self.quarantine.put(f"features/{name}", data, reason)
        try:
            pipeline = self.load(sorted({batch.symbol for batch in batches}))
            answers = [self.answer(pipeline, batch) for batch in batches]
        except (UnavailableError, DecodeError) as error:
            self.forget()
            raise UnavailableError(str(error)) from error
        try:
            self.publish(pipeline, batches, answers)
        except UnavailableError:
            self.forget()
            raise

    def answer(self, pipeline: SignalPipeline, batch: FeatureBatch) -> tuple[list[Prediction], list[Matured], list[Signal]]:
        """What one feature batch leads to."""
        rows = feature_rows(batch)
        predictions, signals = pipeline.on_rows(rows)
        mid2 = rows.column("mid2").astype(np.int64).tolist()
        matured = self.trackers[batch.symbol].update(batch.symbol, rows.event_ts_ns.tolist(), mid2, predictions)
        return predictions, matured, signals

    def publish(
        self,
        pipeline: SignalPipeline,
        batches: list[FeatureBatch],
        answers: list[tuple[list[Prediction], list[Matured], list[Signal]]],
    ) -> None:
        """Postgres, the signals stream with one answer per batch, the page, and the checkpoints."""
        self.store.write(
            [item for predictions, _, _ in answers for item in predictions],
            [item for _, matured, _ in answers for item in matured],
            [item for _, _, signals in answers for item in signals],
        )
        sent_ns = time.time_ns()
        self.signals.put(
            [
                (batch.symbol, encode_signals(SignalBatch(batch.symbol, batch.as_of_ns, signals, sent_ns)))
                for batch, (_, _, signals) in zip(batches, answers, strict=True)
            ]
        )
        signals = [signal for _, _, found in answers for signal in found]
        self.cache.page([(f"signal:{signal.symbol}", {"type": "signal", **page_fields(signal)}) for signal in signals])
        newest = {batch.symbol: str(batch.seq[-1]).encode() for batch in batches if batch.rows}
        checkpoints = {f"ckpt:signal:{symbol}": pipeline.to_bytes(symbol) for symbol in newest}
        checkpoints |= {f"ckpt:maturity:{symbol}": self.trackers[symbol].to_bytes() for symbol in newest}
        checkpoints |= {f"ckpt:signal:{symbol}:seq": mark for symbol, mark in newest.items()}
        self.cache.store(checkpoints)
        self.marks |= newest
        metrics.add_metric("Predictions", MetricUnit.Count, sum(len(predictions) for predictions, _, _ in answers))
        metrics.add_metric("Signals", MetricUnit.Count, len(signals))
        ages_ms = [(sent_ns - batch.sent_ts_ns) / NS_PER_MS for batch in batches if batch.rows]
        emit_milliseconds({"SignalLatency": max(ages_ms)} if ages_ms else {})

    def forget(self) -> None:
        """Go back to the checkpoints: what is in memory was not published."""
        self.pipeline = None
        self.trackers.clear()
        self.marks.clear()


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
            app.process(*gather(records[start : start + CHUNK_RECORDS]))
        except UnavailableError as error:
            logger.error("dependency unavailable", extra={"detail": str(error)})
            metrics.add_metric("DependencyUnavailable", MetricUnit.Count, 1)
            return {"batchItemFailures": [{"itemIdentifier": first}]}
    return {"batchItemFailures": []}


def gather(records: list[Any]) -> tuple[list[FeatureBatch], list[tuple[str, bytes, str]]]:
    """Feature batches in stream order, and (name, data, reason) of what could not be read."""
    batches: list[FeatureBatch] = []
    poison: list[tuple[str, bytes, str]] = []
    for record in records:
        data = record.kinesis.data_as_bytes()
        try:
            batch = decode_features(data)
            feature_rows(batch)
            batches.append(batch)
        except DecodeError as error:
            logger.warning("record quarantined", extra={"reason": error.reason, "detail": error.detail})
            poison.append((record.event_id.replace(":", "/"), data, error.reason))
    return batches, poison


def feature_rows(batch: FeatureBatch) -> FeatureRows:
    """The rows of a batch. Raises DecodeError (SCHEMA, LENGTH) when they are not of this program's feature set."""
    if batch.names_hash != SCHEMA_HASH[:HASH_CHARS]:
        raise DecodeError("SCHEMA", f"features of schema {batch.names_hash}, this function reads {SCHEMA_HASH[:HASH_CHARS]}")
    values = batch_values(batch, COUNT)
    columns = (np.array(column, np.int64) for column in (batch.grid_ts_ns, batch.event_ts_ns, batch.recv_ts_ns, batch.seq))
    rows = FeatureRows(batch.symbol, *columns, values)
    if len(rows) and not np.isfinite(rows.values[:, COLUMN["mid2"]]).all():
        raise DecodeError("NAN", "a row without a mid")
    return rows


def page_fields(signal: Signal) -> dict[str, Any]:
    """A signal as the page shows it."""
    return {name: getattr(signal, name) for name in signal.__struct_fields__}
