"""One switch between compiled and plain kernels.

A kernel is plain Python in numba's subset. Where numba is installed it is compiled; in a zip Lambda, where llvmlite
does not fit, the same function runs as it is. Tests prove both bit-equal. `TIDEMARK_JIT=off` forces the plain form.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

JIT_ENABLED: bool = os.environ.get("TIDEMARK_JIT", "on") != "off" and importlib.util.find_spec("numba") is not None


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba where it is available; never with fastmath, which would break bit-equality."""
    if not JIT_ENABLED:
        return function
    from numba import njit  # imported late: half a second that a zip Lambda must not pay

    compiled: Any = njit(cache=True, nogil=True)(function)
    return compiled  # type: ignore[no-any-return]


def scan_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """`kernel` for a function that runs once per event and makes no array: compiled without numba's reference counts.

    They are atomic and one is taken wherever an array enters a branch of a called kernel: a third of the feature scan's time. Numba
    refuses to compile a function that would need them, so nothing can leak unseen.
    """
    if not JIT_ENABLED:
        return function
    from numba import njit

    compiled: Any = njit(cache=True, nogil=True, _nrt=False)(function)
    return compiled  # type: ignore[no-any-return]


def plain(function: Callable[P, R]) -> Callable[P, R]:
    """The uncompiled Python form of a kernel, whichever form `function` has."""
    return getattr(function, "py_func", function)
