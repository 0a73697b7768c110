"""What happened after a decision: the trend of the mid, and how a bracket order would have ended.

Everything starts one latency after the decision, at quotes that an order could really have met, and every label says
when it ended: purging, bootstrap weights and online maturity all hang on that time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidemark.events import I8, I64
from tidemark.jit import kernel

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

DOWN, FLAT, UP = 0, 1, 2  # class numbers of the trend
CLASSES = 3
WIN, STOPPED, EXPIRED = 1, 0, -1  # outcomes of a bracket


@dataclass(frozen=True, slots=True)
class Quotes:
    """Best bid and ask of one symbol after each usable depth event of one session, in time order.

    Shapes  all (n,), n >= 1. Units  nanoseconds, ticks.
    """

    ts_ns: I64
    bid_ticks: I64
    ask_ticks: I64

    @property
    def mid2(self) -> I64:
        """Twice the mid, in ticks: stays an integer."""
        return self.bid_ticks + self.ask_ticks

    def at(self, when_ns: I64) -> I64:
        """Index of the last quote at or before each time; -1 before the first."""
        return np.asarray(np.searchsorted(self.ts_ns, when_ns, side="right") - 1, np.int64)


@dataclass(frozen=True, slots=True)
class TrendLabels:
    """Where the mid went, per decision.

    Shapes  all (n,). Units  `move_ticks` mean mid over the horizon minus the mid one latency after the decision.
    `y` is DOWN, FLAT or UP by |move| > `threshold_ticks`; rows that are not `valid` (no quote yet, or the horizon runs
    past the session's last quote) hold FLAT and must not be used.
    """

    move_ticks: F64
    threshold_ticks: F64
    y: I64
    end_ns: I64
    valid: Bool


def trend_by_time(quotes: Quotes, decision_ns: I64, *, latency_ns: int, horizon_ns: int, fee_ticks: float) -> TrendLabels:
    """Trend over the next `horizon_ns`: time-weighted mean of the mid, so that a burst of quotes does not count more.

    The threshold is what crossing the spread and one fee would cost at the base quote: half-spread + `fee_ticks`.
    Source: the k-event label of FI-2010 (Ntakaris et al. 2018), with time for events and a base that can be traded.
    """
    base_ns = decision_ns + latency_ns
    end_ns = base_ns + horizon_ns
    start_i, end_i = quotes.at(base_ns), quotes.at(end_ns)
    valid = (start_i >= 0) & (end_ns <= quotes.ts_ns[-1])
    start_i, end_i = np.maximum(start_i, 0), np.maximum(end_i, 0)
    mid2 = quotes.mid2 - quotes.mid2[0]  # relative: keeps the integral of a long session inside int64
    integral = np.zeros(len(mid2), np.int64)
    np.cumsum(mid2[:-1] * np.diff(quotes.ts_ns), out=integral[1:])

    def area(i: I64, when_ns: I64) -> I64:
        return np.asarray(integral[i] + mid2[i] * (when_ns - quotes.ts_ns[i]), np.int64)

    mean2 = (area(end_i, end_ns) - area(start_i, base_ns)) / horizon_ns
    return _labels(quotes, start_i, (mean2 - mid2[start_i]) / 2.0, end_ns, valid, fee_ticks)


def trend_by_events(quotes: Quotes, decision_ns: I64, *, latency_ns: int, horizon_events: int, fee_ticks: float) -> TrendLabels:
    """Trend over the next `horizon_events` depth events: plain mean of their mids. Source: FI-2010 (Ntakaris et al. 2018)."""
    start_i = quotes.at(decision_ns + latency_ns)
    end_i = start_i + horizon_events
    valid = (start_i >= 0) & (end_i < len(quotes.ts_ns))
    start_i, end_i = np.maximum(start_i, 0), np.minimum(end_i, len(quotes.ts_ns) - 1)
    mid2 = quotes.mid2 - quotes.mid2[0]
    running = np.cumsum(mid2)
    mean2 = (running[end_i] - running[start_i]) / horizon_events
    return _labels(quotes, start_i, (mean2 - mid2[start_i]) / 2.0, quotes.ts_ns[end_i], valid, fee_ticks)


def _labels(quotes: Quotes, start_i: I64, move_ticks: F64, end_ns: I64, valid: Bool, fee_ticks: float) -> TrendLabels:
    threshold = (quotes.ask_ticks[start_i] - quotes.bid_ticks[start_i]) / 2.0 + fee_ticks
    y = np.where(move_ticks > threshold, UP, np.where(move_ticks < -threshold, DOWN, FLAT))
    return TrendLabels(move_ticks, threshold, np.where(valid, y, FLAT).astype(np.int64), end_ns, valid)


@dataclass(frozen=True, slots=True)
class BracketOutcomes:
    """How brackets ended. Shapes (n,): `outcome` WIN, STOPPED or EXPIRED; `pnl_ticks` per contract before fees;
    rows that are not `valid` ran past the session's last quote (or met no quote) and must not be used."""

    outcome: I8
    pnl_ticks: I64
    end_ns: I64
    valid: Bool


def bracket_outcomes(
    quotes: Quotes, decision_ns: I64, side: int, stop_ticks: I64, target_ticks: I64, *, latency_ns: int, horizon_ns: int
) -> BracketOutcomes:
    """Ends of brackets entered at the first quote after decision + latency: a buyer pays the ask and gets out at the bid.

    The stop is a market order (fills at the quote that triggered it, slip included), the target a limit (fills at its
    price once the other side reaches it), the rest is closed at the quote in force at expiry. Spread is therefore in
    the figures; fees are not.

    Shapes  decision_ns, stop_ticks, target_ticks (n,), distances from the entry price, positive. `side` +1 or -1.
    Source  triple barrier, Lopez de Prado (2018), chapter 3.
    """
    assert side in (1, -1), "a bracket is long or short"
    outcome = np.zeros(len(decision_ns), np.int8)
    pnl = np.zeros(len(decision_ns), np.int64)
    end_ns = np.zeros(len(decision_ns), np.int64)
    valid = np.zeros(len(decision_ns), np.bool_)
    start_i = quotes.at(decision_ns + latency_ns)
    _walk_brackets(
        quotes.ts_ns, quotes.bid_ticks, quotes.ask_ticks, start_i, decision_ns + latency_ns + horizon_ns, side, stop_ticks, target_ticks,
        outcome, pnl, end_ns, valid,
    )  # fmt: skip
    return BracketOutcomes(outcome, pnl, end_ns, valid)


@kernel
def _walk_brackets(
    ts_ns: I64, bid: I64, ask: I64, start_i: I64, expiry_ns: I64, side: int, stop: I64, target: I64,
    outcome: I8, pnl: I64, end_ns: I64, valid: Bool,
) -> None:  # fmt: skip
    """Walk each bracket's quotes until one barrier is met. Writes the last four arguments."""
    for k in range(len(start_i)):
        i = start_i[k]
        if i < 0 or expiry_ns[k] > ts_ns[-1]:
            continue
        valid[k] = True
        entry = ask[i] if side > 0 else bid[i]
        outcome[k] = -1
        end_ns[k] = expiry_ns[k]
        gain = (bid[i] - entry) if side > 0 else (entry - ask[i])
        j = i + 1
        while j < len(ts_ns) and ts_ns[j] <= expiry_ns[k]:
            gain = (bid[j] - entry) if side > 0 else (entry - ask[j])
            if gain <= -stop[k]:
                outcome[k] = 0
                end_ns[k] = ts_ns[j]
                break
            if gain >= target[k]:
                outcome[k] = 1
                end_ns[k] = ts_ns[j]
                gain = target[k]
                break
            j += 1
        pnl[k] = gain


def uniqueness(start_ns: I64, end_ns: I64) -> F64:
    """Weight of each label, 1 / (labels alive with it on average): a hundred labels of one move count as one.

    Shapes  (n,), starts ascending; returns (n,) in (0, 1]. Source: Lopez de Prado (2018), section 4.4, with the mean of
    1 / concurrency over the label's life taken at the starts of the labels inside it.
    """
    ends = np.sort(end_ns)
    alive = np.arange(1, len(start_ns) + 1) - np.searchsorted(ends, start_ns, side="left")
    inverse = np.concatenate([[0.0], np.cumsum(1.0 / np.maximum(alive, 1))])
    first = np.arange(len(start_ns))
    last = np.searchsorted(start_ns, end_ns, side="right")
    last = np.maximum(last, first + 1)
    return np.asarray((inverse[last] - inverse[first]) / (last - first))
