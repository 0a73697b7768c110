"""The engine at a glance, for the page: positions, equity, limits, the latest fills and refusals."""

from collections.abc import Sequence
from typing import Any, Final

from tidemark.engine import layout as at
from tidemark.engine.core import Core
from tidemark.engine.journal import Fill, Refused
from tidemark.engine.layout import State
from tidemark.instruments import Instrument
from tidemark.portfolio.ledger import Position, drawdown_bps
from tidemark.risk.limits import UNITS
from tidemark.units import to_price

NANOS: Final = 1_000_000_000
SHOWN_MAX: Final = 50


def average_price_text(position: Position, spec: Instrument) -> str:
    """Average entry price as decimal text, rounded down to nine decimals. For display only: nothing is computed from it."""
    if not position.qty:
        return ""
    tick = spec.tick_size
    nanos = position.cost_ticks_qty * tick.numerator * NANOS // (position.qty * tick.denominator)
    whole, part = divmod(abs(nanos), NANOS)
    digits = f"{part:09d}".rstrip("0")
    return f"{'-' if nanos < 0 else ''}{whole}{'.' + digits if digits else ''}"


def status_of(core: Core, instruments: Sequence[Instrument], state: State) -> dict[str, Any]:
    """JSON-ready state of a core."""
    account = core.account
    equity = account.equity_micros
    orders: dict[str, int] = {}
    for order in core.desk.orders.values():
        orders[str(order.state)] = orders.get(str(order.state), 0) + 1
    return {
        "ts_ns": core.now_ns,
        "state": "HALTED" if core.is_halted else "READY",
        "positions": [
            {
                "symbol": spec.symbol,
                "qty": position.qty,
                "avg_price": average_price_text(position, spec),
                "unrealised_micros": int(state.sym[s, at.UNREAL]),
                "realised_micros": position.realised_micros,
            }
            for s, spec in enumerate(instruments)
            for position in (account.ledger.positions[spec.symbol],)
        ],
        "equity_micros": equity,
        "cash_micros": account.cash_micros,
        "pnl_micros": equity - account.ledger.cash0_micros,
        "drawdown_bps": drawdown_bps(equity, int(state.glob[at.HIGH_WATER])),
        "orders": orders,
        "limits": [
            {"rule": str(check.rule), "figure": check.figure, "limit": check.limit, "unit": UNITS.get(check.rule, "")}
            for check in (*account.loss_checks(), *core.exposure.checks())
        ],
        "fills": [fill_of(fill, instruments) for fill in core.latest_fills],
        "refusals": [refusal_of(refusal) for refusal in core.latest_refusals],
    }


def fill_of(fill: Fill, instruments: Sequence[Instrument]) -> dict[str, Any]:
    """One fill as the page shows it."""
    tick = next(spec.tick_size for spec in instruments if spec.symbol == fill.symbol)
    price = format(to_price(fill.price_ticks, tick).normalize(), "f")
    return {"symbol": fill.symbol, "side": fill.side, "qty": fill.qty, "price": price, "ts_ns": fill.exec_ts_ns}


def refusal_of(refusal: Refused) -> dict[str, Any]:
    """One refusal as the page shows it."""
    return {"code": refusal.code, "symbol": refusal.symbol, "figure": refusal.figure, "limit": refusal.limit, "ts_ns": refusal.ts_ns}
