"""The risk rules over two documents: a state and an order, as a person or a test writes them.

Unknown fields, floats, negative times and missing fields are refused by name; decimal prices become ticks here, and one that is off the
tick grid is not an error but a rule that fails.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from tidemark.errors import bad_input
from tidemark.instruments import Instrument, lookup
from tidemark.risk.limits import UNITS, UNKNOWN, AccountState, EntryOrder, MarketState, RiskLimits, RuleCheck, check_entry
from tidemark.risk.sizing import Bracket, SizingRules, risk_per_contract_micros
from tidemark.units import INT64_MAX, Side, to_decimal

NANOS: Final = 1_000_000_000
DOCUMENT_BYTES_MAX: Final = 65_536


class RiskState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State of account and market at `now_ns`; `limits` and `sizing` replace defaults field by field."""

    now_ns: int
    account: AccountState
    market: MarketState
    limits: RiskLimits = msgspec.field(default_factory=RiskLimits)
    sizing: SizingRules = msgspec.field(default_factory=SizingRules)


class AskedOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order as a person writes it. `price` is decimal text in the instrument's unit; `instrument` describes one that is not known."""

    symbol: str
    side: str
    qty: int
    price: str
    tier: str
    stop_ticks: int
    input_ts_ns: int
    duplicates: int = 0
    kelly_qty_max: int = UNKNOWN
    depth_qty_max: int = UNKNOWN
    instrument: dict[str, Any] | None = None


def check_files(state: bytes, order: bytes, *, state_source: str, order_source: str) -> list[dict[str, Any]]:
    """Every rule as {rule, figure, limit, unit, passed}; a figure that is unknown is None. Raises InputError naming source and field."""
    described = _decode(state, RiskState, state_source)
    asked = _decode(order, AskedOrder, order_source)
    checks = check_entry(
        _entry_order(asked, described, order_source), described.account, described.market, described.limits, now_ns=described.now_ns
    )
    return [_entry(check) for check in checks]


def _entry(check: RuleCheck) -> dict[str, Any]:
    return {
        "rule": str(check.rule),
        "figure": None if check.figure == UNKNOWN else check.figure,
        "limit": None if check.limit == UNKNOWN else check.limit,
        "unit": UNITS.get(check.rule, ""),
        "passed": check.passed,
    }


def _entry_order(asked: AskedOrder, state: RiskState, source: str) -> EntryOrder:
    spec = Instrument.from_manifest(asked.instrument, source=source) if asked.instrument else lookup(asked.symbol, source=source)
    sides = {"buy": Side.BUY, "sell": Side.SELL}
    if asked.side.lower() not in sides:
        raise bad_input(source, "side", asked.side, "buy or sell")
    if not 0 < asked.stop_ticks <= INT64_MAX:
        raise bad_input(source, "stop_ticks", asked.stop_ticks, "a positive integer")
    ticks, off_tick_nanos = nearest_tick(to_decimal(asked.price, source=source, field="price"), spec.tick_size)
    bracket = Bracket(asked.tier, 1, asked.stop_ticks, asked.stop_ticks, spec.tick_value_micros, spec.fee_micros)
    per_contract = risk_per_contract_micros(bracket, state.sizing.slippage_ticks)
    return EntryOrder(
        symbol=asked.symbol,
        side=sides[asked.side.lower()],
        qty=asked.qty,
        price_ticks=ticks,
        tier=asked.tier,
        risk_micros=max(asked.qty, 0) * per_contract,
        input_ts_ns=asked.input_ts_ns,
        off_tick_nanos=off_tick_nanos,
        duplicates=asked.duplicates,
        kelly_qty_max=asked.kelly_qty_max,
        depth_qty_max=asked.depth_qty_max,
    )


def nearest_tick(price: Decimal, tick_size: Fraction) -> tuple[int, int]:
    """(whole ticks at or below, distance to them in billionths of a price unit, at least 1 where there is any)."""
    ticks, rest = divmod(Fraction(price), tick_size)
    return int(ticks), -int(-rest * NANOS // 1)


def _decode(data: bytes, kind: type[Any], source: str) -> Any:
    if len(data) > DOCUMENT_BYTES_MAX:
        raise bad_input(source, "size", f"{len(data)} bytes", f"at most {DOCUMENT_BYTES_MAX}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text, _, where = str(error).partition(" - at `$.")
        raise bad_input(source, where.rstrip("`") or "document", text, f"a {kind.__name__} as JSON") from error
