// Wires the page: the live stream into the store, the store into the panels once a frame, and the keyboard.
import { byId, make, resize, setText } from "./dom.js";
import { isEmptyLevel, price } from "./format.js";
import { chartsAvailable, drawEquity, drawPrice, showMissing } from "./charts.js";
import * as panels from "./panels.js";
import { Store } from "./store.js";

const CHART_MS = 500; // a chart is drawn twice a second at most; the eye does not need more
const SILENCE_MS = 1000;
const RETRY_MS = 2000;
const SHORTCUTS_KEY = "tidemark.single-keys";

const store = new Store();
const view = { symbol: null, frozen: false, open: false, heardAt: performance.now(), dirty: new Set(), frame: 0, chartAt: 0, chartTimer: 0 };

// --- drawing ---------------------------------------------------------------------------------------------------------------------
const PANELS_OF = { book: ["tabs", "book", "header", "health", "charts"], exec: ["account", "logs", "header", "charts"], latency: ["latency"], health: ["health", "header"],
  signal: ["logs", "charts"], refusal: ["logs"], bus: ["link"] };
const ALL = ["link", "tabs", "book", "header", "account", "logs", "latency", "health", "charts"];

function touch(names) {
  names.forEach((name) => view.dirty.add(name));
  if (!view.frame && !view.frozen) view.frame = requestAnimationFrame(draw);
}

function draw() {
  view.frame = 0;
  const dirty = view.dirty;
  view.dirty = new Set();
  if (dirty.has("tabs")) drawTabs();
  if (dirty.has("header")) panels.drawHeader(store);
  if (dirty.has("book")) panels.drawBook(store, view.symbol);
  if (dirty.has("account")) panels.drawAccount(store);
  if (dirty.has("latency")) panels.drawLatency(store);
  if (dirty.has("health")) panels.drawHealth(store);
  if (dirty.has("logs")) panels.drawLogs(store);
  if (dirty.has("link")) drawLink();
  if (dirty.has("charts")) drawCharts();
}

function drawLink() {
  panels.drawLink(store, view.open, Math.floor((performance.now() - view.heardAt) / 1000));
}

function drawCharts() {
  const waitMs = view.chartAt + CHART_MS - performance.now();
  if (waitMs > 0) {
    view.chartTimer ||= setTimeout(() => { view.chartTimer = 0; touch(["charts"]); }, waitMs);
    return;
  }
  view.chartAt = performance.now();
  panels.drawPriceLine(store, view.symbol);
  if (!chartsAvailable()) return;
  drawPrice(view.symbol, store);
  drawEquity(store);
}

// --- symbols ---------------------------------------------------------------------------------------------------------------------
function drawTabs() {
  const symbols = store.symbols;
  byId("no-symbols").hidden = symbols.length > 0;
  if (!symbols.includes(view.symbol)) view.symbol = symbols[0] ?? null;
  const tabs = resize(byId("tabs"), symbols.length, () => {
    const tab = make("button");
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "book");
    tab.append(make("span", "name"), make("span", "last"));
    tab.addEventListener("click", () => select(tab.dataset.symbol));
    return tab;
  });
  symbols.forEach((symbol, i) => {
    const book = store.books.get(symbol);
    const chosen = symbol === view.symbol;
    tabs[i].dataset.symbol = symbol;
    tabs[i].id = `tab-${i}`;
    tabs[i].setAttribute("aria-selected", String(chosen));
    tabs[i].tabIndex = chosen ? 0 : -1;
    setText(tabs[i].children[0], symbol);
    setText(tabs[i].children[1], isEmptyLevel(book.bid_ticks?.[0], book.bid_qty?.[0]) ? "–" : price(book.bid_ticks[0], book.tick_size));
  });
}

function select(symbol) {
  view.symbol = symbol;
  view.chartAt = 0;
  touch(["tabs", "book", "charts"]);
}

byId("tabs").addEventListener("keydown", (event) => {
  const symbols = store.symbols;
  const at = symbols.indexOf(view.symbol);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: symbols.length - 1 }[event.key];
  if (to === undefined || !symbols.length) return;
  event.preventDefault();
  const next = (to + symbols.length) % symbols.length;
  select(symbols[next]);
  byId("tabs").children[next].focus();
});

// --- keyboard --------------------------------------------------------------------------------------------------------------------
function focusPanel(selector) {
  const target = document.querySelector(selector);
  target.scrollIntoView({ block: "nearest" });
  target.focus();
}

function freeze() {
  view.frozen = !view.frozen;
  byId("freeze").setAttribute("aria-pressed", String(view.frozen));
  setText(byId("freeze"), view.frozen ? "Frozen" : "Freeze");
  if (!view.frozen) touch(ALL);
}

const SHORTCUTS = {
  b: () => focusPanel("#book"), p: () => focusPanel(".positions .scroll"), r: () => focusPanel(".refusals .scroll"), f: freeze,
  "?": () => byId("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (!byId("single-keys").checked || event.ctrlKey || event.altKey || event.metaKey || byId("keys").open) return;
  const place = Number.parseInt(event.key, 10);
  if (place >= 1 && place <= store.symbols.length) select(store.symbols[place - 1]);
  else if (Object.hasOwn(SHORTCUTS, event.key)) SHORTCUTS[event.key]();
  else return;
  event.preventDefault();
});

byId("freeze").addEventListener("click", freeze);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("single-keys").checked = localStorage.getItem(SHORTCUTS_KEY) !== "off";
byId("single-keys").addEventListener("change", (event) => localStorage.setItem(SHORTCUTS_KEY, event.target.checked ? "on" : "off"));

// --- the live stream -------------------------------------------------------------------------------------------------------------
let stream = null;

function connect() {
  stream?.close();
  stream = new EventSource("/events");
  stream.onmessage = (event) => {
    view.open = true;
    view.heardAt = performance.now();
    for (const message of JSON.parse(event.data)) {
      store.apply(message);
      touch(message.type === "state" ? ALL : PANELS_OF[message.type] ?? []);
    }
    touch(["link"]);
  };
  stream.onerror = () => {
    view.open = false;
    drawLink();
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS); // refused: the browser gives up by itself only then
  };
}

// A page that is left may be kept for the way back, with its connection; six of those and the browser opens no more to this server.
addEventListener("pagehide", () => stream?.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) connect();
});

setInterval(drawLink, SILENCE_MS); // only the age of the last message; nothing is asked for
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { view.chartAt = 0; touch(["charts"]); });
if (!chartsAvailable()) showMissing();
connect();
