"""Charts as data for plotly: traces and axes, with colours by the name of a style variable (`--good`) that the page fills in."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tidemark.budgets import LEG_BUDGETS_NS
from tidemark.reporting.rundata import RunData, column, rows_of
from tidemark.reporting.statistics import Reliability, thin
from tidemark.units import MICROS_PER_USD, NS_PER_MS

TRADES_DRAWN_MAX: Final = 1_000
SYMBOLS_DRAWN_MAX: Final = 8
DRAWN: Final = ("side", "qty", "entry_ticks_qty", "exit_ticks_qty", "opened_ns", "closed_ns", "net_micros")
Chart = dict[str, Any]


def milliseconds(ts_ns: npt.NDArray[Any]) -> list[float]:
    """Times as a date axis takes them, to the microsecond."""
    return [round(float(ts) / NS_PER_MS, 3) for ts in ts_ns]


def equity_charts(run: RunData) -> dict[str, Chart]:
    """Equity, and its distance from the high-water mark; none without a mark."""
    if not rows_of(run.equity):
        return {}
    ts_ns = column(run.equity, "ts_ns").astype(np.int64)
    equity = column(run.equity, "equity_micros").astype(np.float64)
    high = np.maximum(column(run.equity, "high_water_micros").astype(np.float64), equity)
    fall = np.divide(equity, high, out=np.ones_like(equity), where=high > 0) - 1.0
    at, below = thin(ts_ns, equity), thin(ts_ns, fall)
    curve = _line(milliseconds(ts_ns[at]), (equity[at] / MICROS_PER_USD).round(2).tolist(), "--accent", "%{y:$,.2f}")
    drawdown = _line(milliseconds(ts_ns[below]), (100.0 * fall[below]).round(4).tolist(), "--sell", "%{y:.3f} %")
    drawdown |= {"fill": "tozeroy", "fillcolor": "--sell-bar"}
    return {
        "equity-chart": {"data": [curve], "xaxis": {"type": "date"}, "yaxis": {"tickprefix": "$", "tickformat": ",.6~r"}},
        "drawdown-chart": {"data": [drawdown], "xaxis": {"type": "date"}, "yaxis": {"ticksuffix": " %", "rangemode": "tozero"}},
    }


def trade_charts(run: RunData) -> dict[str, Chart]:
    """Per symbol: entries and exits at their mean prices, over the mid that the model saw where there was one."""
    symbols = column(run.trades, "symbol")
    return {
        f"trades-chart-{i}": _trades(run, str(symbol), np.flatnonzero(symbols == symbol)[-TRADES_DRAWN_MAX:])
        for i, symbol in enumerate(np.unique(symbols)[:SYMBOLS_DRAWN_MAX])
    }


def reliability_chart(found: Reliability, title: str, measured: str, *, is_share: bool) -> Chart:
    """Claimed against measured, with the line on which they are equal."""
    points: Chart = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": found.claimed.round(5).tolist(),
        "y": found.measured.round(5).tolist(),
        "text": [f"n = {n:,}" for n in found.n],
        "hovertemplate": "claimed %{x:.4f}, measured %{y:.4f}, %{text}<extra></extra>",
        "line": {"color": "--accent", "width": 1.5},
        "marker": {"color": "--accent", "size": 8},
    }
    if found.low is not None and found.high is not None:
        above, below = (found.high - found.measured).round(5).tolist(), (found.measured - found.low).round(5).tolist()
        points["error_y"] = {"type": "data", "array": above, "arrayminus": below, "color": "--soft", "thickness": 1.2, "width": 4}
    ends = [0.0, 1.0] if is_share else [float(found.claimed.min()), float(found.claimed.max())]
    equal: Chart = {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "hoverinfo": "skip"}
    equal["line"] = {"color": "--soft", "width": 1, "dash": "dot"}
    axes = {"xaxis": {"title": {"text": title}}, "yaxis": {"title": {"text": measured}}}
    return {"data": [equal, points], **axes}


def latency_chart(legs: Mapping[str, Any]) -> Chart | None:
    """p50, p99 and maximum of each leg against its budget, on a logarithmic axis; None where nothing was measured."""
    named = sorted(legs, key=lambda name: list(LEG_BUDGETS_NS).index(name) if name in LEG_BUDGETS_NS else len(LEG_BUDGETS_NS))
    known = {name: legs[name] for name in named if isinstance(legs[name], Mapping) and legs[name].get("p99")}
    if not known:
        return None
    names = [name.replace("_", " ") for name in known]
    traces: list[Chart] = []
    for key, colour in (("p50", "--track"), ("p99", "--accent"), ("max", "--warn")):
        bar: Chart = {"type": "bar", "orientation": "h", "name": key, "y": names, "x": [_ms(leg.get(key)) for leg in known.values()]}
        traces.append(bar | {"marker": {"color": colour}, "hovertemplate": f"{key} %{{x:.3~f}} ms<extra>%{{y}}</extra>"})
    limits = [_ms(leg.get("budget")) for leg in known.values()]
    budget: Chart = {"type": "scatter", "mode": "markers", "name": "budget", "y": names, "x": limits}
    mark = {"symbol": "line-ns-open", "size": 30, "color": "--bad", "line": {"width": 2.5, "color": "--bad"}}
    traces.append(budget | {"marker": mark, "hovertemplate": "budget %{x:.3~f} ms<extra>%{y}</extra>"})
    axes = {"xaxis": {"type": "log", "title": {"text": "milliseconds"}, "dtick": 1}, "yaxis": {"autorange": "reversed"}}
    return {"data": traces, "showlegend": True, "barmode": "group", **axes}


def histogram_chart(histograms: Mapping[str, Any]) -> Chart | None:
    """Share of messages at or under a latency. `histograms`: {leg: [[upper bound in ns, count], ...]} in rising order."""
    traces: list[Chart] = []
    colours = ("--accent", "--buy", "--sell", "--good", "--warn")
    for i, (name, pairs) in enumerate(histograms.items()):
        bounds, counts = ([pair[side] for pair in pairs or ()] for side in (0, 1))
        total = sum(counts)
        if total:
            share = (np.cumsum(counts) / total * 100.0).round(3).tolist()
            line = _line([_ms(bound) for bound in bounds], share, colours[i % len(colours)], "%{y:.2f} % within %{x:.3~f} ms")
            traces.append(line | {"name": name.replace("_", " ")})
    if not traces:
        return None
    axes = {"xaxis": {"type": "log", "title": {"text": "milliseconds"}, "dtick": 1}, "yaxis": {"ticksuffix": " %", "range": [0, 102]}}
    return {"data": traces, "showlegend": True, **axes}


def mean_price(ticks_qty: int, qty: int, spec: Mapping[str, Any] | None) -> float | None:
    """Mean price of fills that sum to `ticks_qty`; None for an instrument that is not described."""
    if spec is None or qty <= 0:
        return None
    return float(Fraction(ticks_qty, qty) * Fraction(str(spec["tick_size"])))


def _trades(run: RunData, symbol: str, rows: npt.NDArray[np.intp]) -> Chart:
    spec = run.instruments.get(symbol)
    of = {name: column(run.trades, name)[rows] for name in DRAWN}
    scale = {"tick_size": "1"} if spec is None else spec
    entry, left = (
        [mean_price(int(ticks), int(qty), scale) for ticks, qty in zip(of[name], of["qty"], strict=True)]
        for name in ("entry_ticks_qty", "exit_ticks_qty")
    )
    opened, closed = milliseconds(of["opened_ns"]), milliseconds(of["closed_ns"])
    traces = _mids(run, symbol, float(Fraction(str(scale["tick_size"]))))
    for is_won, colour, name in ((True, "--good", "gain"), (False, "--bad", "loss")):
        mine = [i for i, net in enumerate(of["net_micros"]) if (net > 0) == is_won]
        x = [value for i in mine for value in (opened[i], closed[i], None)]
        y = [value for i in mine for value in (entry[i], left[i], None)]
        held: Chart = {"type": "scatter", "mode": "lines", "x": x, "y": y, "hoverinfo": "skip", "name": name}
        traces.append(held | {"line": {"color": colour, "width": 1.2}})
    for side, mark, colour, name in ((1, "triangle-up", "--buy", "bought"), (-1, "triangle-down", "--sell", "sold")):
        mine = [i for i, value in enumerate(of["side"]) if value == side]
        text = [f"{name} {of['qty'][i]}, net {of['net_micros'][i] / MICROS_PER_USD:+,.2f} USD" for i in mine]
        traces.append(_marks([opened[i] for i in mine], [entry[i] for i in mine], text, mark, colour, f"{name} to open"))
    text = [f"closed, net {net / MICROS_PER_USD:+,.2f} USD" for net in of["net_micros"]]
    traces.append(_marks(closed, left, text, "x-thin-open", "--soft", "closed"))
    return {"data": traces, "showlegend": True, "hovermode": "closest", "xaxis": {"type": "date"}, "yaxis": {"tickformat": ",.8~r"}}


def _mids(run: RunData, symbol: str, tick_size: float) -> list[Chart]:
    if not run.predictions:
        return []
    rows = np.flatnonzero(column(run.predictions, "symbol") == symbol)
    if not len(rows):
        return []
    ts_ns = column(run.predictions, "input_ts_ns")[rows].astype(np.int64)
    mids = column(run.predictions, "mid2")[rows].astype(np.float64) / 2.0 * tick_size
    at = thin(ts_ns, mids)
    line = _line(milliseconds(ts_ns[at]), mids[at].round(9).tolist(), "--soft", "mid %{y}")
    return [line | {"name": "mid", "line": {"color": "--soft", "width": 1}}]


def _marks(x: list[Any], y: list[Any], text: list[str], symbol: str, colour: str, name: str) -> Chart:
    marker = {"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1.2, "color": colour}}
    drawn: Chart = {"type": "scatter", "mode": "markers", "x": x, "y": y, "text": text, "name": name, "marker": marker}
    return drawn | {"hovertemplate": "%{text} at %{y}<extra></extra>"}


def _line(x: list[Any], y: list[Any], colour: str, hover: str) -> Chart:
    drawn: Chart = {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": {"color": colour, "width": 1.8}}
    return drawn | {"hovertemplate": hover + "<extra></extra>"}


def _ms(ns: Any) -> float | None:
    return None if ns is None else ns / NS_PER_MS
