"""The parts of a report, in the order in which they are read. Each is a function of the run."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final

import msgspec
import numpy as np

from tidemark.budgets import LEG_BUDGETS_NS
from tidemark.reporting.charts import mean_price
from tidemark.reporting.rundata import RunData, column, rows_of
from tidemark.reporting.statistics import Reliability, wilson
from tidemark.reporting.targets import TargetRow, load_targets, other_targets
from tidemark.reporting.text import (
    NO_DATA,
    Cell,
    Markup,
    count,
    duration,
    escape,
    facts,
    figure_box,
    moment,
    named,
    number,
    percent,
    plain,
    section,
    table,
    usd,
    with_unit,
    words,
)
from tidemark.risk.limits import TIERS, UNITS
from tidemark.units import PPM_PER_ONE

TRADES_LISTED_MAX: Final = 400
SHARPE_DOUBTFUL: Final = 5.0
FIGURES_NOT_SHARES: Final = frozenset(
    ("sharpe", "sortino", "calmar", "profit_factor", "expectancy_r", "tier1_reward_risk", "tier2_reward_risk", "tier3_reward_risk")
)
NAMES: Final = {
    "total_return": "total return",
    "sharpe": "Sharpe ratio, a year",
    "sortino": "Sortino ratio, a year",
    "max_drawdown": "maximum drawdown",
    "calmar": "Calmar ratio, a year",
    "monthly_return": "return, a month",
    "annual_return": "return, a year",
    "win_rate": "win rate, after fees",
    "signal_accuracy": "signal accuracy, before fees",
    "profit_factor": "profit factor",
    "expectancy_r": "mean net result, in planned risk",
    "tier1_win_rate": "TIER1 win rate",
    "tier2_win_rate": "TIER2 win rate",
    "tier3_win_rate": "TIER3 win rate",
    "tier1_reward_risk": "TIER1 reward to risk",
    "tier2_reward_risk": "TIER2 reward to risk",
    "tier3_reward_risk": "TIER3 reward to risk",
    "var_95": "value at risk, a session, 95 %",
    "expected_shortfall_95": "expected shortfall, a session, 95 %",
    "risk_limit_breaches": "risk-limit breaches, of entries",
    "data_quality": "usable share of events",
}
"""The key figures, in the order in which they are shown; others follow."""
VERDICTS: Final = {"met": ("✓ met", "good"), "not met": ("✕ not met", "bad"), "undecided": ("~ undecided", "warn")}


def headline(run: RunData) -> Markup:
    """What it came to, in a row of figures."""
    kpis = run.section("kpis")
    pnl = number(run.summary.get("pnl_micros"))
    tiles = (
        ("P&L after costs", usd(pnl, signed=True), "" if not pnl else "good" if pnl > 0 else "bad"),
        ("Costs", usd(run.summary.get("costs_micros")), ""),
        ("Max drawdown", percent(_of(kpis, "max_drawdown").get("value")), ""),
        ("Win rate", percent(_of(kpis, "win_rate").get("value")), ""),
        ("Trades", count(rows_of(run.trades)), ""),
        ("Fills", count(run.summary.get("fills")), ""),
        ("Signals", count(_total(run.section("signals"))), ""),
        ("Refused", count(_total(run.section("refusals"))), ""),
    )
    return Markup(f'<dl class="tiles">{"".join(_tile(*tile) for tile in tiles)}</dl>')


def what_ran(run: RunData) -> Markup:
    """Everything that is needed to run it again."""
    data, engine = run.section("data"), run.config.get("engine")
    engine = engine if isinstance(engine, Mapping) else {}
    ts_ns = column(run.equity, "ts_ns")
    said = (
        ("Mode", named(run.summary, "mode")),
        ("Stage", named(run.summary, "stage")),
        ("Strategy", named(run.config, "strategy") or named(engine, "strategy")),
        ("Model", PurePath(named(run.config, "model") or "none").name),
        ("Symbols", ", ".join(run.section("symbols")) or None),
        ("Positions held", f"{moment(ts_ns[0])} to {moment(ts_ns[-1])} UTC" if len(ts_ns) else None),
        ("Data source", named(data, "source") or named(run.config, "data_source")),
        ("Data hash", _hash(named(data, "hash") or named(run.config, "data_hash"))),
        ("Seed", named(run.summary, "seed")),
        *([("Replay speed", speed)] if (speed := named(run.config, "speed")) else []),
        ("Git revision", _hash(named(run.config, "git_revision"))),
        ("Settings hash", _hash(named(run.config, "engine_hash"))),
        ("Journal digest", _hash(named(run.config, "digest"))),
    )
    return section("ran", "What ran", facts(said))


def findings(run: RunData) -> Markup:
    """What a reader must know before believing the figures, our own doubts included."""
    told = run.summary.get("findings")
    texts = [*(told if isinstance(told, list) else ()), *_doubts(run)]
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return section("findings", "Findings", f'<ul class="findings">{items}</ul>' if texts else '<p class="none">None.</p>')


def key_figures(run: RunData) -> Markup:
    """Target, measured, interval, n and verdict of every key figure."""
    kpis = run.section("kpis")
    uppers = {row.metric for row in load_targets() if row.is_upper}
    rows = [_kpi(name, _of(kpis, name), name in uppers) for name in _ordered(kpis, NAMES)]
    heads = ("Figure", "Target", "Measured", "95 % interval", "n", "Verdict")
    note = "Met: the whole interval is on the right side of the target. Undecided: on both. No return target is met under ten sessions."
    return section("kpis", "Key figures against targets", table(heads, rows, caption="Key figures"), _others(), note=note)


def equity(run: RunData, charts: Mapping[str, Any]) -> Markup:
    """The two curves, where a position was held."""
    if "equity-chart" not in charts:
        return section("equity", "Equity and drawdown", f'<p class="none">{NO_DATA}: no position was held.</p>')
    return section(
        "equity",
        "Equity and drawdown",
        "<h3>Equity, US dollars</h3>",
        figure_box("equity-chart", "Equity over time"),
        "<h3>Distance from the high-water mark</h3>",
        figure_box("drawdown-chart", "Drawdown over time"),
        note="Marked at the side of the book that an exit would take. Times are UTC.",
    )


def trades(run: RunData, charts: Mapping[str, Any]) -> Markup:
    """Where it got in and out, and every trade, the newest first."""
    total = rows_of(run.trades)
    symbols = [str(symbol) for symbol in np.unique(column(run.trades, "symbol"))]
    parts = [
        f"<h3>{escape(symbol)}</h3>{figure_box(f'trades-chart-{i}', f'Trades in {symbol}', 'tall')}"
        for i, symbol in enumerate(symbols)
        if f"trades-chart-{i}" in charts
    ]
    listed = range(total - 1, max(-1, total - 1 - TRADES_LISTED_MAX), -1)
    heads = ("Closed, UTC", "Symbol", "Side", "Tier", "Contracts", "In", "Out", "Net", "Fees", "In planned risk", "Held", "Closed by")
    rows = [_trade(run, i) for i in listed]
    note = f"The newest {TRADES_LISTED_MAX:,} of {total:,}; all are in trades.parquet." if total > TRADES_LISTED_MAX else ""
    listing = table(heads, rows, caption="Trades, newest first", nothing="No trade was made.", figures_from=4)
    folded = f"<details{' open' if total <= 20 else ''}><summary>{total:,} trades</summary>{listing}</details>" if total else listing
    return section("trades", "Trades", *parts, folded, note=note)


def tiers(run: RunData) -> Markup:
    """What each tier of signals led to."""
    seen, of_tier = run.section("signals"), column(run.trades, "tier")
    nets = column(run.trades, "net_micros")
    known = [*TIERS, *sorted(set(seen) - set(TIERS))]
    rows = []
    for tier in known:
        mine = nets[of_tier == tier] if len(nets) else nets
        wins, n = int((mine > 0).sum()), len(mine)
        bounds = "{} to {}".format(*map(percent, wilson(wins, n))) if n else NO_DATA
        target = next((row.value for row in load_targets() if row.metric == f"{tier.lower()}_win_rate"), None)
        rate, mean, total = (percent(wins / n), usd(mine.mean(), signed=True), usd(int(mine.sum()), signed=True)) if n else (NO_DATA,) * 3
        goal = "none" if target is None else f"≥ {percent(target)}"
        rows.append((tier, count(seen.get(tier)), count(n), rate, bounds, goal, mean, total))
    heads = ("Tier", "Signals", "Trades", "Win rate", "95 % interval", "Target", "Mean net", "Net")
    return section("tiers", "Results by tier", table(heads, rows, caption="Results by tier"), note="Won: a net gain, fees included.")


def calibration(wins: Reliability | None, moves: Reliability | None) -> Markup:
    """Whether claims came true."""
    parts: list[str] = ["<h3>P(win) claimed against trades won</h3>", _reliability(wins, "win-chart", "Share won against P(win)", percent)]
    parts += ["<h3>Expected against realised move of the mid, ticks</h3>"]
    parts += [_reliability(moves, "move-chart", "Realised against expected move", plain)]
    note = "On the dotted line a claim is true. Only traded signals have an outcome of their own, so the first chart is of what was chosen."
    return section("calibration", "Calibration", *parts, note=note)


def latency(run: RunData, charts: Mapping[str, Any]) -> Markup:
    """Every leg against its budget."""
    legs = run.section("latency_ns")
    rows = [_leg(name, _of(legs, name)) for name in _ordered(legs, LEG_BUDGETS_NS)]
    heads = ("Leg", "p50", "p99", "Max", "n", "Budget", "p99 in budget")
    is_drawn = run.summary.get("mode") == "backtest"
    nothing = f"{NO_DATA}: a backtest draws its latency, it does not measure it." if is_drawn else NO_DATA
    parts: list[str] = [table(heads, rows, caption="Latency by leg", nothing=nothing)]
    if "latency-chart" in charts:
        parts.append(figure_box("latency-chart", "Latency of each leg against its budget", "tall"))
    if "latency-hist-chart" in charts:
        parts += ["<h3>Share of messages within a latency</h3>", figure_box("latency-hist-chart", "Distribution of latency")]
    return section("latency", "Latency against budget", *parts)


def costs(run: RunData) -> Markup:
    """From gross to net."""
    gross, fees, net, qty = (column(run.trades, name) for name in ("gross_micros", "fees_micros", "net_micros", "qty"))
    has = len(net) > 0
    contracts = int(qty.sum()) if has else 0
    said = (
        ("Closed trades, before fees", usd(int(gross.sum()), signed=True) if has else None),
        ("Fees of closed trades", usd(int(fees.sum())) if has else None),
        ("Closed trades, after fees", usd(int(net.sum()), signed=True) if has else None),
        ("Fees of the whole run", usd(run.summary.get("costs_micros"))),
        ("Fees per contract, in and out", usd(fees.sum() / contracts) if contracts else None),
        ("Contracts traded", count(contracts) if has else None),
    )
    note = "The spread, the collar and the depth of the book are in the prices of the fills, so they are part of the result before fees."
    return section("costs", "Costs", facts(said), note=note)


def quality(run: RunData) -> Markup:
    """What the feed was like, and what was kept from the engine."""
    data, quarantined = run.section("data"), _of(run.section("data"), "quarantined")
    events = number(data.get("events"))
    said = (("Events", count(events)), ("Trades in the feed", count(data.get("trades"))), ("Quarantined", count(_total(quarantined))))
    symbols = [(name, count(seen.get("events")), _ppm(seen.get("quality_ppm"))) for name, seen in _tables(run.section("symbols"))]
    reasons = [
        (words(name), count(n), percent(n / events) if events and number(n) is not None else NO_DATA)
        for name, n in sorted(quarantined.items(), key=lambda pair: -(number(pair[1]) or 0))
    ]
    return section(
        "quality",
        "Data quality",
        facts(said),
        table(("Symbol", "Events", "Usable"), symbols, caption="Usable events by symbol"),
        table(("Reason", "Events", "Share"), reasons, caption="Quarantined by reason", nothing="Nothing was quarantined."),
    )


def refusals(run: RunData) -> Markup:
    """What was refused, by which rule, and how far over the limit the first and the worst were."""
    codes, figures, limits = (column(run.refusals, name) for name in ("code", "figure", "limit"))
    rows = []
    for code, n in sorted(run.section("refusals").items(), key=lambda pair: -(number(pair[1]) or 0)):
        unit = {str(rule): text for rule, text in UNITS.items()}.get(code, "")
        mine = np.flatnonzero(codes == code)
        first = f"{with_unit(int(figures[mine[0]]), unit)} / {with_unit(int(limits[mine[0]]), unit)}" if len(mine) else NO_DATA
        first = first.replace(f" {unit} /", " /") if unit else first  # a unit that is a word is said once
        when = moment(int(column(run.refusals, "ts_ns")[mine[0]])) if len(mine) else NO_DATA
        rows.append((words(code), count(n), Cell(first, "n"), when))
    listing = table(
        ("Rule", "Signals refused", "First: figure / limit", "First, UTC"), rows, caption="Refusals", nothing="Nothing was refused."
    )
    asked = _total(run.section("signals"))
    note = f"Of {count(asked)} signals that became visible. Named by the first rule that failed."
    return section("refusals", "What was refused, and why", listing, note=note)


def orders(run: RunData) -> Markup:
    """How orders ended, and what is still held."""
    states = [(words(state), count(n)) for state, n in run.section("orders").items()]
    held = [(symbol, count(qty)) for symbol, qty in run.section("position_qty").items()]
    return section(
        "orders",
        "Orders and positions at the end",
        table(("State", "Orders"), states, caption="Orders by state", nothing="No order was sent."),
        table(("Symbol", "Contracts"), held, caption="Positions at the end"),
    )


def settings(run: RunData) -> Markup:
    """Every setting, folded away."""
    text = msgspec.json.format(msgspec.json.encode(run.config, order="sorted"), indent=2).decode()
    return section("settings", "Settings", f"<details><summary>config.json</summary><pre>{escape(text)}</pre></details>")


def _doubts(run: RunData) -> list[str]:
    """What the figures themselves give away, whoever wrote the summary."""
    found = []
    ratio = number(_of(run.section("kpis"), "sharpe").get("value"))
    if ratio is not None and ratio > SHARPE_DOUBTFUL:
        found.append(f"a Sharpe ratio of {plain(ratio)} is a sign of a leak before it is a sign of skill")
    legs = run.section("latency_ns")
    for name in _ordered(legs, LEG_BUDGETS_NS):
        p99, budget = number(_of(legs, name).get("p99")), number(_of(legs, name).get("budget"))
        if p99 is not None and budget and p99 > budget:
            found.append(f"latency of {words(name)}: p99 of {duration(p99)} is over its budget of {duration(budget)}")
    return found


def _kpi(name: str, kpi: Mapping[str, Any], is_upper: bool) -> tuple[Cell | str, ...]:
    shown = plain if name in FIGURES_NOT_SHARES else percent
    target, ci95 = number(kpi.get("target")), kpi.get("ci95")
    bounds = f"{shown(ci95[0])} to {shown(ci95[1])}" if isinstance(ci95, list | tuple) and len(ci95) == 2 else NO_DATA
    said = kpi.get("verdict")
    verdict = ("no target", "soft") if target is None and said == "undecided" else VERDICTS.get(str(said), (NO_DATA, "soft"))
    goal = "none" if target is None else f"{'≤' if is_upper else '≥'} {shown(target)}"
    return NAMES.get(name, words(name)), goal, shown(kpi.get("value")), bounds, count(kpi.get("n")), Cell(*verdict)


def _others() -> Markup:
    rows = [(row.task, Cell(words(row.metric), "t"), Cell(row.phase, "t"), _goal(row)) for row in other_targets()]
    listing = table(("Task", "Figure", "When", "Target"), rows, caption="Other targets", figures_from=3)
    return Markup(f"<details><summary>{len(rows)} targets that no single run can measure</summary>{listing}</details>")


def _goal(row: TargetRow) -> str:
    shown = plain if row.metric in FIGURES_NOT_SHARES or row.value > 10 or row.task == "business" else percent
    return f"{'≤' if row.is_upper else '≥'} {shown(row.value)}{f' to {shown(row.value_to)}' if row.value_to else ''}"


def _trade(run: RunData, i: int) -> tuple[Cell | str, ...]:
    def of(name: str) -> Any:
        return column(run.trades, name)[i]

    spec = run.instruments.get(str(of("symbol")))
    prices = [mean_price(int(of(name)), int(of("qty")), spec) for name in ("entry_ticks_qty", "exit_ticks_qty")]
    net, risk = int(of("net_micros")), int(of("risk_micros"))
    side = Cell("▲ long", "up t") if of("side") > 0 else Cell("▼ short", "down t")
    return (
        moment(int(of("closed_ns"))),
        str(of("symbol")),
        side,
        str(of("tier")),
        count(int(of("qty"))),
        *(NO_DATA if price is None else f"{price:,.10g}" for price in prices),
        Cell(usd(net, signed=True), "good" if net > 0 else "bad" if net < 0 else ""),
        usd(int(of("fees_micros"))),
        f"{plain(net / risk)} R" if risk > 0 else NO_DATA,
        duration(int(of("closed_ns") - of("opened_ns"))),
        Cell(str(of("reason")), "t"),
    )


def _leg(name: str, leg: Mapping[str, Any]) -> tuple[Cell | str, ...]:
    p99, budget = number(leg.get("p99")), number(leg.get("budget"))
    verdict = Cell(NO_DATA, "soft")
    if p99 is not None and budget:
        verdict = Cell(f"✕ {percent(p99 / budget)}", "bad") if p99 > budget else Cell(f"✓ {percent(p99 / budget)}", "good")
    return words(name), duration(leg.get("p50")), duration(p99), duration(leg.get("max")), count(leg.get("n")), duration(budget), verdict


def _reliability(found: Reliability | None, key: str, label: str, shown: Callable[[object], str]) -> Markup:
    if found is None:
        return Markup(f'<p class="none">{NO_DATA}</p>')
    rows = []
    for i, n in enumerate(found.n):
        bounds = NO_DATA if found.low is None or found.high is None else f"{shown(found.low[i])} to {shown(found.high[i])}"
        rows.append((shown(float(found.claimed[i])), shown(float(found.measured[i])), bounds, count(int(n))))
    listing = table(("Claimed", "Measured", "95 % interval", "n"), rows, caption="Claimed against measured", figures_from=0)
    return Markup(f"{figure_box(key, label, 'square')}<details><summary>In figures</summary>{listing}</details>")


def _of(source: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = source.get(name)
    return part if isinstance(part, Mapping) else {}


def _tables(source: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, part) for name, part in source.items() if isinstance(part, Mapping)]


def _ordered(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """`names` in the given order; those that it does not have come last."""
    rank = {name: i for i, name in enumerate(order)}
    return sorted(names, key=lambda name: rank.get(name, len(rank)))


def _total(counts: Mapping[str, Any]) -> float | None:
    known = [figure for figure in map(number, counts.values()) if figure is not None]
    return sum(known) if known or not counts else None


def _ppm(value: Any) -> str:
    figure = number(value)
    return NO_DATA if figure is None else percent(figure / PPM_PER_ONE)


def _hash(text: str | None) -> Markup | None:
    return None if text is None else Markup(f"<code>{escape(text)}</code>")


def _tile(term: str, said: str, name: str) -> str:
    return f"<div><dt>{escape(term)}</dt><dd{f' class={chr(34)}{name}{chr(34)}' if name else ''}>{escape(said)}</dd></div>"
