"""The planted rule: which sign the next price move takes, as a function of what anybody can see in the books.

    P(up) = 1/2 (1 + delta),  delta(t) = OWN x clip(F(t - FLOW_DELAY) / FLOW_SCALE, -1, 1) + LEAD x clip(beta L(t) / LEAD_SCALE, -1, 1)

F is an exponentially decayed sum of the touch's order-flow imbalance e (Cont, Kukanov & Stoikov 2014), each e in the instrument's
`flow_unit` and weighted by the book it met: +1 where the far levels were thin, -RESILIENT_WEIGHT where they were thick (the flow was
absorbed). Slow participants act on it `FLOW_DELAY` later. So what counts is the depth *when* flow came and not the depth now, and the
past drift of the price says little about the coming one: the newest book and window sums of flow do not suffice, a model has to weigh
the history row by row. L is a decayed sum of the leader's mid moves. News jumps are a fair coin even here.

The figures were chosen with throw-away models so that the edge can be learnt from an hour of data, and frozen before any evaluation that
is reported. `RULE_VERSION` changes whenever one of them does.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.events import I64
from tidemark.market.config import BEHAVIOURS
from tidemark.units import NS_PER_S

F64 = npt.NDArray[np.float64]

RULE_VERSION = 1
OWN = 0.6
FLOW_SCALE = 1.25
FLOW_HALF_LIFE_S = 4.0
FLOW_DELAY_S = 5.0
FAR_SHARE_MAX = 0.60
RESILIENT_WEIGHT = 0.4
LEAD = 0.06
LEAD_SCALE = 6.0  # half-ticks
LEAD_HALF_LIFE_S = 2.0
LEADERS = ("ES", "NQ")  # the first that is simulated leads the others

# Positions in the rule vector that the kernel reads.
P_OWN, P_FLOW_SCALE, P_FAR_SHARE, P_RESILIENT, P_LEAD, P_LEAD_SCALE = range(6)


def decay(elapsed_ns: I64, half_life_s: float) -> F64:
    """Share of a decaying sum that is left after `elapsed_ns`."""
    kept: F64 = np.exp(elapsed_ns * (-math.log(2.0) / (half_life_s * NS_PER_S)))
    return kept


def rule_vector(planted: bool) -> F64:
    """The rule's figures as the kernel takes them; in the null market every move is a fair coin."""
    on = 1.0 if planted else 0.0
    return np.array([OWN * on, FLOW_SCALE, FAR_SHARE_MAX, RESILIENT_WEIGHT, LEAD * on, LEAD_SCALE])


def leader_of(symbols: Sequence[str]) -> str | None:
    """The symbol whose moves lead the others, None where neither is there."""
    return next((symbol for symbol in LEADERS if symbol in symbols), None)


def describe_rule(symbols: Sequence[str]) -> dict[str, Any]:
    """The rule as it stands in a data set's manifest; `oracle_signal` needs nothing else."""
    return {
        "version": RULE_VERSION,
        "rule": "P(up) = 1/2 (1 + own clip(F / flow_scale) + lead clip(beta L / lead_scale)); see docs/simulated-market.md",
        "own": OWN,
        "flow_scale": FLOW_SCALE,
        "flow_half_life_s": FLOW_HALF_LIFE_S,
        "flow_delay_s": FLOW_DELAY_S,
        "far_share_max": FAR_SHARE_MAX,
        "resilient_weight": RESILIENT_WEIGHT,
        "lead": LEAD,
        "lead_scale_half_ticks": LEAD_SCALE,
        "lead_half_life_s": LEAD_HALF_LIFE_S,
        "leader": leader_of(symbols),
        "flow_unit": {symbol: BEHAVIOURS[symbol].flow_unit for symbol in symbols},
        "beta": {symbol: BEHAVIOURS[symbol].beta for symbol in symbols},
    }


def vector_of(planted: Mapping[str, Any]) -> F64:
    """The kernel's vector from a manifest's description."""
    names = ("own", "flow_scale", "far_share_max", "resilient_weight", "lead", "lead_scale_half_ticks")
    return np.array([float(planted[name]) for name in names])
