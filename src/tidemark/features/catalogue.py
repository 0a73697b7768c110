"""Every feature column: name, unit, formula, source. The order here is the order of the columns; kernels take their offsets from it.

Notation: t = time of the last event used, P = price in ticks, q = size, b/a = bid/ask, level i = 0..9 from the best, ' = previous book.
A window of W nanoseconds is counted in slots of W/64: it holds the events of the current slot and of the 63 before it, so it spans
between 63/64 W and W. That bounds the memory at any event rate; docs/features.md says why not every event is kept.
An empty level is one tick beyond the level before it and has size 0, in every feature but the flows, where it has no price at all.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from tidemark.budgets import GRID_NS as GRID_NS
from tidemark.events import LEVELS
from tidemark.features.prior import PRIOR
from tidemark.units import NS_PER_MIN, NS_PER_S

KERNEL_VERSION: Final = 1
"""Raised when a kernel's result changes for the same definition; a test pins the output of one version."""
SLOTS: Final = 64
SILENCE_NS: Final = 15 * NS_PER_MIN
"""After this long without an event the next book is a first book: what happened in between is not a flow. Chosen: no source."""
WINDOW_SECONDS: Final = (1, 5, 30, 300)
FLOW_WINDOW_SECONDS: Final = (1, 5, 30)
OFI_EVENTS: Final = 100
EWMA_SECONDS: Final = (1, 60)
SPREAD_EWMA_SECONDS: Final = 60
RV_SECONDS: Final = 10
IOFI_SECONDS: Final = 5
QI_LEVELS: Final = (0, 2, 4, 9)
DEPTH_LEVELS: Final = (1, 5, 10)
SLOPE_TICKS_MAX: Final = 2**20  # a level further out counts as there, which keeps the integer sums inside int64
JUMP_HALF_TICKS_MAX: Final = 2**20  # a larger jump of the mid counts as this, for the same reason

_GOULD = "Gould & Bonart 2016"
_CONT = "Cont, Kukanov & Stoikov 2014"
_XU = "Xu, Gould & Howison 2019"
_CUCURINGU = "Cont, Cucuringu & Zhang 2023"
_STOIKOV = "Stoikov 2018"
_E0 = "e = 1(Pb>=Pb')qb - 1(Pb<=Pb')qb' - 1(Pa<=Pa')qa + 1(Pa>=Pa')qa' at level 0"


@dataclass(frozen=True, slots=True)
class Feature:
    """One column."""

    name: str
    unit: str
    formula: str
    source: str = ""
    nullable: bool = False  # none is: where a ratio has no denominator its value is 0, and the formula says so


def _book() -> Iterator[Feature]:
    for i in range(LEVELS):
        yield Feature(f"lob_ask_px_{i}", "ticks", f"Pa_{i} - mid")
        yield Feature(f"lob_ask_qty_{i}", "log", f"ln(1 + qa_{i})")
        yield Feature(f"lob_bid_px_{i}", "ticks", f"mid - Pb_{i}")
        yield Feature(f"lob_bid_qty_{i}", "log", f"ln(1 + qb_{i})")


def _touch() -> Iterator[Feature]:
    yield Feature("mid2", "half-ticks", "Pb_0 + Pa_0; exact in float32 below 2^24")
    yield Feature("spread", "ticks", "Pa_0 - Pb_0")
    tau = SPREAD_EWMA_SECONDS
    yield Feature(
        f"spread_ewma_{tau}s", "ticks", f"y <- s' + (y - s') e^(-dt/{tau}s), s' the spread that stood during dt; starts at the first spread"
    )
    for i in QI_LEVELS:
        yield Feature(f"qi_{i}", "-1..1", f"(Qb - Qa)/(Qb + Qa), Q = size of levels 0 to {i}", _GOULD)
    yield Feature("micro_w", "ticks", "(Pa_0 qb_0 + Pb_0 qa_0)/(qb_0 + qa_0) - mid = spread qi_0 / 2", "weighted mid")
    yield Feature(
        "micro_s",
        "ticks",
        "g[bucket, spread]: bucket = min(9, floor(10 qb_0/(qb_0 + qa_0))), spread 1, 2, >= 3 ticks; g fitted on train",
        _STOIKOV,
    )


