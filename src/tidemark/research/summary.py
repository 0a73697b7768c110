"""`summary.json` of a run's folder: the same keys for a backtest and for a run of the whole pipeline; docs/engine.md explains each."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidemark.engine.result import EngineResult
from tidemark.research.kpis import Target, kpis_json, measure
from tidemark.units import PPM_PER_ONE

SUMMARY_SCHEMA: Final = 1


def build_summary(
    result: EngineResult,
    *,
    stage: str,
    mode: str,
    seed: int,
    data: Mapping[str, Any] | None = None,
    symbols: Mapping[str, Mapping[str, int | None]] | None = None,
    signals: Mapping[str, int] | None = None,
    latency: Mapping[str, Mapping[str, int | None]] | None = None,
    findings: Sequence[str] = (),
    targets: Mapping[str, Target] | None = None,
) -> dict[str, Any]:
    """The summary of a run, from its journal.

    `data`, `symbols`, `signals` replace, key by key, what the engine saw itself: a pipeline knows of events that never reached it.
    `latency`: {leg: {p50, p99, max, n, budget}} in ns, empty where nothing was measured. Money is in micro-dollars.
    """
    return {
        "schema": SUMMARY_SCHEMA,
        "stage": stage,
        "mode": mode,
        "seed": seed,
        "data": {**_data(result), **(data or {})},
        "symbols": {**_symbols(result), **(symbols or {})},
        "signals": {**result.signals, **(signals or {})},
        "orders": result.orders_by_state,
        "refusals": dict(sorted(result.refusals.items())),
        "fills": len(result.fills),
        "position_qty": result.position_qty,
        "pnl_micros": result.final_equity_micros - result.cash0_micros,
        "costs_micros": result.ledger.fees_micros,
        "latency_ns": dict(latency or {}),
        "kpis": kpis_json(measure(result, seed), targets or {}),
        "findings": [*own_findings(result), *findings],
    }


def own_findings(result: EngineResult) -> list[str]:
    """What a reader must know before believing the figures."""
    losses = [halt for halt in result.halts if halt.rule != "KILL"]
    texts = [f"{halt.rule}: trading was halted at a loss of {halt.figure} micro-dollars, limit {halt.limit}" for halt in losses]
    still_open = {symbol: qty for symbol, qty in result.position_qty.items() if qty}
    if still_open:
        texts.append(f"positions could not be closed before the end: {still_open}")
    if result.anomalies:
        texts.append(f"{len(result.anomalies)} order anomalies, the first: {result.anomalies[0].what}")
    if result.breaches:
        texts.append(f"{len(result.breaches)} times more was at risk than had been decided")
    if not result.fills:
        texts.append("no trade was made: figures of trades have no data")
    return texts


def _data(result: EngineResult) -> dict[str, Any]:
    quarantined: dict[str, int] = {}
    for seen in result.data.values():
        for reason, count in seen.defects.items():
            quarantined[reason] = quarantined.get(reason, 0) + count
    has_data = bool(result.data)
    return {
        "hash": None,
        "events": sum(seen.events for seen in result.data.values()) if has_data else None,
        "trades": sum(seen.trades for seen in result.data.values()) if has_data else None,
        "quarantined": dict(sorted(quarantined.items())),
    }


def _symbols(result: EngineResult) -> dict[str, dict[str, int | None]]:
    return {
        symbol: {"events": seen.events, "quality_ppm": PPM_PER_ONE * seen.usable_events // seen.events if seen.events else None}
        for symbol, seen in result.data.items()
    }
