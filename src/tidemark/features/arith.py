"""Exponential and logarithm from additions, multiplications and tables, so that every machine and both kernel forms agree to the bit.

The C library's `exp` differs in the last digit between systems, and a decay that feeds itself turns that digit into another stream of
features. Tables are built from exactly rounded operations only. The kernels take them as an argument: arrays when compiled, lists when not.
"""

import math
from decimal import Context, Decimal
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tidemark.jit import scan_kernel

F64 = npt.NDArray[np.float64]

LN_ENTRIES: Final = 8_192
"""ln(1 + k) for k below this is a look-up: book sizes, which are 20 of our logarithms per event. 64 KiB; chosen to stay in the L2 cache."""
_STEPS: Final = 64  # table steps per unit
_EXP_X_MAX: Final = 700.0  # e^-700 is near the smallest normal double; beyond, the result is 0
_EXP_WHOLES: Final = 704

LN_AT: Final = 0
EXP_WHOLE_AT: Final = LN_AT + LN_ENTRIES  # e^-k
EXP_PART_AT: Final = EXP_WHOLE_AT + _EXP_WHOLES  # e^-(k/64)
TABLE_ENTRIES: Final = EXP_PART_AT + _STEPS

_STEP: Final = 1.0 / _STEPS  # a power of two: products with it are exact
_LN_STEPS: Final = 4.1588830833596715  # ln 64
_LN_FOLD: Final = 4.852030263919617  # ln 128
_FOLD: Final = 128.0  # 64 x this is the last table entry
_UNFOLD: Final = 1.0 / _FOLD
_LN2_HI: Final = 0.6931471803691238  # ln 2 in two parts: the first has 21 trailing zero bits, so that its multiples are exact
_LN2_LO: Final = 1.9082149292705877e-10
_C3, _C4, _C5, _C6, _C7 = 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7
_F3, _F4, _F5, _F6 = 1 / 6, 1 / 24, 1 / 120, 1 / 720


@scan_kernel
def exp_neg(x: float, tables: Any) -> float:
    """e^-x for x >= 0, relative error below 1e-15; 0.0 for x > 700.

    x = n/64 - r with |r| <= 1/128: both tables give e^-(n/64), six terms of the series give e^r.
    """
    if x > _EXP_X_MAX:
        return 0.0
    n = int(x * 64.0 + 0.5)
    r = n * _STEP - x
    r2 = r * r
    series = (1.0 + r) + r2 * ((0.5 + r * _F3) + r2 * ((_F4 + r * _F5) + r2 * _F6))
    return tables[EXP_WHOLE_AT + (n >> 6)] * tables[EXP_PART_AT + (n & 63)] * series  # type: ignore[no-any-return]


@scan_kernel
def ln(x: float, tables: Any) -> float:
    """Natural logarithm for x >= 1, error below 1e-15 of max(1, ln x).

    64 x = n (1 + r) with |r| <= 1/128: the table gives ln n, seven terms of the series give ln(1 + r).
    """
    folded = 0.0
    while x >= _FOLD:
        x *= _UNFOLD
        folded += _LN_FOLD
    y = x * 64.0
    n = int(y + 0.5)
    r = (y - n) / n
    r2 = r * r
    series = r + r2 * ((r * _C3 - 0.5) + r2 * ((r * _C5 - _C4) + r2 * (r * _C7 - _C6)))
    return folded + (tables[LN_AT + n - 1] - _LN_STEPS) + series  # type: ignore[no-any-return]


@scan_kernel
def ln1p_count(count: int, tables: Any) -> float:
    """ln(1 + count) of an integer >= 0."""
    if count < LN_ENTRIES:
        return tables[LN_AT + count]  # type: ignore[no-any-return]
    return ln(1.0 + count, tables)


@cache
def arith_tables() -> F64:
    """All tables in one array (TABLE_ENTRIES,), read-only."""
    decimal = Context(prec=25)
    whole = [float(decimal.exp(Decimal(-k))) for k in range(_EXP_WHOLES)]
    part = [float(decimal.exp(Decimal(-k) / _STEPS)) for k in range(_STEPS)]
    tables = np.concatenate((_ln_of_naturals(LN_ENTRIES), whole, part))
    tables.flags.writeable = False
    return tables


def _ln_of_naturals(count: int) -> F64:
    """ln 1 .. ln `count`: exponent x ln 2 plus the series of 2 atanh(s), s = (m - 1)/(m + 1) for the mantissa m near one."""
    mantissa, exponent = np.frexp(np.arange(1, count + 1, dtype=np.float64))
    low = mantissa < math.sqrt(0.5)
    mantissa, exponent = np.where(low, 2 * mantissa, mantissa), exponent - low
    s = (mantissa - 1) / (mantissa + 1)
    z = s * s
    series = np.zeros(count)
    for k in range(11, -1, -1):  # z <= 0.0295: the next term is below 1e-19
        series = series * z + 1 / (2 * k + 1)
    result: F64 = exponent * _LN2_HI + (2 * s * series + exponent * _LN2_LO)
    return result
