"""Feature parameters before anything is fitted."""

from typing import Any, Final

from tidemark.events import LEVELS

MICRO_BUCKETS: Final = 10
MICRO_SPREADS: Final = 3
EQUAL_LOADINGS: Final = (1 / LEVELS,) * LEVELS
_SHRINK: Final = 0.5


def _prior_micro_table() -> tuple[tuple[float, ...], ...]:
    middles = [(2 * bucket + 1 - MICRO_BUCKETS) / MICRO_BUCKETS for bucket in range(MICRO_BUCKETS)]
    return tuple(tuple(_SHRINK * spread / 2 * middle for spread in range(1, MICRO_SPREADS + 1)) for middle in middles)


PRIOR_MICRO_TABLE: Final = _prior_micro_table()
"""Half of the weighted mid's adjustment, at the middle of each imbalance bucket; antisymmetric.

Chosen: no source. The mid itself (0) and the weighted mid (1) are the two ends that a fitted table lies between in liquid books.
"""
PRIOR: Final[dict[str, Any]] = {"micro_table": [list(row) for row in PRIOR_MICRO_TABLE], "iofi_loadings": list(EQUAL_LOADINGS)}
