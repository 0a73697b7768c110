"""When a market is open, and which contract is the front one. Answers from a committed table; needs no pandas at run time.

The table (`calendar_table.json`) holds only the days that differ from the regular week: `closed` and `early` come from
pandas_market_calendars, `exceptions` are the days where an exchange notice says otherwise, each with its source. A day outside the
table's range is closed: an unknown session must never be traded. Local times become UTC through zoneinfo, so daylight saving is the
time-zone database's business. Halts inside a session (price limits, security status) are the feed's.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from tidemark.errors import bad_input
from tidemark.instruments import lookup
from tidemark.units import NS_PER_DAY, NS_PER_S

CLOSED = "closed"
ONE_DAY = timedelta(days=1)
SATURDAY, SUNDAY = 5, 6
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Hours:
    """The regular week of one market, in its exchange's local time. A session opens on the day before its trade date."""

    zone: str
    open: time
    open_sunday: time
    close: time
    rth_open: time
    rth_close: time


@dataclass(frozen=True, slots=True)
class Session:
    """One trading session, UTC nanoseconds, half open: open_ns <= t < close_ns. `trade_date` is the local date of its end.

    Regular trading hours end with the session where it closes early; where it closes before they begin, they are empty (both at close_ns).
    """

    trade_date: date
    open_ns: int
    close_ns: int
    rth_open_ns: int
    rth_close_ns: int
    early_close: bool

    def contains(self, ts_ns: int) -> bool:
        return self.open_ns <= ts_ns < self.close_ns

    def is_rth(self, ts_ns: int) -> bool:
        return self.rth_open_ns <= ts_ns < self.rth_close_ns


_GLOBEX = Hours("America/Chicago", time(17), time(17), time(16), time(8, 30), time(15))
HOURS: Mapping[str, Hours] = {
    # Globex, Sunday 17:00 to Friday 16:00 Chicago with a break of an hour a day. Source: exchange contract specifications.
    "globex_equity": _GLOBEX,
    "globex_rate": _GLOBEX,
    # ICE Futures U.S. Dollar Index: 20:00 (Sunday 18:00) to 17:00 New York. Source: exchange product page.
    "ice_dx": Hours("America/New_York", time(20), time(18), time(17), time(9, 30), time(16)),
}
NAMES: tuple[str, ...] = (*HOURS, "always")


