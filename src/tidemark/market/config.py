"""What a simulated market is: the caller's choices, and the table of how each instrument behaves.

The behaviour figures are chosen, not fitted: near the contracts' own magnitudes and inside the range that real books show
(docs/simulated-market.md compares them). Null and planted markets share every one of them; only the sign of price moves differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from tidemark.errors import bad_input
from tidemark.instruments import INSTRUMENTS, Instrument

SOURCE = "market simulation"
SEED_MAX = 2**63 - 1
MINUTES_MAX = 390  # 08:30 to 15:00 Chicago
SESSIONS_MAX = 200
RATE_MIN, RATE_MAX = 0.05, 20.0
NULL, PLANTED = "null", "planted"
MARKETS = (NULL, PLANTED)
FIRST_DATE = date(2026, 1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one instrument's book behaves. Rates are per second at activity 1; shares and probabilities lie in [0, 1]."""

    start_price: str
    events_per_s: float  # depth rows
    move_share: float  # of depth rows that are meant to move the price
    shared_prob: float  # chance to take part in a market-wide move
    shared_same_prob: float  # then: chance to follow the common draw instead of an own one
    beta: int  # +1 moves with the index futures, -1 against them
    move_ticks_mean: float  # of a whole-book move, geometric from 1
    widen_prob: float  # a price move at a one-tick spread widens it instead of moving the book
    heal_prob: float  # any other event at a wide spread narrows it instead
    touch_qty: float  # typical size of the best level, contracts
    trade_qty: float  # typical print
    news_ticks: float  # typical jump at news
    flow_unit: float  # contracts of decayed flow that count as one in the planted rule: about its standard deviation


BEHAVIOURS: Mapping[str, Behaviour] = {
    "NQ": Behaviour(
        start_price="21000", events_per_s=20.0, move_share=0.085, shared_prob=0.9, shared_same_prob=0.95, beta=1, move_ticks_mean=2.0,
        widen_prob=0.45, heal_prob=0.17, touch_qty=7.0, trade_qty=2.0, news_ticks=45.0, flow_unit=37.0,
    ),
    "ES": Behaviour(
        start_price="6000", events_per_s=20.0, move_share=0.085, shared_prob=0.95, shared_same_prob=0.98, beta=1, move_ticks_mean=1.3,
        widen_prob=0.35, heal_prob=0.18, touch_qty=34.0, trade_qty=4.0, news_ticks=18.0, flow_unit=175.0,
    ),
    "YM": Behaviour(
        start_price="44000", events_per_s=13.0, move_share=0.11, shared_prob=0.85, shared_same_prob=0.93, beta=1, move_ticks_mean=2.0,
        widen_prob=0.4, heal_prob=0.22, touch_qty=6.0, trade_qty=2.0, news_ticks=32.0, flow_unit=30.0,
    ),
    "ZN": Behaviour(
        start_price="111", events_per_s=11.0, move_share=0.05, shared_prob=0.25, shared_same_prob=0.75, beta=-1, move_ticks_mean=1.0,
        widen_prob=0.35, heal_prob=0.75, touch_qty=160.0, trade_qty=12.0, news_ticks=7.0, flow_unit=480.0,
    ),
    "DX": Behaviour(
        start_price="100", events_per_s=8.0, move_share=0.09, shared_prob=0.25, shared_same_prob=0.7, beta=-1, move_ticks_mean=1.1,
        widen_prob=0.6, heal_prob=0.25, touch_qty=9.0, trade_qty=1.5, news_ticks=8.0, flow_unit=30.0,
    ),
}  # fmt: skip
SYMBOLS: tuple[str, ...] = tuple(BEHAVIOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """What to simulate. `rate` multiplies every event rate; `minutes` counts from 08:30 Chicago on each of `sessions` trading days.

    Raises InputError naming the field.
    """

    market: str = NULL
    symbols: tuple[str, ...] = SYMBOLS
    minutes: int = 10
    sessions: int = 1
    seed: int = 0
    rate: float = 1.0
    first_date: date = FIRST_DATE

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        if self.market not in MARKETS:
            raise bad_input(SOURCE, "market", self.market, f"one of {', '.join(MARKETS)}")
        for symbol in self.symbols:
            if symbol not in BEHAVIOURS:
                raise bad_input(SOURCE, "symbols", symbol, f"any of {', '.join(SYMBOLS)}")
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise bad_input(SOURCE, "symbols", ",".join(self.symbols), "at least one symbol, each once")
        _require_int("minutes", self.minutes, 1, MINUTES_MAX)
        _require_int("sessions", self.sessions, 1, SESSIONS_MAX)
        _require_int("seed", self.seed, 0, SEED_MAX)
        if not RATE_MIN <= self.rate <= RATE_MAX:  # also refuses NaN
            raise bad_input(SOURCE, "rate", self.rate, f"a factor from {RATE_MIN} to {RATE_MAX}")

    @property
    def instruments(self) -> dict[str, Instrument]:
        return {symbol: INSTRUMENTS[symbol] for symbol in self.symbols}


def _require_int(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad_input(SOURCE, field, value, f"a whole number from {low} to {high}")
