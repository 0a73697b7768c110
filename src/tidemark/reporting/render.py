"""A run as one HTML file that needs nothing else: no network, no other file, no server.

Pure: the same run gives the same bytes. The file's own policy forbids loading anything, so opening it tells nobody.
"""

from importlib.resources import files
from typing import Any, Final

import msgspec

from tidemark.reporting import sections
from tidemark.reporting.charts import (
    Chart,
    equity_charts,
    histogram_chart,
    latency_chart,
    reliability_chart,
    trade_charts,
)
from tidemark.reporting.rundata import RunData
from tidemark.reporting.statistics import Reliability, move_reliability, win_reliability
from tidemark.reporting.text import escape

POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
)
CAUTION: Final = "Past figures say nothing certain about another market, year or venue. Made from the run's own files; times are UTC."
PARTS: Final = (
    ("ran", "What ran"),
    ("kpis", "Targets"),
    ("equity", "Equity"),
    ("trades", "Trades"),
    ("tiers", "Tiers"),
    ("calibration", "Calibration"),
    ("latency", "Latency"),
    ("costs", "Costs"),
    ("quality", "Data"),
    ("refusals", "Refusals"),
)


def render_report(run: RunData, plotly_script: str) -> str:
    """The report's HTML. `plotly_script` is plotly's own JavaScript; empty, the charts' places say that it is missing."""
    wins, moves = win_reliability(run), move_reliability(run.predictions)
    charts = _charts(run, wins, moves)
    body = (
        sections.headline(run),
        sections.findings(run),
        sections.what_ran(run),
        sections.key_figures(run),
        sections.equity(run, charts),
        sections.trades(run, charts),
        sections.tiers(run),
        sections.calibration(wins, moves),
        sections.latency(run, charts),
        sections.costs(run),
        sections.quality(run),
        sections.refusals(run),
        sections.orders(run),
        sections.settings(run),
    )
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title in PARTS)
    title = escape(f"Tidemark report: {run.name}")
    chips = "".join(f'<span class="chip">{name}: {escape(run.summary.get(name) or "no data")}</span>' for name in ("mode", "stage"))
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">',
            f'<title>{title}</title>\n<link rel="icon" href="data:,">\n<style>{_file("report.css")}</style>\n</head>\n<body>',
            f'<header><h1>{escape(run.name)}</h1>{chips}<nav aria-label="Parts">{links}</nav></header>',
            "<main>",
            *body,
            "</main>",
            f"<footer>{escape(CAUTION)}</footer>",
            f'<script type="application/json" id="charts">{_json(charts)}</script>',
            f"<script>{_inline(plotly_script)}</script>",
            f"<script>{_file('report.js')}</script>\n</body>\n</html>\n",
        )
    )


def _charts(run: RunData, wins: Reliability | None, moves: Reliability | None) -> dict[str, Chart]:
    charts = {**equity_charts(run), **trade_charts(run)}
    if wins is not None:
        charts["win-chart"] = reliability_chart(wins, "P(win) claimed", "share won", is_share=True)
    if moves is not None:
        charts["move-chart"] = reliability_chart(moves, "expected move, ticks", "realised move, ticks", is_share=False)
    for key, chart in (
        ("latency-chart", latency_chart(run.section("latency_ns"))),
        ("latency-hist-chart", histogram_chart(run.section("latency_hist"))),
    ):
        if chart is not None:
            charts[key] = chart
    return charts


def _file(name: str) -> str:
    return files("tidemark.reporting").joinpath("static", name).read_text("utf-8")


def _json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _inline(script: str) -> str:
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