class TradingCalendar:
    """Sessions of one market. Sessions are worked out on demand and kept, so a question costs a few microseconds."""

    def __init__(self, name: str, hours: Hours, closes: Mapping[date, time | None], first: date, last: date) -> None:
        """`closes`: local close of every day that differs from the regular week, None for closed all day."""
        self.name = name
        self.first = first
        self.last = last
        self._hours = hours
        self._zone = ZoneInfo(hours.zone)
        self._closes = dict(closes)
        self._sessions: dict[date, Session | None] = {}

    def with_exceptions(self, closes: Mapping[date, time | None]) -> "TradingCalendar":
        """The same market with the days of an exchange notice on top: a local close, or None for closed all day."""
        return TradingCalendar(self.name, self._hours, {**self._closes, **closes}, self.first, self.last)

    def covers(self, day: date) -> bool:
        """Whether the table knows this day. Outside it everything is closed, which deserves an alert."""
        return self.first <= day <= self.last

    def session_on(self, trade_date: date) -> Session | None:
        """The session that ends on `trade_date`, None where there is none."""
        if trade_date not in self._sessions:
            self._sessions[trade_date] = self._make(trade_date)
        return self._sessions[trade_date]

    def session_at(self, ts_ns: int) -> Session | None:
        """The session that contains the instant, None while the market is closed."""
        day = self._local_date(ts_ns)
        for candidate in (day, day + ONE_DAY):
            session = self.session_on(candidate)
            if session is not None and session.contains(ts_ns):
                return session
        return None

    def is_open(self, ts_ns: int) -> bool:
        return self.session_at(ts_ns) is not None

    def next_open(self, ts_ns: int) -> int | None:
        """Open of the first session that opens after the instant; None when the table ends first."""
        day = max(self._local_date(ts_ns), self.first)
        while day <= self.last:
            session = self.session_on(day)
            if session is not None and session.open_ns > ts_ns:
                return session.open_ns
            day += ONE_DAY
        return None

    def sessions(self, from_date: date, to_date: date) -> list[Session]:
        """Sessions whose trade date lies in [from_date, to_date], in order."""
        first, last = max(from_date, self.first), min(to_date, self.last)
        days = (first + timedelta(days=i) for i in range((last - first).days + 1))
        return [session for session in map(self.session_on, days) if session is not None]

    def _local_date(self, ts_ns: int) -> date:
        return datetime.fromtimestamp(ts_ns // NS_PER_S, self._zone).date()

    def _make(self, trade_date: date) -> Session | None:
        if not self.covers(trade_date) or trade_date.weekday() in (SATURDAY, SUNDAY):
            return None
        hours = self._hours
        close = self._closes.get(trade_date, hours.close)
        if close is None:
            return None
        eve = trade_date - ONE_DAY
        close_ns = self._utc_ns(trade_date, close)
        return Session(
            trade_date=trade_date,
            open_ns=self._utc_ns(eve, hours.open_sunday if eve.weekday() == SUNDAY else hours.open),
            close_ns=close_ns,
            rth_open_ns=min(self._utc_ns(trade_date, hours.rth_open), close_ns),
            rth_close_ns=min(self._utc_ns(trade_date, hours.rth_close), close_ns),
            early_close=close < hours.close,
        )

    def _utc_ns(self, day: date, clock: time) -> int:
        return int(datetime.combine(day, clock, self._zone).timestamp()) * NS_PER_S


class AlwaysOpen(TradingCalendar):
    """A market without a close (coins, sample data): one session per UTC day, regular hours all day."""

    def __init__(self) -> None:
        super().__init__("always", Hours("UTC", time(0), time(0), time(0), time(0), time(0)), {}, date(1678, 1, 1), date(2262, 4, 10))

    def with_exceptions(self, closes: Mapping[date, time | None]) -> TradingCalendar:
        """Raises InputError: a market that never closes has no exceptions."""
        raise bad_input("calendar", "exceptions", sorted(closes), "none for the calendar 'always'")

    def _make(self, trade_date: date) -> Session | None:
        open_ns = (trade_date - _EPOCH).days * NS_PER_DAY
        close_ns = open_ns + NS_PER_DAY
        return Session(trade_date, open_ns, close_ns, open_ns, close_ns, False) if self.covers(trade_date) else None


@lru_cache(maxsize=len(NAMES))
def calendar(name: str) -> TradingCalendar:
    """The calendar of that name (see `NAMES`). Raises InputError on any other."""
    if name == "always":
        return AlwaysOpen()
    if name not in HOURS:
        raise bad_input("calendar", "name", name, f"one of {', '.join(NAMES)}")
    table = _table()
    market = table["markets"][name]
    closes: dict[date, time | None] = {date.fromisoformat(day): None for day in market["closed"]}
    for clock, days in market["early"].items():
        closes.update({date.fromisoformat(day): time.fromisoformat(clock) for day in days})
    for notice in table["exceptions"]:
        if notice["market"] == name:
            close = None if notice["close"] == CLOSED else time.fromisoformat(notice["close"])
            closes.update({date.fromisoformat(day): close for day in notice["days"]})
    return TradingCalendar(name, HOURS[name], closes, date.fromisoformat(table["first"]), date.fromisoformat(table["last"]))


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("tidemark").joinpath("calendar_table.json").read_text("utf-8"))
    return table


# --- contracts: expiry and roll -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Expiry:
    """When the last trade of a family's contract is, local clock, and how many business days ahead of it (or of delivery) we leave."""

    clock: time
    zone: str
    roll_days: int


_INDEX = _Expiry(time(9, 30), "America/New_York", 3)
_NOTE = _Expiry(time(12, 1), "America/Chicago", 3)  # counted from first position day: a long could be delivered to
_DOLLAR = _Expiry(time(10, 16), "America/New_York", 5)
_EXPIRIES = {"globex_equity": _INDEX, "globex_rate": _NOTE, "ice_dx": _DOLLAR}
MONTH_CODES = "FGHJKMNQUVXZ"
VOLUME_ROLL_SESSIONS = 2  # next month's volume must lead for this many sessions in a row


def contract_id(symbol: str, year: int, month: int) -> str:
    """Canonical name of a contract, e.g. `ES-2026-12`."""
    return f"{symbol}-{year:04d}-{month:02d}"


def parse_contract(contract: str) -> tuple[str, int, int]:
    """(symbol, year, month) of a canonical name. Raises InputError when it is not a month of that future's cycle."""
    symbol, _, rest = contract.partition("-")
    year, _, month = rest.partition("-")
    months = delivery_months(symbol)
    if not (len(year) == 4 and year.isdecimal() and len(month) == 2 and month.isdecimal() and int(month) in months):
        raise bad_input("contract", "id", contract, f"{symbol}-YYYY-MM with MM in {', '.join(f'{m:02d}' for m in months)}")
    return symbol, int(year), int(month)


