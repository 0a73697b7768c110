"""Postgres, execution side: the journal, and tables that people query, both written from the journal's records alone.

One transaction per call (group commit). The tables are projections: dropping them and replaying the journal gives them again.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

import msgspec
import psycopg

from tidemark.engine.journal import (
    FIRST_CHAIN,
    JOURNAL_VERSION,
    EquityMark,
    Fill,
    Halted,
    JournalRecord,
    LimitBreached,
    OrderAnomaly,
    OrderEvent,
    Refused,
    RunStarted,
    TradeClosed,
    encode_record,
    next_chain,
)
from tidemark.errors import UnavailableError
from tidemark.instruments import Instrument
from tidemark.units import decimal_text

_JOURNAL: LiteralString = """
insert into journal (account, seq, epoch, ts_ns, kind, schema, cid, body, prev_hash, crc) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_ACCOUNT: LiteralString = """
insert into accounts (account, currency, initial_micros, cash_micros) values (%s, 'USD', %s, %s) on conflict (account) do nothing
"""
_ORDER: LiteralString = """
insert into orders (account, cid, symbol, side, qty, order_type, limit_price, state, cum_qty, signal_id, created_ts_ns, updated_ts_ns)
values (%s, %s, %s, %s, %s, %s, %s::numeric * %s, %s, %s, %s, %s, %s)
on conflict (account, cid) do update set state = excluded.state, cum_qty = excluded.cum_qty, updated_ts_ns = excluded.updated_ts_ns
"""
_ORDER_EVENT: LiteralString = "insert into order_events (account, seq, cid, ts_ns, state, detail) values (%s, %s, %s, %s, %s, %s)"
_FILL: LiteralString = """
insert into fills (account, exec_id, cid, symbol, side, qty, price, price_ticks, fee_micros, exec_ts_ns, liquidity)
values (%s, %s, %s, %s, %s, %s, %s::numeric * %s, %s, %s, %s, %s) on conflict do nothing
"""
_POSITION_FILL: LiteralString = """
insert into positions (account, symbol, qty, realised_micros, fees_micros, updated_ts_ns) values (%s, %s, %s, 0, %s, %s)
on conflict (account, symbol) do update set qty = positions.qty + excluded.qty, fees_micros = positions.fees_micros + excluded.fees_micros,
updated_ts_ns = excluded.updated_ts_ns
"""
_POSITION_TRADE: LiteralString = """
update positions set realised_micros = realised_micros + %s, updated_ts_ns = %s where account = %s and symbol = %s
"""
_EQUITY: LiteralString = """
insert into equity (account, ts_ns, equity_micros, cash_micros, drawdown_bps) values (%s, %s, %s, %s, %s) on conflict do nothing
"""
_LEASE: LiteralString = """
insert into leases (account, epoch, holder, expires) values (%s, 1, %s, clock_timestamp() + interval '10 s')
on conflict (account) do update set epoch = leases.epoch + 1, holder = excluded.holder, expires = excluded.expires
returning epoch
"""
_RISK: LiteralString = """
insert into risk_events (account, seq, ts_ns, code, symbol, figure, limit_value, detail) values (%s, %s, %s, %s, %s, %s, %s, %s)
"""
Statement = tuple[LiteralString, tuple[Any, ...]]


class ExecutionStore:
    """Appends journal records and keeps the projections in step, under a new epoch of the account's lease."""

    def __init__(self, conninfo: str, account: str, instruments: Mapping[str, Instrument], *, holder: str) -> None:
        self._account = account
        self._ticks = {symbol: decimal_text(spec.tick_size) for symbol, spec in instruments.items()}
        self._seq = 0
        self._chain = FIRST_CHAIN
        try:
            self._connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(conninfo, autocommit=True)
            row = self._connection.execute(_LEASE, (account, holder)).fetchone()
        except psycopg.Error as error:
            raise UnavailableError(f"postgres: {error}") from error
        assert row is not None, "an upsert returns its row"
        self._epoch = int(row[0])

    def append(self, records: Sequence[JournalRecord]) -> None:
        """Returns once all of `records` are durable. Raises UnavailableError when they are not."""
        if not records:
            return
        statements = [statement for record in records for statement in self._statements(record)]
        try:
            with self._connection.transaction(), self._connection.pipeline(), self._connection.cursor() as cursor:
                for query, values in statements:
                    cursor.execute(query, values)
        except psycopg.Error as error:
            raise UnavailableError(f"postgres: {error}") from error

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()

    def _statements(self, record: JournalRecord) -> Iterable[Statement]:
        self._seq += 1
        body = encode_record(record)
        kind = str(record.__struct_config__.tag)
        cid = record.cid if isinstance(record, OrderEvent | Fill | OrderAnomaly) else None
        head = (self._account, self._seq, self._epoch, record.ts_ns, kind, JOURNAL_VERSION, cid)
        yield _JOURNAL, (*head, body, self._chain, zlib.crc32(body))
        self._chain = next_chain(self._chain, body)
        yield from self._projections(record)

    def _projections(self, record: JournalRecord) -> Iterable[Statement]:
        account = self._account
        match record:
            case RunStarted():
                yield _ACCOUNT, (account, record.cash_micros, record.cash_micros)
            case OrderEvent():
                yield from self._order(record)
            case Fill():
                tick = self._ticks[record.symbol]
                head = (account, record.exec_id, record.cid, record.symbol, record.side, record.qty, tick, record.price_ticks)
                yield _FILL, (*head, record.price_ticks, record.fee_micros, record.exec_ts_ns, record.liquidity)
                yield _POSITION_FILL, (account, record.symbol, record.side * record.qty, record.fee_micros, record.ts_ns)
            case TradeClosed():
                yield _POSITION_TRADE, (record.gross_micros, record.ts_ns, account, record.symbol)
            case EquityMark():
                yield _EQUITY, (account, record.ts_ns, record.equity_micros, record.cash_micros, record.drawdown_bps_max)
            case Refused():
                detail = {"signal_id": record.signal_id, "also": record.also}
                yield self._risk(record.ts_ns, record.code, record.symbol, record.figure, record.limit, detail)
            case Halted():
                yield self._risk(record.ts_ns, f"HALT_{record.rule}", None, record.figure, record.limit, {})
            case LimitBreached():
                yield self._risk(record.ts_ns, f"BREACH_{record.rule}", record.symbol, record.figure, record.limit, {})
            case OrderAnomaly():
                detail = {"cid": record.cid, "state": record.state, "what": record.what}
                yield self._risk(record.ts_ns, "ORDER_ANOMALY", record.symbol, None, None, detail)
            case _:
                return

    def _order(self, record: OrderEvent) -> Iterable[Statement]:
        detail = {
            "leg": record.leg,
            "attempt": record.attempt,
            "cum_qty": record.cum_qty,
            "price_ticks": record.price_ticks,
            "why": record.detail,
        }
        head = (
            self._account,
            record.cid,
            record.symbol,
            record.side,
            record.qty,
            record.leg,
            self._ticks[record.symbol],
            record.price_ticks,
        )
        yield _ORDER, (*head, record.state, record.cum_qty, record.signal_id or None, record.ts_ns, record.ts_ns)
        yield _ORDER_EVENT, (self._account, self._seq, record.cid, record.ts_ns, record.state, _json(detail))

    def _risk(self, ts_ns: int, code: str, symbol: str | None, figure: int | None, limit: int | None, detail: dict[str, Any]) -> Statement:
        return _RISK, (self._account, self._seq, ts_ns, code, symbol, figure, limit, _json(detail))


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
