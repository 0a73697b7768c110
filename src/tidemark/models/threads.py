"""How many threads numeric libraries may use, for a while.

On a busy machine the waiting threads of OpenMP and BLAS spin against each other: a training run of a minute took three.
One thread is also what keeps sums in one order, and so one seed one model.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """At most `count` threads in numpy, scikit-learn and torch inside the block."""
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
