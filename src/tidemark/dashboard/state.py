"""What the page shows, kept on the server: the last message of each kind and bounded histories for the charts.

A browser that connects late or again gets the whole of it at once, so the page never depends on having been open. Messages come from our
own programs, but over a bus: a message that is not a JSON object with a known type is counted and left out, never raised on.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

TYPES = frozenset({"book", "price", "signal", "exec", "health", "refusal", "latency"})
PER_SYMBOL = frozenset({"book", "price"})
MERGED = frozenset({"health", "latency"})  # several programs publish parts of these
LOGGED = frozenset({"signal", "refusal"})  # every one counts, not only the last
MESSAGE_BYTES_MAX = 262_144
SYMBOLS_MAX = 64
SYMBOL_CHARS_MAX = 32
POINTS_MAX = 1_200  # of a chart's line: more than a screen has columns
SPACING_NS_MIN = 250_000_000
LOG_MAX = 200
FILLS_MAX = 500
TICKS_EMPTY = -(2**62)  # an empty level's price is -2^63; no real price is anywhere near

Message = dict[str, Any]


@dataclass(slots=True)
class Line:
    """Points of one chart line over the whole run in bounded memory: when full, every second point goes and the spacing doubles."""

    spacing_ns: int = SPACING_NS_MIN
    ts_ns: list[int] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)

    def add(self, ts_ns: int, values: list[float]) -> None:
        if self.ts_ns and ts_ns < self.ts_ns[-1]:  # a new run, or time gone back: what came later never happened on this line
            self.ts_ns.clear()
            self.values.clear()
            self.spacing_ns = SPACING_NS_MIN
        if self.ts_ns and ts_ns - self.ts_ns[-1] < self.spacing_ns:
            self.values[-1] = values
            return
        self.ts_ns.append(ts_ns)
        self.values.append(values)
        if len(self.ts_ns) > POINTS_MAX:
            del self.ts_ns[1::2]
            del self.values[1::2]
            self.spacing_ns *= 2

    def to_json(self) -> Message:
        return {"ts_ns": self.ts_ns, "values": self.values, "spacing_ns": self.spacing_ns}


class PageState:
    """Everything the page shows. Not thread-safe: one event loop owns it."""

    def __init__(self) -> None:
        self.connected = False
        self.bus_error = "not yet connected"
        self.received = 0
        self.left_out = 0
        self.last: dict[str, Message] = {}
        self._prices: dict[str, Line] = {}
        self._equity = Line()
        self._logs: dict[str, deque[Message]] = {kind: deque(maxlen=LOG_MAX) for kind in LOGGED}
        self._fills: dict[tuple[Any, ...], Message] = {}

    def apply(self, raw: bytes) -> tuple[str, Message] | None:
        """Take one message in. Returns its key and what is to be sent on, None when it was left out."""
        self.received += 1
        message = _decode(raw)
        if message is None or (message["type"] in PER_SYMBOL and not self._known_symbol(message)):
            self.left_out += 1
            return None
        kind: str = message["type"]
        key = f"{kind}:{message['symbol']}" if kind in PER_SYMBOL else kind
        self.last[key] = {**self.last.get(key, {}), **message} if kind in MERGED else message
        if kind == "book":
            self._add_mid(message)
        elif kind == "exec":
            self._add_account(message)
        elif kind in LOGGED:
            self._logs[kind].append(message)
        return key, self.last[key]

    def bus_status(self) -> Message:
        return {"type": "bus", "connected": self.connected, "error": self.bus_error, "received": self.received, "left_out": self.left_out}

    def snapshot(self) -> Message:
        """The whole state as one JSON-ready object: what a page needs to be complete."""
        return {
            "type": "state",
            "bus": self.bus_status(),
            "last": self.last,
            "history": {
                "prices": {symbol: line.to_json() for symbol, line in self._prices.items()},
                "equity": self._equity.to_json(),
                "signals": list(self._logs["signal"]),
                "refusals": list(self._logs["refusal"]),
                "fills": list(self._fills.values()),
            },
        }

    def _known_symbol(self, message: Message) -> bool:
        """Whether the symbol is shown already or may still be added: the number of tabs is bounded."""
        symbol = message.get("symbol")
        if not isinstance(symbol, str) or not 0 < len(symbol) <= SYMBOL_CHARS_MAX or not symbol.isprintable():
            return False
        return f"{message['type']}:{symbol}" in self.last or sum(key.startswith("book:") for key in self.last) < SYMBOLS_MAX

    def _add_mid(self, book: Message) -> None:
        bid, ask, ts_ns = _best(book, "bid"), _best(book, "ask"), book.get("event_ts_ns")
        if bid is not None and ask is not None and isinstance(ts_ns, int):
            self._prices.setdefault(book["symbol"], Line()).add(ts_ns, [(bid + ask) / 2])

    def _add_account(self, account: Message) -> None:
        figures = [account.get(name) for name in ("pnl_micros", "drawdown_bps")]
        if isinstance(account.get("ts_ns"), int) and all(isinstance(figure, int) for figure in figures):
            self._equity.add(account["ts_ns"], [float(figure) for figure in figures if figure is not None])
        for fill in _objects(account.get("fills")):
            self._fills[tuple(fill.get(name) for name in ("ts_ns", "symbol", "side", "qty", "price"))] = fill
        while len(self._fills) > FILLS_MAX:
            del self._fills[next(iter(self._fills))]


def _decode(raw: bytes) -> Message | None:
    if len(raw) > MESSAGE_BYTES_MAX:
        return None
    try:
        message = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return message if isinstance(message, dict) and message.get("type") in TYPES else None


def _best(book: Mapping[str, Any], side: str) -> int | None:
    ticks, qty = book.get(f"{side}_ticks"), book.get(f"{side}_qty")
    if not (isinstance(ticks, list) and isinstance(qty, list) and ticks and qty):
        return None
    return ticks[0] if isinstance(ticks[0], int) and ticks[0] > TICKS_EMPTY and qty[0] else None


def _objects(listed: Any) -> list[Message]:
    """The JSON objects of a list whose values can be keys; anything else is left out."""
    found = listed if isinstance(listed, list) else []
    return [item for item in found if isinstance(item, dict) and not any(isinstance(value, dict | list) for value in item.values())]
