"""Units of the order and money path: ticks, contracts, micro-dollars, nanoseconds UTC. All integers.

One conversion each way, from decimal text; a value off the grid raises, nothing is rounded silently.
"""

from decimal import Decimal, InvalidOperation
from enum import IntEnum
from fractions import Fraction

from tidemark.errors import bad_input

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_MIN = 60 * NS_PER_S
NS_PER_HOUR = 3_600 * NS_PER_S
NS_PER_DAY = 24 * NS_PER_HOUR
MICROS_PER_USD = 1_000_000
BPS_PER_ONE = 10_000
PPM_PER_ONE = 1_000_000
INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
NO_PRICE = INT64_MIN
"""Price of an empty book level; its size is 0."""


class Side(IntEnum):
    """Direction of an order or an aggressor; `side * qty` is signed."""

    BUY = 1
    SELL = -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


def to_decimal(text: str | int | Decimal, *, source: str = "value", field: str = "number") -> Decimal:
    """Exact decimal from text or int. Raises InputError on floats, NaN, infinities and anything else."""
    if isinstance(text, bool | float):
        raise bad_input(source, field, text, "decimal text or an integer, never a float")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise bad_input(source, field, text, "a decimal number") from None
    if not value.is_finite():
        raise bad_input(source, field, text, "a finite number")
    return value


def to_ticks(price: str | int | Decimal, tick_size: Fraction, *, source: str = "price") -> int:
    """Price as a whole number of ticks. Raises InputError when the price is off the tick grid or outside int64."""
    ticks = Fraction(to_decimal(price, source=source, field="price")) / tick_size
    if ticks.denominator != 1:
        raise bad_input(source, "price", str(price), f"a multiple of the tick {decimal_text(tick_size)}")
    return require_int64(ticks.numerator, source=source, field="price")


def to_price(ticks: int, tick_size: Fraction) -> Decimal:
    """Price of `ticks`, exact: tick sizes are decimal fractions."""
    value = ticks * tick_size
    return Decimal(value.numerator) / Decimal(value.denominator)


def decimal_text(value: Fraction) -> str:
    """Shortest exact decimal text of a decimal fraction, e.g. 1/64 → `0.015625`."""
    return format((Decimal(value.numerator) / Decimal(value.denominator)).normalize(), "f")


def usd_to_micros(usd: str | int | Decimal) -> int:
    """Whole micro-dollars; raises InputError when the amount is finer than a micro-dollar."""
    micros = to_decimal(usd, field="amount") * MICROS_PER_USD
    if micros != micros.to_integral_value():
        raise bad_input("amount", "usd", str(usd), "a multiple of 0.000001")
    return require_int64(int(micros), source="amount", field="usd")


def require_int64(value: int, *, source: str, field: str) -> int:
    """`value`, if it fits int64; money and prices that do not are refused, never wrapped."""
    if not INT64_MIN < value <= INT64_MAX:
        raise bad_input(source, field, value, "an integer within int64")
    return value