def delivery_months(symbol: str) -> tuple[int, ...]:
    """Months (1 to 12) in which contracts of a known future expire."""
    return tuple(MONTH_CODES.index(code) + 1 for code in lookup(symbol).months)


def last_trade_date(contract: str) -> date:
    """Last trading day. Source: exchange contract specifications.

    Index futures: third Friday, or the business day before where that is a holiday (the settlement needs an opening of the stock market).
    Ten-year note: seven business days before the month's last business day. Dollar index: two before the third Wednesday.
    """
    symbol, year, month = parse_contract(contract)
    match lookup(symbol).calendar:
        case "globex_equity":
            return business_day_on_or_before(_nth_weekday(year, month, weekday=4, n=3))
        case "globex_rate":
            return business_days_before(business_day_on_or_before(_first_of_next(year, month) - ONE_DAY), 7)
        case _:
            return business_days_before(_nth_weekday(year, month, weekday=2, n=3), 2)


def last_trade_ns(contract: str) -> int:
    """Instant of the last trade, UTC nanoseconds."""
    expiry = _EXPIRIES[lookup(parse_contract(contract)[0]).calendar]
    return int(datetime.combine(last_trade_date(contract), expiry.clock, ZoneInfo(expiry.zone)).timestamp()) * NS_PER_S


def first_position_date(contract: str) -> date | None:
    """Ten-year note: first day on which a long may be assigned delivery, two business days before the month begins. None otherwise."""
    symbol, year, month = parse_contract(contract)
    return business_days_before(date(year, month, 1), 2) if lookup(symbol).calendar == "globex_rate" else None


@lru_cache(maxsize=1024)
def roll_date(contract: str) -> date:
    """First trade date on which the next contract is the front one, at the latest; volume may move it forward (`volume_roll_date`)."""
    expiry = _EXPIRIES[lookup(parse_contract(contract)[0]).calendar]
    return business_days_before(first_position_date(contract) or last_trade_date(contract), expiry.roll_days)


def front_contract(symbol: str, on: date) -> str:
    """The contract that we trade on a trade date: the nearest whose roll date is still ahead."""
    year, months = on.year, delivery_months(symbol)
    while True:
        for month in months:
            contract = contract_id(symbol, year, month)
            if (year, month) >= (on.year, on.month) and on < roll_date(contract):
                return contract
        year += 1


def next_contract(contract: str) -> str:
    """The contract after this one in its cycle."""
    symbol, year, month = parse_contract(contract)
    months = delivery_months(symbol)
    i = months.index(month) + 1
    return contract_id(symbol, year, months[i]) if i < len(months) else contract_id(symbol, year + 1, months[0])


def volume_roll_date(contract: str, volumes: Iterable[tuple[date, int, int]]) -> date:
    """When to leave `contract`, from daily volumes (trade date, front, next) in order: the business day after next has led for
    `VOLUME_ROLL_SESSIONS` sessions in a row, at the latest `roll_date`.
    """
    latest = roll_date(contract)
    led = 0
    for day, front_volume, next_volume in volumes:
        led = led + 1 if next_volume > front_volume else 0
        if led == VOLUME_ROLL_SESSIONS:
            return min(latest, business_day_after(day))
    return latest


@lru_cache(maxsize=1)
def _business_holidays() -> frozenset[date]:
    return frozenset(date.fromisoformat(day) for day in _table()["business_holidays"])


def is_business_day(day: date) -> bool:
    """A weekday that counts for expiry and delivery. Raises InputError outside the table, where holidays are unknown."""
    table = _table()
    if not table["first"] <= day.isoformat() <= table["last"]:
        raise bad_input("calendar", "date", day.isoformat(), f"a day from {table['first']} to {table['last']}", "rebuild the table")
    return day.weekday() not in (SATURDAY, SUNDAY) and day not in _business_holidays()


def business_day_on_or_before(day: date) -> date:
    while not is_business_day(day):
        day -= ONE_DAY
    return day


def business_day_after(day: date) -> date:
    day += ONE_DAY
    while not is_business_day(day):
        day += ONE_DAY
    return day


def business_days_before(day: date, count: int) -> date:
    """The business day that comes `count` business days before `day`; `day` itself is not counted."""
    for _ in range(count):
        day = business_day_on_or_before(day - ONE_DAY)
    return day


def _nth_weekday(year: int, month: int, *, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


def _first_of_next(year: int, month: int) -> date:
    return date(year + month // 12, month % 12 + 1, 1)
