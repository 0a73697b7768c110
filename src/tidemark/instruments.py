"""Contract specifications: the futures we know, and any instrument that a data set's manifest describes.

Figures: exchange contract specifications (CME, CBOT, ICE Futures U.S.); fees are all-in per contract and side at a
discount broker, an order of magnitude, and configurable per account.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from tidemark.errors import bad_input
from tidemark.units import decimal_text, to_decimal, to_ticks


class ContractKind(StrEnum):
    """LINEAR: P&L = ticks x tick value x quantity. INVERSE: quoted in USD, paid in the coin; valued at entry price."""

    LINEAR = "linear"
    INVERSE = "inverse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What an order for `symbol` means. `tick_value_micros` is per tick and per one unit of quantity (`qty_step`)."""

    symbol: str
    tick_size: Fraction
    tick_value_micros: int
    venue: str
    calendar: str = "always"  # a name in tidemark.calendar
    group: str = ""  # instruments of one group share the correlated-exposure limit
    currency: str = "USD"
    qty_step: str = "1"
    contract_kind: ContractKind = ContractKind.LINEAR
    fee_micros: int = 0  # per contract and side
    months: str = ""  # delivery cycle, e.g. HMUZ
    description: str = ""

    def to_manifest(self) -> dict[str, Any]:
        """JSON-ready form, as stored in a data set's manifest."""
        return {
            "symbol": self.symbol,
            "tick_size": decimal_text(self.tick_size),
            "tick_value_micros": self.tick_value_micros,
            "venue": self.venue,
            "calendar": self.calendar,
            "group": self.group,
            "currency": self.currency,
            "qty_step": self.qty_step,
            "contract_kind": self.contract_kind.value,
            "fee_micros": self.fee_micros,
            "months": self.months,
            "description": self.description,
        }

    @classmethod
    def from_manifest(cls, spec: dict[str, Any], *, source: str = "manifest.json") -> "Instrument":
        """Inverse of `to_manifest`. Raises InputError naming the field."""
        known = set(_DEFAULTS) | {"symbol", "tick_size", "tick_value_micros", "venue"}
        for key in spec:
            if key not in known:
                raise bad_input(source, key, spec[key], f"one of {', '.join(sorted(known))}")
        for key in ("symbol", "tick_size", "tick_value_micros", "venue"):
            if key not in spec:
                raise bad_input(source, key, "nothing", "a value", "every instrument needs it")
        tick = Fraction(to_decimal(spec["tick_size"], source=source, field="tick_size"))
        step = to_decimal(spec.get("qty_step", "1"), source=source, field="qty_step")
        value = spec["tick_value_micros"]
        if tick <= 0:
            raise bad_input(source, "tick_size", spec["tick_size"], "a positive decimal")
        if step <= 0:
            raise bad_input(source, "qty_step", spec["qty_step"], "a positive decimal")
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise bad_input(source, "tick_value_micros", value, "a positive integer")
        rest = {**_DEFAULTS, **spec}
        try:
            kind = ContractKind(rest["contract_kind"])
        except ValueError:
            raise bad_input(source, "contract_kind", rest["contract_kind"], "linear or inverse") from None
        return cls(**{**rest, "tick_size": tick, "contract_kind": kind})

    def ticks(self, price: str, *, source: str = "price") -> int:
        """Ticks of a decimal price text; raises InputError when off the grid."""
        return to_ticks(price, self.tick_size, source=source)


_DEFAULTS: dict[str, Any] = {
    "calendar": "always",
    "group": "",
    "currency": "USD",
    "qty_step": "1",
    "contract_kind": "linear",
    "fee_micros": 0,
    "months": "",
    "description": "",
}


def _future(symbol: str, tick: str, tick_value_micros: int, venue: str, group: str, fee_micros: int, text: str) -> Instrument:
    calendar = {"XCME": "globex_equity", "XCBT": "globex_equity", "IFUS": "ice_dx"}[venue]
    return Instrument(
        symbol=symbol,
        tick_size=Fraction(tick),
        tick_value_micros=tick_value_micros,
        venue=venue,
        calendar="globex_rate" if symbol == "ZN" else calendar,
        group=group,
        fee_micros=fee_micros,
        months="HMUZ",
        description=text,
    )


INSTRUMENTS: dict[str, Instrument] = {
    spec.symbol: spec
    for spec in (
        _future("NQ", "0.25", 5_000_000, "XCME", "us_equity_index", 2_400_000, "E-mini Nasdaq-100"),
        _future("MNQ", "0.25", 500_000, "XCME", "us_equity_index", 700_000, "Micro E-mini Nasdaq-100"),
        _future("ES", "0.25", 12_500_000, "XCME", "us_equity_index", 2_400_000, "E-mini S&P 500"),
        _future("MES", "0.25", 1_250_000, "XCME", "us_equity_index", 700_000, "Micro E-mini S&P 500"),
        _future("YM", "1", 5_000_000, "XCBT", "us_equity_index", 2_400_000, "E-mini Dow"),
        _future("MYM", "1", 500_000, "XCBT", "us_equity_index", 700_000, "Micro E-mini Dow"),
        _future("ZN", "0.015625", 15_625_000, "XCBT", "us_rates", 1_900_000, "10-Year T-Note"),
        _future("DX", "0.005", 5_000_000, "IFUS", "usd_index", 2_400_000, "US Dollar Index"),
    )
}


def lookup(symbol: str, *, source: str = "symbol") -> Instrument:
    """A known future by symbol. Raises InputError that lists the known ones."""
    if symbol not in INSTRUMENTS:
        raise bad_input(source, "symbol", symbol, f"one of {', '.join(INSTRUMENTS)}", "others are described by a data set's manifest")
    return INSTRUMENTS[symbol]
