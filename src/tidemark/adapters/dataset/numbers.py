"""Numbers of a source as whole counts of a unit, exactly: decimal text through integers and fractions, never through floats.

Floats of vendors' Parquet files are accepted when they lie on the grid to within their own precision; nothing is rounded silently.
Every function returns (values int64, codes): a code is a `Reason`, and where it is not OK the value means nothing.
"""

import re
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidemark.adapters.dataset.faults import Reason
from tidemark.events import I8, I64
from tidemark.units import INT64_MAX, INT64_MIN

Converted = tuple[I64, I8]
FRACTION_DIGITS = 9
NANO = 10**FRACTION_DIGITS
_INTEGER = r"^-?\d{1,18}$"  # 18 digits always fit int64
_DECIMAL = rf"^-?\d{{1,9}}\.\d{{1,{FRACTION_DIGITS}}}$"
_ANY_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
CELL_CHARS_MAX = 64
EXPONENT_MAX = 30  # text such as 1e999 must not become an integer of a thousand digits
FLOAT_UNITS_MAX = 2.0**40  # beyond, a double is too coarse to tell neighbouring ticks apart with a margin
RESIDUAL_MAX = 1e-6  # of a unit


def from_text(cells: Any, unit: Fraction) -> Converted:
    """Decimal texts (Arrow string array) as counts of `unit`."""
    values, codes = np.zeros(len(cells), np.int64), np.full(len(cells), Reason.NOT_A_NUMBER, np.int8)
    integer, decimal = (_mask(pc.match_substring_regex(cells, pattern)) for pattern in (_INTEGER, _DECIMAL))
    if integer.any():
        whole = cells.filter(pa.array(integer)).cast(pa.int64()).to_numpy()
        values[integer], codes[integer] = from_integers(whole, unit)
    step = unit * NANO
    if decimal.any() and step.denominator == 1:
        # Nine digits before the point and nine after: the unscaled 128-bit decimal is its low 64 bits.
        scaled = cells.filter(pa.array(decimal)).cast(pa.decimal128(2 * FRACTION_DIGITS, FRACTION_DIGITS))
        nanos = np.frombuffer(scaled.buffers()[1], np.int64)[::2][: len(scaled)]
        values[decimal], remainder = np.divmod(nanos, step.numerator)
        codes[decimal] = np.where(remainder == 0, Reason.OK, Reason.OFF_GRID)
        integer = integer | decimal
    for row in np.flatnonzero(~integer).tolist():  # blanks, exponents, long fractions, nonsense
        values[row], codes[row] = _from_cell(cells[row].as_py(), unit)
    return values, codes


def from_integers(numbers: I64, unit: Fraction) -> Converted:
    """Whole numbers as counts of `unit`."""
    limit = INT64_MAX // max(unit.denominator, 1)
    fits = (numbers <= limit) & (numbers >= -limit)
    values, remainder = np.divmod(np.where(fits, numbers, 0) * unit.denominator, unit.numerator)
    codes = np.where(fits, np.where(remainder == 0, Reason.OK, Reason.OFF_GRID), Reason.OUT_OF_RANGE)
    return values, codes.astype(np.int8)


def from_floats(numbers: npt.NDArray[np.float64], unit: Fraction) -> Converted:
    """Doubles as counts of `unit`; NaN is an empty cell, an infinity is not a number."""
    units = numbers / float(unit)
    finite = np.isfinite(units)
    in_range = finite & (np.abs(units) <= FLOAT_UNITS_MAX)
    safe = np.where(in_range, units, 0.0)
    nearest = np.rint(safe)
    # The double of a decimal price and that of the tick are each right to half an ulp; four of them are ample.
    off_grid = np.abs(safe - nearest) > RESIDUAL_MAX + 4 * np.spacing(np.abs(safe))
    codes = np.where(off_grid, Reason.OFF_GRID, Reason.OK)
    codes = np.where(in_range, codes, Reason.OUT_OF_RANGE)
    codes = np.where(finite, codes, np.where(np.isnan(numbers), Reason.EMPTY_CELL, Reason.NOT_A_NUMBER))
    return nearest.astype(np.int64), codes.astype(np.int8)


def from_column(column: Any, unit: Fraction) -> Converted:
    """Any Arrow column of numbers or text as counts of `unit`; nulls are empty cells. Other types are all NOT_A_NUMBER."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return from_text(pc.fill_null(column, ""), unit)
    if pa.types.is_decimal(kind):
        return from_text(pc.fill_null(column.cast(pa.string()), ""), unit)
    missing = _mask(column.is_null())
    if pa.types.is_floating(kind):
        return from_floats(column.cast(pa.float64()).to_numpy(zero_copy_only=False), unit)
    if not pa.types.is_integer(kind):
        return np.zeros(len(column), np.int64), np.full(len(column), Reason.NOT_A_NUMBER, np.int8)
    if kind == pa.uint64():
        return from_text(pc.fill_null(column.cast(pa.string()), ""), unit)
    values, codes = from_integers(pc.fill_null(column, 0).cast(pa.int64()).to_numpy(), unit)
    return values, np.where(missing, Reason.EMPTY_CELL, codes).astype(np.int8)


def _from_cell(text: str, unit: Fraction) -> tuple[int, Reason]:
    text = text.strip()
    if not text:
        return 0, Reason.EMPTY_CELL
    if len(text) > CELL_CHARS_MAX or _NOT_FINITE.fullmatch(text) or not _ANY_NUMBER.fullmatch(text):
        return 0, Reason.NOT_A_NUMBER
    exponent = text.lower().partition("e")[2]
    if exponent and abs(int(exponent)) > EXPONENT_MAX:
        return 0, Reason.OUT_OF_RANGE
    units = Fraction(text) / unit
    if units.denominator != 1:
        return 0, Reason.OFF_GRID
    in_range = INT64_MIN <= units.numerator <= INT64_MAX
    return (units.numerator, Reason.OK) if in_range else (0, Reason.OUT_OF_RANGE)


def _mask(array: Any) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask
