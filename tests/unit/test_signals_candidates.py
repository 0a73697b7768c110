"""From chances to money: the better side, after all costs, or nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.errors import InputError
from tidemark.instruments import INSTRUMENTS
from tidemark.models.serving import Answer
from tidemark.signals.candidates import CandidateConfig, expectancy_ticks, propose
from tidemark.units import Side

ES = INSTRUMENTS["ES"]
FEES_TICKS = 2 * 2_400_000 / 12_500_000
chance = st.floats(0, 1)


def answer(long: float, short: float) -> Answer:
    return Answer(((0.3, 0.4, 0.3),), long, short, 0.0)


def test_expectancy_charges_two_fees_and_slippage():
    """By hand: 0.6 x 6 - 0.4 x 1.1 x 4 - 0.384 - 0.5."""
    got = expectancy_ticks(0.6, ES, 4, 6, 1.1, CandidateConfig(slippage_ticks=0.5))
    assert got == pytest.approx(0.6 * 6 - 0.4 * 1.1 * 4 - FEES_TICKS - 0.5)


@given(long=chance, short=chance, stop=st.integers(4, 200), target=st.integers(4, 200), loss=st.floats(0.3, 1.5), margin=st.floats(0, 5))
def test_what_is_proposed_earns_more_than_the_margin_and_is_the_better_side(
    long: float, short: float, stop: int, target: int, loss: float, margin: float
):
    """The invariant that lets the execution side trust a signal's sign."""
    config = CandidateConfig(margin_ticks=margin)
    got = propose(answer(long, short), ES, stop, target, loss, config)
    ticks = {
        Side.BUY: expectancy_ticks(long, ES, stop, target, loss, config),
        Side.SELL: expectancy_ticks(short, ES, stop, target, loss, config),
    }
    if got is None:
        assert max(ticks.values()) <= margin or ticks[Side.BUY] == ticks[Side.SELL] or max(ticks.values()) * ES.tick_value_micros < 1
        return
    assert ticks[got.side] == max(ticks.values()) > margin
    assert got.expectancy_micros == math.floor(ticks[got.side] * ES.tick_value_micros) > 0
    assert got.p_win == (long if got.side is Side.BUY else short)


@given(base=st.floats(0, 0.4))
def test_base_rates_alone_propose_nothing(base: float):
    """Without an edge P(target first) is at most stop / (stop + target): 40 % here, and that loses the costs."""
    assert propose(answer(base, base), ES, 4, 6, 1.0, CandidateConfig()) is None
    assert propose(answer(base, base - base / 10), ES, 4, 6, 1.0, CandidateConfig()) is None


def test_no_opinion_between_equal_sides():
    """Equal chances of both sides, however good, are a contradiction and not a trade."""
    assert propose(answer(0.9, 0.9), ES, 4, 6, 1.0, CandidateConfig()) is None


@pytest.mark.parametrize("bad", [{"slippage_ticks": -0.1}, {"slippage_ticks": float("nan")}, {"margin_ticks": 1e9}])
def test_costs_must_be_costs(bad: dict[str, float]):
    """Negative slippage would be a gift."""
    with pytest.raises(InputError):
        CandidateConfig(**bad)
