"""Trade bars as columns. Streams build the same bars event by event (`tidemark.features.bars`); tests hold both equal."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidemark.errors import bad_input
from tidemark.events import I64, EventBlock, Kind
from tidemark.units import NS_PER_DAY, NS_PER_MIN, NS_PER_S

F64 = npt.NDArray[np.float64]
TIMEFRAMES_NS: dict[str, int] = {
    "1s": NS_PER_S,
    "1m": NS_PER_MIN,
    "5m": 5 * NS_PER_MIN,
    "15m": 15 * NS_PER_MIN,
    "30m": 30 * NS_PER_MIN,
    "1h": 60 * NS_PER_MIN,
    "1d": NS_PER_DAY,
}


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one symbol, each array (n,); prices in ticks. A bar opens at a multiple of the time frame, UTC; none without a trade."""

    open_ts_ns: I64
    open_ticks: I64
    high_ticks: I64
    low_ticks: I64
    close_ticks: I64
    volume: I64
    vwap_ticks: F64
    trade_count: I64

    def __len__(self) -> int:
        return len(self.open_ts_ns)


def timeframe_ns(name: str) -> int:
    """Length of a named time frame. Raises InputError that lists them."""
    if name not in TIMEFRAMES_NS:
        raise bad_input("bars", "timeframe", name, f"one of {', '.join(TIMEFRAMES_NS)}")
    return TIMEFRAMES_NS[name]


def bars_of_trades(event_ts_ns: I64, price_ticks: I64, qty: I64, step_ns: int) -> Bars:
    """Bars of trades in time order; arrays of (n,). Price x size is summed in integers, so the VWAP is rounded once."""
    open_ts_ns = event_ts_ns - event_ts_ns % step_ns
    starts = np.flatnonzero(np.diff(open_ts_ns, prepend=-1)) if len(open_ts_ns) else np.empty(0, np.int64)
    if not len(starts):
        empty = np.empty(0, np.int64)
        return Bars(empty, empty, empty, empty, empty, empty, np.empty(0), empty)
    ends = np.append(starts[1:], len(event_ts_ns))
    volume = np.add.reduceat(qty.astype(np.int64), starts)
    price_volume = np.add.reduceat(price_ticks * qty.astype(np.int64), starts)
    return Bars(
        open_ts_ns[starts],
        price_ticks[starts],
        np.maximum.reduceat(price_ticks, starts),
        np.minimum.reduceat(price_ticks, starts),
        price_ticks[ends - 1],
        volume,
        np.divide(price_volume, volume, out=np.full(len(volume), np.nan), where=volume != 0),
        ends - starts,
    )


def bars_of_block(block: EventBlock, symbol: str, timeframe: str = "1m") -> Bars:
    """Bars of one symbol's trades in a block of any symbols. Raises InputError for an unknown symbol or time frame."""
    if symbol not in block.symbols:
        raise bad_input("bars", "symbol", symbol, f"one of {', '.join(block.symbols)}")
    trades = block[(block.kind == Kind.TRADE) & (block.symbol_i == block.symbols.index(symbol))]
    return bars_of_trades(trades.event_ts_ns, trades.px_ticks[:, 0], trades.qty[:, 0].astype(np.int64), timeframe_ns(timeframe))


def resample(bars: Bars, step_ns: int) -> Bars:
    """Longer bars from shorter ones; `step_ns` is a multiple of theirs. The VWAP is the volume-weighted mean of theirs."""
    if not len(bars):
        return bars
    open_ts_ns = bars.open_ts_ns - bars.open_ts_ns % step_ns
    starts = np.flatnonzero(np.diff(open_ts_ns, prepend=-1))
    ends = np.append(starts[1:], len(bars))
    volume = np.add.reduceat(bars.volume, starts)
    return Bars(
        open_ts_ns[starts],
        bars.open_ticks[starts],
        np.maximum.reduceat(bars.high_ticks, starts),
        np.minimum.reduceat(bars.low_ticks, starts),
        bars.close_ticks[ends - 1],
        volume,
        np.add.reduceat(bars.vwap_ticks * bars.volume, starts) / volume,
        np.add.reduceat(bars.trade_count, starts),
    )
