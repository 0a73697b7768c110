"""Postgres, signal side: predictions, what became of them, and trading signals. A repeat changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import msgspec
import psycopg

from tidemark.errors import UnavailableError
from tidemark.instruments import Instrument
from tidemark.signals.messages import Prediction, Signal
from tidemark.signals.tracking import Matured
from tidemark.units import NS_PER_US, Side, decimal_text

_TIME: LiteralString = "to_timestamp(%s::bigint / 1000000) + make_interval(secs => (%s::bigint %% 1000000) / 1e6)"
_PREDICTION: LiteralString = (
    "insert into ml_predictions (symbol, model_name, model_version, prediction_time, target_time, predicted_direction, predicted_price,"
    " confidence, probabilities, input_ts_ns, seq) values (%s, %s, %s, " + _TIME + ", " + _TIME + ", %s, %s::numeric * %s, %s, %s, %s, %s)"
    " on conflict do nothing"
)
_MATURED: LiteralString = """
update ml_predictions set actual_price = %s::numeric * %s / 2, accuracy_score = %s
where symbol = %s and model_name = %s and seq = %s and actual_price is null
"""
_SIGNAL: LiteralString = (
    "insert into trading_signals (signal_id, symbol, signal_type, tier, confidence, expectancy_micros, entry_price, stop_loss, take_profit,"
    " risk_reward, status, created_at, expires_at, model_version, input_ts_ns, evidence_id)"
    " values (%s, %s, %s, %s, %s, %s, %s::numeric * %s / 2, %s::numeric * %s / 2, %s::numeric * %s / 2, %s, 'PUBLISHED', "
    + _TIME
    + ", "
    + _TIME
    + ", %s, %s, %s) on conflict do nothing"
)


class SignalStore:
    """Writes one batch per transaction; raises UnavailableError when Postgres cannot be reached."""

    def __init__(self, conninfo: str, instruments: Mapping[str, Instrument]) -> None:
        self._conninfo = conninfo
        self._ticks = {symbol: decimal_text(spec.tick_size) for symbol, spec in instruments.items()}
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def write(self, predictions: Sequence[Prediction], matured: Sequence[Matured], signals: Sequence[Signal]) -> None:
        """Store new predictions, fill in the outcome of older ones, store signals."""
        if not (predictions or matured or signals):
            return
        try:
            with self._connect().transaction(), self._connect().cursor() as cursor:
                if predictions:
                    cursor.executemany(_PREDICTION, [self._prediction(item) for item in predictions])
                if matured:
                    cursor.executemany(_MATURED, [self._matured(item) for item in matured])
                if signals:
                    cursor.executemany(_SIGNAL, [self._signal(item) for item in signals])
        except psycopg.Error as error:
            self.close()
            raise UnavailableError(f"postgres: {error}") from error

    def _prediction(self, item: Prediction) -> tuple[Any, ...]:
        names = ("p_down", "p_flat", "p_up", "p_win_long", "p_win_short", "expected_ticks", "mid2", "target_ts_ns")
        probabilities = msgspec.json.encode({name: getattr(item, name) for name in names}).decode()
        made_us, target_us = item.input_ts_ns // NS_PER_US, item.target_ts_ns // NS_PER_US
        price_ticks = item.mid2 / 2 + item.expected_ticks
        head = (item.symbol, item.model, item.model_version, made_us, made_us, target_us, target_us, item.direction)
        return (*head, self._ticks[item.symbol], round(price_ticks, 4), item.confidence, probabilities, item.input_ts_ns, item.seq)

    def _matured(self, item: Matured) -> tuple[Any, ...]:
        return (self._ticks[item.symbol], item.actual_mid2, item.accuracy_score, item.symbol, item.model, item.seq)

    def _signal(self, item: Signal) -> tuple[Any, ...]:
        tick = self._ticks[item.symbol]
        stop2, target2 = item.mid2 - 2 * item.side * item.stop_ticks, item.mid2 + 2 * item.side * item.target_ticks
        created_us, expires_us = item.created_ts_ns // NS_PER_US, (item.input_ts_ns + item.horizon_ns) // NS_PER_US
        return (
            *(item.signal_id, item.symbol, Side(item.side).name, item.tier.value, item.p_win, item.expectancy_micros),
            *(tick, item.mid2, tick, stop2, tick, target2, item.target_ticks / item.stop_ticks),
            *(created_us, created_us, expires_us, expires_us, item.model_version, item.input_ts_ns, item.evidence_id),
        )

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

    def close(self) -> None:
        """Drop the connection; the next write makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
