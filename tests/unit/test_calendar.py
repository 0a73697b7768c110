"""Sessions, daylight saving, half days, expiry and roll: what an engine or a gate may rely on."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark import calendar as calendars
from tidemark.calendar import calendar
from tidemark.errors import InputError
from tidemark.instruments import INSTRUMENTS

NS = 10**9
MARKETS = ("globex_equity", "globex_rate", "ice_dx")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * NS


def utc(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // NS, UTC).strftime("%Y-%m-%dT%H:%M")


def test_every_known_future_has_a_calendar() -> None:
    """An instrument whose calendar does not exist could never be traded, and would say so only at run time."""
    assert {calendar(spec.calendar).name for spec in INSTRUMENTS.values()} == set(MARKETS)


def test_an_unknown_calendar_is_refused_with_the_known_names() -> None:
    with pytest.raises(InputError, match="globex_equity, globex_rate, ice_dx, always"):
        calendar("nyse")


@pytest.mark.parametrize("market", ["globex_equity", "globex_rate"])
def test_thanksgiving_2026_closes_at_noon_chicago_and_the_friday_at_a_quarter_past(market: str) -> None:
    """The vector of the contract notes: 12:00 CT is 18:00 UTC."""
    thursday, friday = calendar(market).sessions(date(2026, 11, 26), date(2026, 11, 27))
    assert (utc(thursday.open_ns), utc(thursday.close_ns), thursday.early_close) == ("2026-11-25T23:00", "2026-11-26T18:00", True)
    assert (utc(friday.open_ns), utc(friday.close_ns), friday.early_close) == ("2026-11-26T23:00", "2026-11-27T18:15", True)
    assert calendar(market).is_open(ns("2026-11-26T17:59:59+00:00"))
    assert not calendar(market).is_open(ns("2026-11-26T18:00:00+00:00"))


def test_the_maintenance_break_is_closed_and_sunday_evening_is_monday() -> None:
    """Trade date is the date of the session's end; the hour from 16:00 belongs to nobody."""
    globex = calendar("globex_equity")
    assert not globex.is_open(ns("2026-11-24T16:00:00-06:00"))
    assert not globex.is_open(ns("2026-11-24T16:59:59-06:00"))
    assert globex.is_open(ns("2026-11-24T17:00:00-06:00"))
    sunday = globex.session_at(ns("2026-11-22T17:00:00-06:00"))
    assert sunday is not None
    assert sunday.trade_date == date(2026, 11, 23)
    assert not globex.is_open(ns("2026-11-21T12:00:00-06:00"))
    assert globex.next_open(ns("2026-11-20T16:00:00-06:00")) == ns("2026-11-22T17:00:00-06:00")


@pytest.mark.parametrize(
    ("sunday", "friday_close", "monday_open", "monday_close"),
    [
        ("2026-03-08", "2026-03-06T22:00", "2026-03-08T22:00", "2026-03-09T21:00"),
        ("2026-11-01", "2026-10-30T21:00", "2026-11-01T23:00", "2026-11-02T22:00"),
    ],
)
def test_clock_changes_move_the_session_in_utc_not_in_chicago(sunday: str, friday_close: str, monday_open: str, monday_close: str) -> None:
    """Both changes of 2026 fall into a closed market; the session keeps 23 hours."""
    day = date.fromisoformat(sunday)
    friday, monday = calendar("globex_equity").sessions(day - timedelta(days=2), day + timedelta(days=1))
    assert (utc(friday.close_ns), utc(monday.open_ns), utc(monday.close_ns)) == (friday_close, monday_open, monday_close)
    assert monday.close_ns - monday.open_ns == 23 * 3600 * NS


def test_the_dollar_index_has_its_own_hours() -> None:
    """20:00 (Sunday 18:00) to 17:00 New York; the break is three hours."""
    dollar = calendar("ice_dx")
    monday, tuesday = dollar.sessions(date(2026, 11, 23), date(2026, 11, 24))
    assert monday.open_ns == ns("2026-11-22T18:00:00-05:00")
    assert monday.close_ns == ns("2026-11-23T17:00:00-05:00")
    assert tuesday.open_ns == ns("2026-11-23T20:00:00-05:00")
    assert not dollar.is_open(ns("2026-11-23T17:30:00-05:00"))


