"""From an answer of the model to a bracket worth proposing, or to nothing. Pure, and in money.

Chances of the bracket were learnt from entries at the quote one latency later and exits at the other side's quote, so
the spread is inside them; fees and slippage are charged here. Nothing is proposed that is not expected to earn more than
it costs: on a market with nothing to predict every chance is the base rate, and the base rate loses the costs.
"""

import math
from dataclasses import dataclass

from tidemark.errors import bad_input
from tidemark.instruments import Instrument
from tidemark.models.serving import Answer
from tidemark.units import MICROS_PER_USD, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateConfig:
    """`slippage_ticks` per round trip, beyond the quotes; `margin_ticks` that must be left after all costs."""

    slippage_ticks: float = 0.5
    margin_ticks: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("slippage_ticks", self.slippage_ticks), ("margin_ticks", self.margin_ticks)):
            if not 0.0 <= value < 1_000.0:
                raise bad_input("candidates", name, value, "ticks, zero or more")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A bracket that is expected to earn. `expectancy_micros` per contract, after spread, fees and slippage."""

    side: Side
    p_win: float
    expectancy_micros: int
    stop_ticks: int
    target_ticks: int


def propose(
    answer: Answer, instrument: Instrument, stop_ticks: int, target_ticks: int, loss_frac: float, config: CandidateConfig
) -> Proposal | None:
    """The side with the better expectancy, if that exceeds the margin; a tie of both sides is no opinion."""
    long, short = (
        expectancy_ticks(p_win, instrument, stop_ticks, target_ticks, loss_frac, config)
        for p_win in (answer.p_win_long, answer.p_win_short)
    )
    if long == short or not max(long, short) > config.margin_ticks:
        return None
    side, p_win = (Side.BUY, answer.p_win_long) if long > short else (Side.SELL, answer.p_win_short)
    micros = math.floor(max(long, short) * instrument.tick_value_micros)
    assert abs(micros) < 10**6 * MICROS_PER_USD, "an expectancy of a million a contract is a unit error"
    return Proposal(side, p_win, micros, stop_ticks, target_ticks) if micros > 0 else None


def expectancy_ticks(
    p_win: float, instrument: Instrument, stop_ticks: int, target_ticks: int, loss_frac: float, config: CandidateConfig
) -> float:
    """Expected result of one bracket in ticks: win the target, or lose `loss_frac` stops; less two fees and slippage."""
    fees = 2.0 * instrument.fee_micros / instrument.tick_value_micros
    return p_win * target_ticks - (1.0 - p_win) * loss_frac * stop_ticks - fees - config.slippage_ticks
