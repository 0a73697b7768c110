"""Times of a source as nanoseconds UTC: integers of a stated unit, or texts and columns that carry their zone. Nothing is guessed."""

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemark.adapters.dataset.faults import Reason
from tidemark.adapters.dataset.numbers import Converted, from_column
from tidemark.book.quality import TS_NS_MAX
from tidemark.errors import bad_input
from tidemark.events import I64
from tidemark.units import NS_PER_DAY, NS_PER_MS, NS_PER_S, NS_PER_US

UNITS_NS: dict[str, int] = {"ns": 1, "us": NS_PER_US, "ms": NS_PER_MS, "s": NS_PER_S}
EARLIEST_NS = 20 * 365 * NS_PER_DAY  # 1989-12-27; electronic books are younger. Smaller numbers are in another unit
_ZONED = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?", re.ASCII)


def time_unit_ns(name: str) -> int:
    """Nanoseconds of a unit's name. Raises InputError."""
    if name not in UNITS_NS:
        raise bad_input("--time-unit", "unit", name, f"one of {', '.join(UNITS_NS)}")
    return UNITS_NS[name]


def from_time_column(column: Any, unit_ns: int) -> Converted:
    """Nanoseconds UTC of a column of integers or decimals in `unit_ns`, of zoned texts, or of zoned Arrow timestamps."""
    if pa.types.is_timestamp(column.type):
        return _from_timestamps(column)
    values, codes = from_column(column, Fraction(1, unit_ns))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        for row in np.flatnonzero(codes == Reason.NOT_A_NUMBER).tolist():
            values[row], codes[row] = _from_clock_text(column[row].as_py() or "")
    codes = np.where(codes == Reason.OFF_GRID, Reason.NOT_A_TIME, codes)
    codes = np.where(codes == Reason.NOT_A_NUMBER, Reason.NOT_A_TIME, codes)
    implausible = ((values < EARLIEST_NS) | (values > TS_NS_MAX)) & (codes == Reason.OK)
    codes = np.where(implausible | (codes == Reason.OUT_OF_RANGE), Reason.TIME_UNIT, codes)
    return values, codes.astype(np.int8)


def likely_unit(number: int) -> str | None:
    """Name of the one unit in which an integer time is plausible, if there is exactly one."""
    fitting = [name for name, ns in UNITS_NS.items() if EARLIEST_NS <= number * ns <= TS_NS_MAX]
    return fitting[0] if len(fitting) == 1 else None


def _from_timestamps(column: Any) -> Converted:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if column.type.tz is None:
        return np.zeros(len(column), np.int64), np.where(missing, Reason.EMPTY_CELL, Reason.NAIVE_TIME).astype(np.int8)
    scale = UNITS_NS[column.type.unit]
    raw: I64 = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    plausible = (raw >= EARLIEST_NS // scale) & (raw <= TS_NS_MAX // scale)
    values = np.where(plausible, raw, 0) * scale
    return values, np.where(missing, Reason.EMPTY_CELL, np.where(plausible, Reason.OK, Reason.TIME_UNIT)).astype(np.int8)


def _from_clock_text(text: str) -> tuple[int, Reason]:
    text = text.strip()
    if _NAIVE.fullmatch(text):
        return 0, Reason.NAIVE_TIME
    if not _ZONED.fullmatch(text):
        return 0, Reason.NOT_A_TIME
    try:
        return int(pa.scalar(text).cast(pa.timestamp("ns", "UTC")).value), Reason.OK
    except pa.ArrowInvalid:  # the thirtieth of February
        return 0, Reason.NOT_A_TIME
