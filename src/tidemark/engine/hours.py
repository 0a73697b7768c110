"""When each symbol may be traded, and which trade date it is: as intervals, from the calendar or from a test."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from tidemark.calendar import Session, TradingCalendar, calendar
from tidemark.instruments import Instrument
from tidemark.units import INT64_MAX, INT64_MIN

ALWAYS: Final = (INT64_MIN, INT64_MAX)


class Hours(Protocol):
    """Sessions and trade dates. A time that nobody knows about is closed."""

    def session(self, symbol: str, ts_ns: int) -> tuple[int, int] | None:
        """(open, close) of the session that contains the instant, close excluded; None while the market is closed."""
        ...

    def next_session(self, symbol: str, ts_ns: int) -> tuple[int, int] | None:
        """The session that contains the instant, or else the first after it; None where there is none."""
        ...

    def trade_day(self, ts_ns: int) -> tuple[int, int]:
        """(trade date as YYYYMMDD, when the next one begins) of the account."""
        ...


class FixedHours:
    """Hours from intervals. Without any for a symbol it never opens; without trade days there is one, day 0, for ever."""

    def __init__(self, sessions: Mapping[str, Sequence[tuple[int, int]]], trade_days: Sequence[tuple[int, int]] = ()) -> None:
        """`sessions`: (open_ns, close_ns) per symbol, in order; `trade_days`: (start_ns, YYYYMMDD), in order."""
        self._sessions = {symbol: sorted(spans) for symbol, spans in sessions.items()}
        self._days = sorted(trade_days)

    def session(self, symbol: str, ts_ns: int) -> tuple[int, int] | None:
        spans = self._sessions.get(symbol, [])
        i = bisect_right(spans, (ts_ns, INT64_MAX)) - 1
        return spans[i] if i >= 0 and ts_ns < spans[i][1] else None

    def next_session(self, symbol: str, ts_ns: int) -> tuple[int, int] | None:
        return next((span for span in self._sessions.get(symbol, []) if ts_ns < span[1]), None)

    def trade_day(self, ts_ns: int) -> tuple[int, int]:
        i = bisect_right(self._days, (ts_ns, INT64_MAX)) - 1
        until = self._days[i + 1][0] if i + 1 < len(self._days) else INT64_MAX
        return (self._days[i][1] if i >= 0 else 0), until


class CalendarHours:
    """Hours from the exchange calendars that the instruments name. The account's trade date is that of the first market with a close."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._calendars: dict[str, TradingCalendar] = {spec.symbol: calendar(spec.calendar) for spec in instruments}
        with_close = [market for market in self._calendars.values() if market.name != "always"]
        self._account = with_close[0] if with_close else calendar("always")

    def session(self, symbol: str, ts_ns: int) -> tuple[int, int] | None:
        session = self.next_session(symbol, ts_ns)
        return session if session is not None and session[0] <= ts_ns else None

    def next_session(self, symbol: str, ts_ns: int) -> tuple[int, int] | None:
        market = self._calendars.get(symbol)
        session = _session_from(market, ts_ns) if market else None
        if session is None or market is None:
            return None
        return ALWAYS if market.name == "always" else (session.open_ns, session.close_ns)

    def trade_day(self, ts_ns: int) -> tuple[int, int]:
        session = _session_from(self._account, ts_ns)
        if session is None:
            return 0, INT64_MAX
        day = session.trade_date
        return day.year * 10_000 + day.month * 100 + day.day, session.close_ns


def _session_from(market: TradingCalendar, ts_ns: int) -> Session | None:
    session = market.session_at(ts_ns)
    if session is not None:
        return session
    opens_ns = market.next_open(ts_ns)
    return market.session_at(opens_ns) if opens_ns is not None else None
