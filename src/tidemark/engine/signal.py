"""What the engine needs to know of a signal, whoever made it, and the one that it makes itself for benchmarks."""

from typing import Protocol

import msgspec


class EntrySignal(Protocol):
    """A proposed bracket entry (`signals.messages.Signal` is one). Distances are from the entry's price, in ticks, positive."""

    @property
    def signal_id(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def side(self) -> int: ...
    @property
    def tier(self) -> str: ...
    @property
    def p_win(self) -> float: ...
    @property
    def stop_ticks(self) -> int: ...
    @property
    def target_ticks(self) -> int: ...
    @property
    def horizon_ns(self) -> int: ...
    @property
    def input_ts_ns(self) -> int: ...


class PacedSignal(msgspec.Struct, frozen=True):
    """A signal that comes every so many events and knows nothing: it measures the engine, not the market."""

    signal_id: str
    symbol: str
    side: int
    tier: str
    p_win: float
    stop_ticks: int
    target_ticks: int
    horizon_ns: int
    input_ts_ns: int


def visible_ns(input_ts_ns: int, created_ts_ns: int, latency_ns: int) -> int:
    """When replays let the engine see a signal: one latency after its newest input, but not before it was made.

    A signal is made at the end of its grid step, which may be later than its newest input by almost a step.
    """
    return max(input_ts_ns + latency_ns, created_ts_ns)
