// The two charts. plotly's script is the one of the installed package; without it a line of text stands in their place.
import { isBuy, isNumber, millis } from "./format.js";
import { byId, make } from "./dom.js";

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const chartsAvailable = () => typeof globalThis.Plotly === "object";

export function showMissing() {
  for (const id of ["price-chart", "equity-chart"]) {
    byId(id).classList.add("none");
    byId(id).replaceChildren(make("p", "", "Charts need the plotly package; everything else works without it."));
  }
}

function layout(yaxis, yaxis2) {
  const [text, soft, edge, panel] = ["--text", "--soft", "--edge", "--panel"].map(colour);
  const axis = { gridcolor: edge, linecolor: edge, zerolinecolor: edge, tickfont: { color: soft, size: 11 }, fixedrange: true, automargin: true };
  const second = yaxis2 ? { yaxis2: { ...axis, ...yaxis2 } } : {};
  return {
    paper_bgcolor: panel, plot_bgcolor: panel, font: { color: text, size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: 8, r: 8, t: 6, b: 36 }, showlegend: false, dragmode: false, hovermode: "x", uirevision: "keep",
    hoverlabel: { bgcolor: panel, bordercolor: edge, font: { color: text } },
    xaxis: { ...axis, type: "date", nticks: innerWidth < 760 ? 4 : 7, tickangle: 0, ...(yaxis2 ? { anchor: "y2" } : {}) },
    yaxis: { ...axis, ...yaxis },
    ...second,
  };
}

function markers(points, up, symbol, filled) {
  const hue = colour(up ? "--buy" : "--sell");
  return {
    type: "scatter", mode: "markers", x: points.map(({ x }) => x), y: points.map(({ y }) => y), text: points.map(({ text }) => text),
    hovertemplate: "%{text}<extra></extra>", cliponaxis: false,
    marker: { symbol: filled ? symbol : `${symbol}-open`, size: filled ? 11 : 10, color: hue, line: { color: hue, width: 1.6 } },
  };
}

export function drawPrice(symbol, store) {
  const book = store.books.get(symbol);
  const line = store.prices.get(symbol);
  if (!book || !line) return;
  const tick = Number(book.tick_size);
  const first = millis(line.ts[0] ?? 0);
  const sides = { signal: [[], []], fill: [[], []] };
  for (const signal of store.signals.newestFirst()) {
    if (signal.symbol !== symbol || !isNumber(signal.mid2) || millis(signal.input_ts_ns) < first) continue;
    const text = `${isBuy(signal.side) ? "buy" : "sell"} signal ${signal.tier}`;
    sides.signal[isBuy(signal.side) ? 0 : 1].push({ x: millis(signal.input_ts_ns), y: (signal.mid2 / 2) * tick, text });
  }
  for (const fill of store.fills.newestFirst()) {
    if (fill.symbol !== symbol || millis(fill.ts_ns) < first) continue;
    const text = `${isBuy(fill.side) ? "bought" : "sold"} ${fill.qty} at ${fill.price}`;
    sides.fill[isBuy(fill.side) ? 0 : 1].push({ x: millis(fill.ts_ns), y: Number(fill.price), text });
  }
  const mid = {
    type: "scatter", mode: "lines", x: line.ts.map(millis), y: line.values.map(([ticks]) => ticks * tick),
    line: { color: colour("--accent"), width: 1.6 }, hovertemplate: "%{y}<extra>mid</extra>",
  };
  const traces = [
    mid, markers(sides.signal[0], true, "triangle-up", false), markers(sides.signal[1], false, "triangle-down", false),
    markers(sides.fill[0], true, "triangle-up", true), markers(sides.fill[1], false, "triangle-down", true),
  ];
  globalThis.Plotly.react("price-chart", traces, layout({ tickformat: `.${Math.min(4, String(book.tick_size).split(".")[1]?.length ?? 0)}f` }), CONFIG);
}

export function drawEquity(store) {
  const line = store.equity;
  if (!line.ts.length) return;
  const x = line.ts.map(millis);
  const traces = [
    { type: "scatter", mode: "lines", x, y: line.values.map(([pnl]) => pnl / 1e6), line: { color: colour("--accent"), width: 1.8 }, hovertemplate: "%{y:$,.2f}<extra>P&L</extra>" },
    { type: "scatter", mode: "lines", x, y: line.values.map(([, bps]) => -Math.abs(bps) / 100), yaxis: "y2", line: { color: colour("--sell"), width: 1.4 }, fill: "tozeroy", fillcolor: colour("--sell-bar"), hovertemplate: "%{y:.2f} %<extra>drawdown</extra>" },
  ];
  globalThis.Plotly.react("equity-chart", traces, layout({ tickprefix: "$", nticks: 5, domain: [0.42, 1] }, { ticksuffix: " %", rangemode: "tozero", nticks: 3, domain: [0, 0.32] }), CONFIG);
}
