"""Prices, money and times are whole numbers; what is off the grid is refused."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.errors import InputError
from tidemark.instruments import INSTRUMENTS, Instrument, lookup
from tidemark.units import Side, decimal_text, to_price, to_ticks, usd_to_micros

ZN_TICK = INSTRUMENTS["ZN"].tick_size


@pytest.mark.parametrize(("price", "ticks"), [("110.609375", 7079), ("110", 7040), ("109.984375", 7039)])
def test_zn_prices_convert_exactly(price: str, ticks: int) -> None:
    """Vectors of the contract sheet: a decimal(10,2) column could not hold these."""
    assert to_ticks(price, ZN_TICK) == ticks
    assert to_price(ticks, ZN_TICK) == Decimal(price)


@given(symbol=st.sampled_from(sorted(INSTRUMENTS)), ticks=st.integers(-(10**9), 10**9))
def test_ticks_survive_a_round_trip_through_decimal_text(symbol: str, ticks: int) -> None:
    """Whatever goes out as text comes back as the same tick."""
    tick_size = INSTRUMENTS[symbol].tick_size
    assert to_ticks(str(to_price(ticks, tick_size)), tick_size) == ticks


@pytest.mark.parametrize("bad", ["110.61", "nan", "inf", "", "1,5", "abc", "1e400"])
def test_prices_off_the_grid_or_not_numbers_are_refused(bad: str) -> None:
    """A broker rejects an off-tick price; rounding it silently would hide the fault."""
    with pytest.raises(InputError, match="price"):
        to_ticks(bad, ZN_TICK)


@pytest.mark.parametrize("bad", [1.5, True, float("nan")])
def test_floats_and_booleans_never_become_prices(bad: object) -> None:
    """A binary float has already lost the price."""
    with pytest.raises(InputError, match="never a float"):
        to_ticks(bad, ZN_TICK)  # type: ignore[arg-type]


def test_money_finer_than_a_micro_dollar_is_refused() -> None:
    """15.625 dollars are 15,625,000 micro-dollars; a tenth of a micro-dollar does not exist."""
    assert usd_to_micros("15.625") == 15_625_000
    with pytest.raises(InputError, match="multiple"):
        usd_to_micros("0.0000001")


def test_a_side_times_a_quantity_is_signed() -> None:
    """No string is ever compared with "buy"."""
    assert (Side.BUY * 3, Side.SELL * 3, Side.BUY.opposite) == (3, -3, Side.SELL)


@pytest.mark.parametrize(
    ("symbol", "tick", "value_micros"),
    [
        ("NQ", "0.25", 5_000_000),
        ("ES", "0.25", 12_500_000),
        ("YM", "1", 5_000_000),
        ("ZN", "0.015625", 15_625_000),
        ("DX", "0.005", 5_000_000),
    ],
)
def test_contract_specifications_match_the_exchanges(symbol: str, tick: str, value_micros: int) -> None:
    """Tick and tick value of the contract sheet."""
    assert (decimal_text(lookup(symbol).tick_size), lookup(symbol).tick_value_micros) == (tick, value_micros)


@pytest.mark.parametrize("symbol", sorted(INSTRUMENTS))
def test_an_instrument_survives_its_manifest(symbol: str) -> None:
    """A data set describes its instruments completely."""
    assert Instrument.from_manifest(INSTRUMENTS[symbol].to_manifest()) == INSTRUMENTS[symbol]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tick_size": "0"}, "tick_size"),
        ({"tick_size": "nan"}, "tick_size"),
        ({"tick_value_micros": 1.5}, "tick_value_micros"),
        ({"tick_value_micros": True}, "tick_value_micros"),
        ({"qty_step": "-1"}, "qty_step"),
        ({"contract_kind": "swap"}, "contract_kind"),
        ({"tick": "0.25"}, "tick"),
    ],
)
def test_a_wrong_manifest_entry_is_named(change: dict[str, object], field: str) -> None:
    """The message says which field, what it was and what is allowed."""
    with pytest.raises(InputError, match=f"{field}: got"):
        Instrument.from_manifest({**INSTRUMENTS["ES"].to_manifest(), **change})


def test_an_unknown_symbol_lists_the_known_ones() -> None:
    """One line that tells what to do."""
    with pytest.raises(InputError, match="expected one of NQ, MNQ, ES"):
        lookup("SPX")
    assert lookup("MES").tick_size == Fraction(1, 4)