def _flow() -> Iterator[Feature]:
    for w in WINDOW_SECONDS:
        yield Feature(f"ofi_{w}s", "contracts", f"sum of e over {w} s, {_E0}", _CONT)
    yield Feature(f"ofi_{OFI_EVENTS}ev", "contracts", f"sum of e over the last {OFI_EVENTS} depth events", _CONT)
    for w in WINDOW_SECONDS:
        yield Feature(f"ofi_rel_{w}s", "1", f"ofi_{w}s / mean of (qb_0 + qa_0)/2 over the depth events of {w} s; 0 without any", _CONT)
    for w in FLOW_WINDOW_SECONDS:
        for i in range(LEVELS):
            yield Feature(f"mlofi_{i}_{w}s", "contracts", f"sum of e at level {i} over {w} s; level 0 is ofi_{w}s", _XU)
    yield Feature(
        f"iofi_{IOFI_SECONDS}s", "contracts", f"sum over i of w_i mlofi_i_{IOFI_SECONDS}s, sum of |w_i| = 1; w fitted on train", _CUCURINGU
    )


def _trades() -> Iterator[Feature]:
    sign = "sign = aggressor, else quote rule, else tick rule (Lee & Ready 1991)"
    for w in WINDOW_SECONDS:
        yield Feature(f"tfi_{w}s", "-1..1", f"sum of sign q / sum of q over the trades of {w} s, 0 without any; {sign}")


def _depth() -> Iterator[Feature]:
    for side in ("bid", "ask"):
        for levels in DEPTH_LEVELS:
            yield Feature(f"depth_{side}_{levels}", "log", f"ln(1 + size of the first {levels} levels)")
    for side in ("bid", "ask"):
        far = f"distances above {SLOPE_TICKS_MAX} count as that"
        yield Feature(
            f"slope_{side}", "contracts/tick", f"slope of least squares of cumulated size on distance from the best, 10 levels; {far}"
        )


def _activity() -> Iterator[Feature]:
    for what in ("events", "trades"):
        for tau in EWMA_SECONDS:
            yield Feature(f"intens_{what}_{tau}s", "log", f"ln(1 + r), r <- r e^(-dt/{tau}s) + 1/{tau} at each of the {what}, in 1/s")
    yield Feature(
        f"rv_{RV_SECONDS}s",
        "ticks^2",
        f"sum of (mid - mid')^2 over {RV_SECONDS} s; a jump above {JUMP_HALF_TICKS_MAX} half-ticks counts as that",
    )
    yield Feature("ln_dt", "log", "ln(1 + dt/1 ms), dt = t - time of the event before; 0 at a first event")


FEATURES: Final[tuple[Feature, ...]] = (*_book(), *_touch(), *_flow(), *_trades(), *_depth(), *_activity())
NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
COUNT: Final = len(FEATURES)
COLUMN: Final[dict[str, int]] = {name: i for i, name in enumerate(NAMES)}
LOB_COUNT: Final = 4 * LEVELS
assert len(COLUMN) == COUNT, "feature names must be unique"
assert all(w * NS_PER_S % SLOTS == 0 for w in (*WINDOW_SECONDS, RV_SECONDS)), "slots must be whole nanoseconds"


def definition(params: dict[str, Any]) -> dict[str, Any]:
    """Everything that changes a value, JSON-ready: names with formulas in order, kernel version, params, units, dtype, windows."""
    return {
        "columns": [asdict(feature) for feature in FEATURES],
        "dtype": "float32",
        "grid_ns": GRID_NS,
        "kernel_version": KERNEL_VERSION,
        "params": params,
        "silence_ns": SILENCE_NS,
        "slots": SLOTS,
    }


def hash_definition(spec: dict[str, Any]) -> str:
    """sha256 (hex) of the canonical JSON: sorted keys, no blanks, ASCII."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")).hexdigest()


SCHEMA_HASH: Final = hash_definition(definition(PRIOR))
"""Of the feature set with the prior parameters. A fitted set has its own: `FeatureParams.schema_hash`."""
