"""The planted rule applied to observed books: what the best-informed forecaster would say, scored beside every model.

Works on any block of the symbols, simulated or not: it reads the rule from the manifest's `planted` and the books from the events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.events import I64, LEVELS, EventBlock, Kind
from tidemark.jit import kernel
from tidemark.market.kernels import flow_weight, rule_delta, touch_imbalance
from tidemark.market.rule import F64, vector_of
from tidemark.market.timeline import decay
from tidemark.units import NS_PER_S

GRID_NS = NS_PER_S // 4  # the feature grid's step


@kernel
def _flow_path(px: I64, qty: npt.NDArray[np.int32], keep: F64, touch_qty: float, rule: F64) -> F64:
    """The rule's decayed flow after each depth row of one symbol, as the simulator accumulates it."""
    out = np.zeros(len(px))
    flow = 0.0
    for i in range(1, len(px)):
        change = touch_imbalance(
            px[i, 0], qty[i, 0], px[i, LEVELS], qty[i, LEVELS], px[i - 1, 0], qty[i - 1, 0], px[i - 1, LEVELS], qty[i - 1, LEVELS]
        )
        flow = flow * keep[i] + flow_weight(qty[i - 1], rule) * change / touch_qty
        out[i] = flow
    return out


@kernel
def _decayed_sum(value: F64, keep: F64) -> F64:
    out = np.zeros(len(value))
    total = 0.0
    for i in range(len(value)):
        total = total * keep[i] + value[i]
        out[i] = total
    return out
