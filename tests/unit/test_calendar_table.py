"""The committed table equals pandas_market_calendars, day by day over 36 years, but for the notices it lists.

Run as a program it rebuilds the table's library part and keeps the notices: `python tests/unit/test_calendar_table.py`.
"""

import json
from datetime import date, time, timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from real_data import skip_or_fail
from tidemark import calendar as calendars

TABLE = Path(calendars.__file__).with_name("calendar_table.json")
FIRST, LAST = date(2000, 1, 1), date(2035, 12, 31)
LIBRARY_NAMES = {"globex_equity": "CME Globex Equity", "globex_rate": "CME_Bond", "ice_dx": "ICEUS"}
# The library's ICE calendar runs 20:01 to 18:00 for all of ICE; the dollar index closes at 17:00, so a later close is a regular one.
REGULAR_CLOSE = {"globex_equity": time(16), "globex_rate": time(16), "ice_dx": time(17)}


@lru_cache(maxsize=4)
def library_closes(market: str) -> dict[date, time]:
    """Local close of every session of the library's calendar, cut at the market's regular close."""
    if find_spec("pandas_market_calendars") is None:
        skip_or_fail("pandas_market_calendars is not installed")
    from pandas_market_calendars import get_calendar

    schedule = get_calendar(LIBRARY_NAMES[market]).schedule(FIRST, LAST)
    local = schedule.market_close.dt.tz_convert(calendars.HOURS[market].zone)
    return {day.date(): min(close.time(), REGULAR_CLOSE[market]) for day, close in local.items()}


def weekdays() -> list[date]:
    days = (FIRST + timedelta(days=i) for i in range((LAST - FIRST).days + 1))
    return [day for day in days if day.weekday() < 5]


def library_table(market: str) -> dict[str, Any]:
    closes = library_closes(market)
    early: dict[str, list[str]] = {}
    for day, close in closes.items():
        if close < REGULAR_CLOSE[market]:
            early.setdefault(close.strftime("%H:%M"), []).append(day.isoformat())
    closed = [day.isoformat() for day in weekdays() if day not in closes]
    return {"closed": closed, "early": {clock: early[clock] for clock in sorted(early)}}


def library_business_holidays() -> list[str]:
    from pandas_market_calendars import get_calendar

    open_days = {day.date() for day in get_calendar("CME_TradeDate").schedule(FIRST, LAST).index}
    return [day.isoformat() for day in weekdays() if day not in open_days]


def committed() -> dict[str, Any]:
    return json.loads(TABLE.read_text("utf-8"))


def rebuild() -> None:
    notices = committed()["exceptions"] if TABLE.exists() else []
    table = {
        "source": "pandas_market_calendars 5.5.0, rebuilt by tests/unit/test_calendar_table.py; exceptions by hand, each with its source",
        "first": FIRST.isoformat(),
        "last": LAST.isoformat(),
        "markets": {market: library_table(market) for market in LIBRARY_NAMES},
        "business_holidays": library_business_holidays(),
        "exceptions": notices,
    }
    TABLE.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def noticed(market: str) -> dict[date, str]:
    """Day → close by notice."""
    return {date.fromisoformat(day): n["close"] for n in committed()["exceptions"] if n["market"] == market for day in n["days"]}


@pytest.mark.parametrize("market", LIBRARY_NAMES)
def test_every_session_is_the_librarys_but_for_the_notices(market: str) -> None:
    """A holiday that we do not know is a day on which orders would go to a closed market."""
    ours = calendars.calendar(market)
    zone = ZoneInfo(calendars.HOURS[market].zone)
    library, notices = library_closes(market), noticed(market)
    differing = []
    for day in weekdays():
        session = ours.session_on(day)
        close = None if session is None else _local_time(session.close_ns, zone)
        if day in notices:
            assert close == (None if notices[day] == "closed" else time.fromisoformat(notices[day]))
        elif close != library.get(day):
            differing.append((day, close, library.get(day)))
    assert differing == []


@pytest.mark.parametrize("market", LIBRARY_NAMES)
def test_a_notice_says_something_the_library_does_not(market: str) -> None:
    """An exception that agrees with the library is stale and would hide the library's later correction."""
    library = library_closes(market)
    agreeing = [
        day
        for day, close in noticed(market).items()
        if (close == "closed" and day not in library) or (close != "closed" and library.get(day) == time.fromisoformat(close))
    ]
    assert agreeing == []


@pytest.mark.parametrize(("market", "name"), [("globex_equity", "CME Globex Equity"), ("globex_rate", "CME_Bond")])
def test_opens_and_closes_are_the_librarys_to_the_nanosecond(market: str, name: str) -> None:
    """The instants, not only the clock times: both sides go through daylight saving on their own."""
    if find_spec("pandas_market_calendars") is None:
        skip_or_fail("pandas_market_calendars is not installed")
    from pandas_market_calendars import get_calendar

    schedule = get_calendar(name).schedule(FIRST, LAST)
    notices = noticed(market)
    expected = [
        (day.date(), int(row.market_open.timestamp()) * 10**9, int(row.market_close.timestamp()) * 10**9)
        for day, row in schedule.iterrows()
        if day.date() not in notices
    ]
    actual = [
        (s.trade_date, s.open_ns, s.close_ns) for s in calendars.calendar(market).sessions(FIRST, LAST) if s.trade_date not in notices
    ]
    assert actual == expected


def test_the_committed_table_is_what_the_library_gives_today() -> None:
    """A new library version with other holidays fails here, and the table is rebuilt on purpose, not by accident."""
    table = committed()
    for market in LIBRARY_NAMES:
        assert table["markets"][market] == library_table(market)
    assert table["business_holidays"] == library_business_holidays()


def test_every_notice_has_a_reason_and_a_source() -> None:
    """Nobody has to believe a deviation."""
    for notice in committed()["exceptions"]:
        assert notice["market"] in LIBRARY_NAMES
        assert notice["days"]
        assert notice["reason"]
        assert notice["source"]


def _local_time(ts_ns: int, zone: ZoneInfo) -> time:
    from datetime import datetime

    return datetime.fromtimestamp(ts_ns // 10**9, zone).time()


if __name__ == "__main__":
    rebuild()
