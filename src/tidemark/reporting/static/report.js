"use strict";
// Draws the charts from the data in this file, in the colours of the style sheet, again when those change.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const PRINT_WIDTH = 680;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const painted = (value) => {
    if (typeof value === "string") return /^--[a-z-]+$/.test(value) ? colour(value) : value;
    if (Array.isArray(value)) return value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, painted(part)]));
  };

  function draw(width) {
    const [text, soft, edge, panel] = ["--text", "--soft", "--edge", "--panel"].map(colour);
    for (const [id, chart] of Object.entries(charts)) {
      const place = document.getElementById(id);
      if (!place) continue;
      const { data, xaxis, yaxis, ...rest } = chart;
      const titled = ({ title, ...axis }) => (title ? { ...axis, title: { ...title, font: { size: 12, color: soft } } } : axis);
      const axis = { gridcolor: edge, linecolor: edge, zerolinecolor: edge, tickfont: { color: soft, size: 11 }, automargin: true, fixedrange: innerWidth < 640 };
      const date = xaxis.type === "date" ? { nticks: (width ?? place.clientWidth) < 520 ? 4 : 8, tickangle: 0 } : {};
      const layout = {
        paper_bgcolor: panel, plot_bgcolor: panel, font: { color: text, size: 12, family: getComputedStyle(document.body).fontFamily },
        margin: { l: 8, r: 12, t: 8, b: 36 }, showlegend: false, hovermode: "x", dragmode: innerWidth < 640 ? false : "zoom",
        legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 }, hoverlabel: { bgcolor: panel, bordercolor: edge, font: { color: text } },
        ...rest, xaxis: { ...axis, ...date, ...titled(xaxis) }, yaxis: { ...axis, ...titled(yaxis) }, ...(width ? { width } : {}),
      };
      globalThis.Plotly.react(place, data.map(painted), layout, { displayModeBar: false, responsive: !width });
    }
  }

  if (typeof globalThis.Plotly !== "object") {
    for (const place of document.querySelectorAll(".chart")) {
      place.classList.add("missing");
      place.textContent = "This chart was left out: the plotly package was not installed where the report was made.";
    }
    return;
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.print = "";
    draw(PRINT_WIDTH);
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.print;
    draw();
  });
})();
