"""Columns of a block as compiled kernels want them.

Numba compiles a kernel anew for every mix of read-only, misaligned and strided arguments, and a decoded block has such a mix (its
columns point into the message, wherever the symbol names end). One small copy here saves seconds of compilation in the hot path.
"""

from typing import Any

import numpy.typing as npt

from tidemark.events import EventBlock


def ready(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`column` itself if it is writable, aligned and contiguous, else a copy that is."""
    return column if column.flags.carray else column.copy()


def kernel_columns(block: EventBlock) -> tuple[Any, ...]:
    """All columns in codec order, each `ready`."""
    return tuple(ready(column) for column in block.columns())


def list_columns(block: EventBlock) -> tuple[Any, ...]:
    """All columns in codec order as lists, for the uncompiled form: an element of an array costs it five times one of a list."""
    return tuple(column.tolist() for column in block.columns())
