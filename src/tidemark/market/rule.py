"""The planted rule: which sign the next price move takes, as a function of what anybody can see in the books.

    up-probability of a move = 1/2 (1 + delta),  delta = OWN x clip(F / FLOW_SCALE, -1, 1) + LEAD x clip(beta L / LEAD_SCALE, -1, 1)

F is an exponentially decayed sum of the touch's order-flow imbalance e (Cont, Kukanov & Stoikov 2014), each e in units of the
instrument's typical touch size and weighted by the book it met: +1 where the far levels were thin, and -RESILIENT_WEIGHT where they were
thick (the flow was absorbed). What matters is the depth *when the flow came*, so the newest book and window sums of flow do not
suffice: the weight has to be applied row by row along the history. L is a decayed sum of the leader's mid moves.

The rule is frozen: it was set before any model was trained on it for a report. `RULE_VERSION` changes whenever a figure does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.market.config import BEHAVIOURS

F64 = npt.NDArray[np.float64]

RULE_VERSION = 1
OWN = 0.50
FLOW_SCALE = 6.0
FLOW_HALF_LIFE_S = 6.0
FAR_SHARE_MAX = 0.56  # far levels (5..9 of both sides) hold less than this share of the ten-level size: thin
RESILIENT_WEIGHT = 0.3
LEAD = 0.06
LEAD_SCALE = 6.0  # half-ticks
LEAD_HALF_LIFE_S = 2.0
LEADERS = ("ES", "NQ")  # the first that is simulated leads the others

# Positions in the rule vector that the kernel reads.
P_OWN, P_FLOW_SCALE, P_FAR_SHARE, P_RESILIENT, P_LEAD, P_LEAD_SCALE = range(6)


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
        "far_share_max": FAR_SHARE_MAX,
        "resilient_weight": RESILIENT_WEIGHT,
        "lead": LEAD,
        "lead_scale_half_ticks": LEAD_SCALE,
        "lead_half_life_s": LEAD_HALF_LIFE_S,
        "leader": leader_of(symbols),
        "touch_qty": {symbol: BEHAVIOURS[symbol].touch_qty for symbol in symbols},
        "beta": {symbol: BEHAVIOURS[symbol].beta for symbol in symbols},
    }


def vector_of(planted: Mapping[str, Any]) -> F64:
    """The kernel's vector from a manifest's description."""
    names = ("own", "flow_scale", "far_share_max", "resilient_weight", "lead", "lead_scale_half_ticks")
    return np.array([float(planted[name]) for name in names])