def test_regular_hours_end_with_the_session_and_are_empty_where_it_closes_before_they_begin() -> None:
    """A feature that counts from the regular open must not count on a day that has none."""
    globex = calendar("globex_equity")
    (plain,), (half,), (good_friday,) = (globex.sessions(d, d) for d in (date(2026, 11, 24), date(2026, 11, 27), date(2026, 4, 3)))
    assert (plain.rth_open_ns, plain.rth_close_ns) == (ns("2026-11-24T08:30:00-06:00"), ns("2026-11-24T15:00:00-06:00"))
    assert half.rth_close_ns == half.close_ns == ns("2026-11-27T12:15:00-06:00")
    assert good_friday.rth_open_ns == good_friday.rth_close_ns == good_friday.close_ns == ns("2026-04-03T08:15:00-05:00")
    assert plain.is_rth(plain.rth_open_ns)
    assert not plain.is_rth(plain.rth_close_ns)


def test_outside_the_table_every_day_is_closed() -> None:
    """An unknown session must never be traded."""
    for market in MARKETS:
        assert not calendar(market).is_open(ns("2036-01-03T15:00:00+00:00"))
        assert not calendar(market).is_open(ns("1999-12-29T15:00:00+00:00"))
        assert calendar(market).next_open(ns("2036-01-03T15:00:00+00:00")) is None
        assert not calendar(market).covers(date(2036, 1, 1))
        assert calendar(market).sessions(date(2036, 1, 1), date(2036, 2, 1)) == []


def test_a_notice_of_today_overrides_the_table_without_changing_it_for_others() -> None:
    """An exchange announces a closure on short notice; the operator adds it to the run at hand."""
    day = date(2026, 11, 24)
    shut = calendar("globex_equity").with_exceptions({day: None, date(2026, 11, 25): time(9)})
    assert shut.session_on(day) is None
    early = shut.session_on(date(2026, 11, 25))
    assert early
    assert early.early_close
    assert calendar("globex_equity").session_on(day) is not None


def test_always_is_always_open_in_sessions_of_a_utc_day() -> None:
    """Sample data of coins and stocks has no exchange calendar."""
    for text in ("1970-01-01T00:00:00+00:00", "2026-12-25T13:00:00+00:00", "2200-01-01T00:00:00+00:00"):
        session = calendar("always").session_at(ns(text))
        assert session
        assert session.close_ns - session.open_ns == 86_400 * NS
        assert session.is_rth(ns(text))


instants = st.integers(ns("2000-01-01T00:00:00+00:00"), ns("2035-12-30T00:00:00+00:00"))


