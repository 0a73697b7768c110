"""Which of the documented table layouts a file has, told by its column names; their order does not matter, further columns are ignored.

The layouts are described, with their units, in docs/data.md.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tidemark.errors import bad_input
from tidemark.events import LEVELS


class Shape(Enum):
    """What a row of a table is."""

    BOOK = "book"  # the book after one change
    LOBSTER = "book with LOBSTER messages"
    MBP = "book with Databento messages"
    ORDERS = "orders (MBO)"
    TRADES = "trades"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Column names by role. `levels` has (price, size) columns for bids 0.., then asks 0..; `time_unit` is that of integer times."""

    shape: Shape
    is_canonical: bool
    time_unit: str
    event_time: str
    recv_time: str | None
    symbol: str | None
    id: str | None  # rises strictly from row to row
    columns: dict[str, str]
    bids: tuple[tuple[str, str], ...] = ()
    asks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _LevelNames:
    pattern: re.Pattern[str]
    of: Callable[[str, int], tuple[str, str]]  # side, level → price and size column


_LEVEL_NAMES = (
    _LevelNames(re.compile(r"(?:bid|ask)_(?:px|sz)_(\d\d)"), lambda side, level: (f"{side}_px_{level:02d}", f"{side}_sz_{level:02d}")),
    _LevelNames(
        re.compile(r"(?:bid|ask)s\[(\d+)\]\.(?:price|amount)"), lambda side, level: (f"{side}s[{level}].price", f"{side}s[{level}].amount")
    ),
    _LevelNames(re.compile(r"(?:bid|ask)_(?:px|sz)()"), lambda side, level: (f"{side}_px", f"{side}_sz")),
)
_EVENT_TIMES = {"ts_event_ns": "ns", "ts_event": "ns", "timestamp": "us"}  # `timestamp` is Tardis's
_RECV_TIMES = ("ts_recv_ns", "ts_recv", "local_timestamp")
_LOBSTER = {"type": ("msg_type",), "size": ("msg_size",), "price": ("msg_price",), "direction": ("direction", "msg_direction")}
_MESSAGE = {"action": ("action",), "side": ("side",), "price": ("price",), "size": ("size",), "flags": ("flags",)}
_ORDERS = {**_MESSAGE, "order_id": ("order_id",)}
_TRADES = {"price": ("px", "price"), "size": ("sz", "size", "qty", "amount"), "aggressor": ("aggressor", "aggressor_side", "side")}


def detect(names: Sequence[str], source: str) -> Layout:
    """The layout of a table. Raises InputError that names the first missing column."""
    event_time = next((name for name in _EVENT_TIMES if name in names), None)
    if event_time is None:
        raise bad_input(source, "columns", _listed(names), f"a time column: {', '.join(_EVENT_TIMES)}", "the first line names the columns")
    is_canonical = event_time == "ts_event_ns"
    if is_canonical:
        _require(names, ("ts_recv_ns", "seq"), source)
    bids, asks = _levels(names, source)
    shape, columns = _shape(names, bool(bids), source)
    ids = ("seq",) if is_canonical else ("update_id", "trade_id")
    return Layout(
        shape=shape,
        is_canonical=is_canonical,
        time_unit=_EVENT_TIMES[event_time],
        event_time=event_time,
        recv_time=next((name for name in _RECV_TIMES if name in names), None),
        symbol="symbol" if "symbol" in names else None,
        id=next((name for name in ids if name in names), None),
        columns=columns,
        bids=bids,
        asks=asks,
    )


def _shape(names: Sequence[str], has_levels: bool, source: str) -> tuple[Shape, dict[str, str]]:
    if has_levels:
        if "msg_type" in names:
            return Shape.LOBSTER, _roles(names, _LOBSTER, source)
        if "action" in names:
            return Shape.MBP, _roles(names, _MESSAGE, source)
        return Shape.BOOK, {}
    if "order_id" in names:
        return Shape.ORDERS, _roles(names, _ORDERS, source)
    if any(name in names for name in _TRADES["price"]):
        return Shape.TRADES, _roles(names, _TRADES, source)
    raise bad_input(
        source, "columns", _listed(names), "levels (bid_px_00 ..), orders (order_id ..) or trades (price ..)", "see docs/data.md"
    )


def _levels(names: Sequence[str], source: str) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Columns of bids and asks, at most ten levels. Raises InputError when one is missing between others."""
    for family in _LEVEL_NAMES:
        found = [int(match[1] or 0) for name in names if (match := family.pattern.fullmatch(name))]
        if not found:
            continue
        count = max(found) + 1
        bids, asks = (tuple(family.of(side, level) for level in range(count)) for side in ("bid", "ask"))
        _require(names, [name for pair in (*bids, *asks) for name in pair], source)
        return bids[:LEVELS], asks[:LEVELS]
    return (), ()


def _roles(names: Sequence[str], roles: Mapping[str, tuple[str, ...]], source: str) -> dict[str, str]:
    found = {role: next((name for name in choices if name in names), None) for role, choices in roles.items()}
    for role, name in found.items():
        if name is None:
            raise bad_input(source, " or ".join(roles[role]), "nothing", "a column")
    return {role: name for role, name in found.items() if name is not None}


def _require(names: Sequence[str], wanted: Sequence[str], source: str) -> None:
    for name in wanted:
        if name not in names:
            raise bad_input(source, name, "nothing", "a column")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
