"""Postgres, market side: events, bars and data quality, written so that a repeat changes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

import numpy as np
import psycopg

from tidemark.errors import UnavailableError
from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.features.bars import Bar
from tidemark.instruments import Instrument
from tidemark.units import NO_PRICE, NS_PER_S, decimal_text

_STAGING: LiteralString = """
create temporary table if not exists staged_market_data (
  symbol text, event_ts_ns bigint, recv_ts_ns bigint, seq bigint, kind smallint,
  bid_ticks bigint, ask_ticks bigint, last_ticks bigint, bid_size bigint, ask_size bigint, last_size bigint, aggressor smallint
) on commit delete rows
"""
_COPY: LiteralString = "copy staged_market_data from stdin"
_MERGE: LiteralString = """
insert into market_data
  (symbol, ts, event_ts_ns, recv_ts_ns, seq, kind, bid_price, ask_price, last_price, bid_size, ask_size, last_size, aggressor)
select s.symbol, to_timestamp(s.event_ts_ns / 1000000000) + make_interval(secs => (s.event_ts_ns %% 1000000000) / 1000 / 1e6),
       s.event_ts_ns, s.recv_ts_ns, s.seq, s.kind,
       s.bid_ticks * t.tick, s.ask_ticks * t.tick, s.last_ticks * t.tick, s.bid_size, s.ask_size, s.last_size, s.aggressor
from staged_market_data s join unnest(%s::text[], %s::numeric[]) as t(symbol, tick) on t.symbol = s.symbol
on conflict do nothing
"""
_BARS: LiteralString = """
insert into bars (symbol, timeframe, ts_open, open, high, low, close, volume, vwap, n_trades)
values (%s, '1m', to_timestamp(%s), %s::numeric * %s, %s::numeric * %s, %s::numeric * %s, %s::numeric * %s, %s, %s::numeric * %s / %s, %s)
on conflict do nothing
"""
_QUALITY: LiteralString = """
insert into data_quality (symbol, reason, n, first_ts_ns, last_ts_ns) values (%s, %s, %s, %s, %s)
on conflict (symbol, reason) do update
set n = greatest(data_quality.n, excluded.n), last_ts_ns = greatest(data_quality.last_ts_ns, excluded.last_ts_ns)
"""
_POISON: LiteralString = """
insert into data_quality (symbol, reason, n, first_ts_ns, last_ts_ns) values ('*', %s, 1, %s, %s)
on conflict (symbol, reason) do update set n = data_quality.n + 1, last_ts_ns = excluded.last_ts_ns
"""


class MarketStore:
    """Writes one batch per transaction. Connects late and again after a loss; raises UnavailableError when it cannot."""

    def __init__(self, conninfo: str, instruments: Mapping[str, Instrument], *, sample: int) -> None:
        self._conninfo = conninfo
        self._ticks = {symbol: decimal_text(spec.tick_size) for symbol, spec in instruments.items()}
        self._sample = sample
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def write(
        self,
        blocks: Iterable[EventBlock],
        bars: Sequence[Bar],
        counts: Mapping[str, Mapping[str, int]],
        poison: Sequence[str],
        *,
        now_ns: int,
    ) -> None:
        """Store events (sampled), closed bars, per-symbol counts by reason, and the reasons of unreadable records."""
        try:
            with self._connect().transaction(), self._connect().cursor() as cursor:
                self._write_events(cursor, [row for block in blocks for row in _rows(block, self._sample)])
                for bar in bars:
                    cursor.execute(_BARS, _bar_values(bar, self._ticks[bar.symbol]))
                for symbol, by_reason in counts.items():
                    for reason, count in by_reason.items():
                        cursor.execute(_QUALITY, (symbol, reason, count, now_ns, now_ns))
                for reason in poison:
                    cursor.execute(_POISON, (reason, now_ns, now_ns))
        except psycopg.Error as error:
            self.close()
            raise UnavailableError(f"postgres: {error}") from error

    def _write_events(self, cursor: Any, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        with cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(_MERGE, (list(self._ticks), list(self._ticks.values())))

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
            self._connection.execute(_STAGING)
        return self._connection

    def close(self) -> None:
        """Drop the connection; the next write makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _rows(block: EventBlock, sample: int) -> list[tuple[Any, ...]]:
    """Rows for `staged_market_data`: every trade, and each depth event whose seq is a multiple of `sample`."""
    wanted = (block.kind == Kind.TRADE) | (block.seq % sample == 0)
    part = block if bool(np.all(wanted)) else block[wanted]
    rows: list[tuple[Any, ...]] = []
    heads = zip(
        part.symbol_i.tolist(), part.event_ts_ns.tolist(), part.recv_ts_ns.tolist(), part.seq.tolist(), part.kind.tolist(), strict=True
    )
    touch = zip(
        part.px_ticks[:, 0].tolist(), part.px_ticks[:, LEVELS].tolist(), part.qty[:, 0].tolist(), part.qty[:, LEVELS].tolist(), strict=True
    )
    for (s, ts, recv, seq, kind), (px, ask_px, qty, ask_qty), aggressor in zip(heads, touch, part.aggressor.tolist(), strict=True):
        if kind == Kind.DEPTH:
            bid = None if px == NO_PRICE else px
            ask = None if ask_px == NO_PRICE else ask_px
            rows.append((part.symbols[s], ts, recv, seq, kind, bid, ask, None, qty, ask_qty, None, None))
        else:
            rows.append((part.symbols[s], ts, recv, seq, kind, None, None, px, None, None, qty, aggressor))
    return rows


def _bar_values(bar: Bar, tick: str) -> tuple[Any, ...]:
    return (
        bar.symbol,
        bar.open_ts_ns // NS_PER_S,
        *(value for ticks in (bar.open_ticks, bar.high_ticks, bar.low_ticks, bar.close_ticks) for value in (tick, ticks)),
        bar.volume,
        tick,
        bar.price_volume,
        bar.volume,
        bar.trade_count,
    )
