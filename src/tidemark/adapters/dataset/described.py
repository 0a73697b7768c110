"""The instrument that an import is for: a future we know, or what the caller says about a stock or a coin."""

from dataclasses import dataclass, replace
from fractions import Fraction

from tidemark.errors import bad_input
from tidemark.instruments import INSTRUMENTS, ContractKind, Instrument
from tidemark.units import MICROS_PER_USD, decimal_text, to_decimal

STOCK_TICK = "0.01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the caller says; None means not said. Decimal texts, so that nothing is rounded on the way."""

    symbol: str
    tick_size: str | None = None
    tick_value_micros: int | None = None
    qty_step: str | None = None
    venue: str | None = None
    contract_kind: str | None = None


def instrument_of(said: Described, *, default_tick: str | None = None, default_venue: str = "unknown") -> Instrument:
    """The instrument; a known future by its symbol alone. Raises InputError for what is missing or contradicts.

    Unless said, a tick is worth tick size x quantity step in US dollars: right for linear contracts quoted in dollars.
    """
    if said.symbol in INSTRUMENTS:
        return _known(said)
    tick_text = said.tick_size or default_tick
    if tick_text is None:
        raise bad_input("--tick-size", "tick size", "nothing", f"a decimal: {said.symbol} is none of {', '.join(INSTRUMENTS)}")
    tick, step = _positive(tick_text, "--tick-size"), _positive(said.qty_step or "1", "--qty-step")
    kind = _kind(said.contract_kind)
    return Instrument(
        symbol=said.symbol,
        tick_size=tick,
        tick_value_micros=said.tick_value_micros or _linear_value(tick, step, kind),
        venue=said.venue or default_venue,
        qty_step=decimal_text(step),
        contract_kind=kind,
    )


def _known(said: Described) -> Instrument:
    spec = INSTRUMENTS[said.symbol]
    if said.tick_size is not None and _positive(said.tick_size, "--tick-size") != spec.tick_size:
        raise bad_input("--tick-size", "tick size", said.tick_size, f"{decimal_text(spec.tick_size)}, the tick of {said.symbol}")
    if said.qty_step is not None and _positive(said.qty_step, "--qty-step") != 1:
        raise bad_input("--qty-step", "quantity step", said.qty_step, f"1: {said.symbol} trades in whole contracts")
    if said.tick_value_micros not in (None, spec.tick_value_micros):
        raise bad_input("--tick-value-micros", "tick value", said.tick_value_micros, f"{spec.tick_value_micros}, that of {said.symbol}")
    if said.contract_kind not in (None, spec.contract_kind.value):
        raise bad_input("--contract", "kind", said.contract_kind, f"{spec.contract_kind.value}, that of {said.symbol}")
    return replace(spec, venue=said.venue or spec.venue)


def _positive(text: str, flag: str) -> Fraction:
    value = to_decimal(text, source=flag, field="value")
    if value <= 0:
        raise bad_input(flag, "value", text, "a decimal above zero")
    return Fraction(value)


def _kind(text: str | None) -> ContractKind:
    try:
        return ContractKind(text or ContractKind.LINEAR.value)
    except ValueError:
        raise bad_input("--contract", "kind", text, "linear or inverse") from None


def _linear_value(tick: Fraction, step: Fraction, kind: ContractKind) -> int:
    if kind is ContractKind.INVERSE:
        raise bad_input(
            "--tick-value-micros",
            "tick value",
            "nothing",
            "micro-dollars per tick and contract",
            "an inverse contract's depends on the price",
        )
    micros = tick * step * MICROS_PER_USD
    if micros.denominator != 1:
        got = f"{decimal_text(micros)} for a tick of {decimal_text(tick)} and a step of {decimal_text(step)}"
        raise bad_input(
            "--tick-value-micros", "tick value", got, "a whole number", "give one; the data set's money is then in that proportion"
        )
    return int(micros)
