"""The 48 columns that the book model sees, chosen by name from the feature catalogue, and what a window of them may span."""

from typing import Final

import numpy as np
import numpy.typing as npt

from tidemark.features.catalogue import COLUMN, GRID_NS, RV_SECONDS
from tidemark.models.brackets import RV_WINDOW_S
from tidemark.units import NS_PER_S

I64 = npt.NDArray[np.int64]

EXTRAS: Final = ("ofi_1s", "iofi_5s", "micro_s", "spread", "tfi_1s", "ln_dt", "rv_10s", "qi_4")
LOB: Final = tuple(f"lob_{part}_{level}" for level in range(10) for part in ("ask_px", "ask_qty", "bid_px", "bid_qty"))
INPUT_NAMES: Final = (*LOB, *EXTRAS)
INPUTS: Final = len(INPUT_NAMES)
assert INPUTS == 48
assert RV_SECONDS == RV_WINDOW_S

WINDOW_GAP_NS_MAX: Final = 60 * NS_PER_S
"""A window does not reach over a longer silence: another session, a halt, a feed that was away. Chosen: no source."""
STEP_NS: Final = GRID_NS


def input_columns() -> I64:
    """Positions of INPUT_NAMES in the feature catalogue, (48,)."""
    return np.array([COLUMN[name] for name in INPUT_NAMES], np.int64)
