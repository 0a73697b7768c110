"""How a book looks in a mirror: bids and asks swap, flows change sign, up becomes down.

A market has no preferred direction that hours of data could teach. Network and scaler obey the mirror exactly, which
halves what has to be learnt and makes "no opinion" mean equal chances of up and down, not the drift of the sample.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

ODD: Final = frozenset({"ofi_1s", "iofi_5s", "micro_s", "tfi_1s", "qi_4"})  # inputs that change sign


def mirror(names: Sequence[str]) -> tuple[I64, F32]:
    """(order, sign), (n,) each: column j of the mirrored book is `sign[j]` x column `order[j]` of the book."""
    order = np.array([list(names).index(_swap_sides(name)) for name in names], np.int64)
    sign = np.array([-1.0 if name in ODD else 1.0 for name in names], np.float32)
    return order, sign


def _swap_sides(name: str) -> str:
    if name.startswith("lob_ask"):
        return name.replace("lob_ask", "lob_bid")
    return name.replace("lob_bid", "lob_ask")