@given(ts_ns=instants, market=st.sampled_from(MARKETS))
def test_an_instant_is_either_in_one_session_or_before_the_next_open(ts_ns: int, market: str) -> None:
    """session_at, is_open, next_open and sessions are four views of one list."""
    here = calendar(market)
    day = datetime.fromtimestamp(ts_ns // NS, UTC).date()
    around = here.sessions(day - timedelta(days=2), day + timedelta(days=7))
    holding = [s for s in around if s.open_ns <= ts_ns < s.close_ns]
    assert here.session_at(ts_ns) == (holding[0] if holding else None)
    assert here.is_open(ts_ns) == bool(holding)
    assert here.next_open(ts_ns) == next((s.open_ns for s in around if s.open_ns > ts_ns), None)


@pytest.mark.parametrize("market", MARKETS)
def test_sessions_are_ordered_disjoint_and_regular_hours_lie_inside(market: str) -> None:
    """36 years at once; an overlap would give an event two trade dates."""
    listed = calendar(market).sessions(date(2000, 1, 1), date(2035, 12, 31))
    assert len(listed) > 36 * 250
    for session, after in zip(listed, listed[1:], strict=False):
        assert session.open_ns < session.rth_open_ns <= session.rth_close_ns <= session.close_ns < after.open_ns
        assert session.trade_date < after.trade_date


@pytest.mark.parametrize(
    ("contract", "last"),
    [("NQ-2026-12", "2026-12-18"), ("ES-2026-12", "2026-12-18"), ("ZN-2026-12", "2026-12-21"), ("DX-2026-12", "2026-12-14")],
)
def test_last_trade_dates_of_december_2026(contract: str, last: str) -> None:
    """The computed vectors of the contract notes."""
    assert calendars.last_trade_date(contract).isoformat() == last


def test_a_third_friday_without_a_stock_market_expires_the_day_before() -> None:
    """2026-06-19 is Juneteenth: the special opening quotation needs an open stock market."""
    assert calendars.last_trade_date("ES-2026-06") == date(2026, 6, 18)


def test_last_trades_are_at_the_exchanges_own_clocks() -> None:
    """09:30 New York, 12:01 Chicago, 10:16 New York."""
    assert calendars.last_trade_ns("NQ-2026-12") == ns("2026-12-18T09:30:00-05:00")
    assert calendars.last_trade_ns("ZN-2026-12") == ns("2026-12-21T12:01:00-06:00")
    assert calendars.last_trade_ns("DX-2026-12") == ns("2026-12-14T10:16:00-05:00")


def test_the_note_is_left_before_a_long_can_be_delivered_to() -> None:
    """First position day of December 2026 is 2026-11-27; on 2026-11-23 the front contract is March already."""
    assert calendars.first_position_date("ZN-2026-12") == date(2026, 11, 27)
    assert calendars.front_contract("ZN", date(2026, 11, 20)) == "ZN-2026-12"
    assert calendars.front_contract("ZN", date(2026, 11, 23)) == "ZN-2027-03"
    assert calendars.first_position_date("ES-2026-12") is None


@pytest.mark.parametrize(
    ("symbol", "day", "front"),
    [
        ("ES", "2026-12-14", "ES-2026-12"),
        ("ES", "2026-12-15", "ES-2027-03"),
        ("DX", "2026-12-04", "DX-2026-12"),
        ("DX", "2026-12-07", "DX-2027-03"),
        ("MNQ", "2026-01-02", "MNQ-2026-03"),
    ],
)
def test_front_contract_changes_on_the_roll_date(symbol: str, day: str, front: str) -> None:
    """Index futures three sessions before expiry, the dollar index five business days before."""
    assert calendars.front_contract(symbol, date.fromisoformat(day)) == front


@given(symbol=st.sampled_from(sorted(INSTRUMENTS)), day=st.dates(date(2001, 1, 1), date(2034, 12, 31)))
def test_the_front_contract_never_goes_back_and_is_never_about_to_expire(symbol: str, day: date) -> None:
    """A position in a contract past its roll is a delivery or a settlement that nobody decided on."""
    today, tomorrow = calendars.front_contract(symbol, day), calendars.front_contract(symbol, day + timedelta(days=1))
    assert tomorrow in (today, calendars.next_contract(today))
    assert day < calendars.roll_date(today) < calendars.last_trade_date(today)
    assert (tomorrow != today) == (day + timedelta(days=1) == calendars.roll_date(today))


def test_volume_moves_the_roll_forward_never_back() -> None:
    """Two sessions in a row with more volume in the next month, at the latest the roll date."""
    days = [date(2026, 12, d) for d in (7, 8, 9, 10, 11)]
    assert calendars.volume_roll_date("ES-2026-12", zip(days, [9, 5, 9, 5, 5], [5, 9, 5, 9, 9], strict=True)) == date(2026, 12, 14)
    assert calendars.volume_roll_date("ES-2026-12", zip(days, [9] * 5, [5] * 5, strict=True)) == date(2026, 12, 15)
    late = [date(2026, 12, d) for d in (15, 16)]
    assert calendars.volume_roll_date("ES-2026-12", zip(late, [1, 1], [2, 2], strict=True)) == date(2026, 12, 15)


@pytest.mark.parametrize("contract", ["ES-2026-11", "ES-26-12", "ES", "ES-2026-1a", "XX-2026-12"])
def test_a_contract_that_cannot_exist_is_refused(contract: str) -> None:
    with pytest.raises(InputError):
        calendars.last_trade_date(contract)


def test_business_days_outside_the_table_are_refused_not_guessed() -> None:
    with pytest.raises(InputError, match="2000-01-01 to 2035-12-31"):
        calendars.last_trade_date("ES-2036-03")
