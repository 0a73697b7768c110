"""One-minute bars from trades, built event by event; a bar exists only after its minute has ended."""

from collections.abc import Sequence

import msgspec

from tidemark.events import EventBlock, Kind
from tidemark.units import NS_PER_MIN


class Bar(msgspec.Struct, frozen=True):
    """Trades of [open_ts_ns, open_ts_ns + 1 min); prices in ticks. A minute without a trade has no bar."""

    symbol: str
    open_ts_ns: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume: int
    price_volume: int  # sum of ticks x contracts, so that the VWAP stays exact
    trade_count: int

    @property
    def vwap_ticks(self) -> float:
        """Volume-weighted average price in ticks."""
        return self.price_volume / self.volume


class BarBuilder:
    """Accumulates the open minute of one symbol. State is `open_bar`, so that a checkpoint can carry it."""

    def __init__(self, symbol: str, open_bar: Bar | None = None) -> None:
        self.symbol = symbol
        self.open_bar = open_bar

    def update(self, block: EventBlock, as_of_ns: int) -> list[Bar]:
        """Take the trades of `block` (one symbol, feed order); return the bars that have ended by `as_of_ns`."""
        closed: list[Bar] = []
        trades = block[block.kind == Kind.TRADE]
        rows: Sequence[Sequence[int]] = list(
            zip(trades.event_ts_ns.tolist(), trades.px_ticks[:, 0].tolist(), trades.qty[:, 0].tolist(), strict=True)
        )
        for ts_ns, ticks, qty in rows:
            minute = ts_ns - ts_ns % NS_PER_MIN
            if self.open_bar is not None and minute > self.open_bar.open_ts_ns:
                closed.append(self.open_bar)
                self.open_bar = None
            self.open_bar = self._with(minute, ticks, qty)
        if self.open_bar is not None and as_of_ns >= self.open_bar.open_ts_ns + NS_PER_MIN:
            closed.append(self.open_bar)
            self.open_bar = None
        return closed

    def _with(self, minute_ns: int, ticks: int, qty: int) -> Bar:
        bar = self.open_bar
        if bar is None:
            return Bar(self.symbol, minute_ns, ticks, ticks, ticks, ticks, qty, ticks * qty, 1)
        return Bar(
            self.symbol,
            bar.open_ts_ns,
            bar.open_ticks,
            max(bar.high_ticks, ticks),
            min(bar.low_ticks, ticks),
            ticks,
            bar.volume + qty,
            bar.price_volume + ticks * qty,
            bar.trade_count + 1,
        )
