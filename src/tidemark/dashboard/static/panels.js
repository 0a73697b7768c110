// Every panel as a function of the store. They are called at most once a frame, and only for what changed.
import * as f from "./format.js";
import { byId, fillRows, make, resize, setBar, setClass, setText } from "./dom.js";
import { legsOf } from "./store.js";

const LEVELS = 10;
const STALE_MS = 500; // a book older than this is unusable for entries
const NEAR = 0.8;
const rowsShown = 100;
const CHILD_STATES = { running: "good", ready: "good", finished: "good", starting: "warn", stopping: "warn" };

const money = (micros) => [f.signedUsd(micros), `n ${micros > 0 ? "up" : micros < 0 ? "down" : ""}`];
const sideCell = (side) => (f.isBuy(side) ? ["▲ buy", "up"] : ["▼ sell", "down"]);

export function drawLink(store, open, silentS) {
  const chip = byId("link");
  const [text, state] = !open ? ["server: reconnecting", "bad"]
    : !store.bus.connected ? ["bus down: waiting", "bad"]
      : silentS >= 5 ? [`quiet for ${silentS} s`, "warn"] : ["live", "good"];
  setText(chip, text);
  chip.dataset.state = state;
}

export function drawHeader(store) {
  const { exec, health } = store;
  const chip = byId("engine");
  setText(chip, `engine: ${exec?.state ?? f.NO_DATA}`);
  const name = String(exec?.state ?? "").toUpperCase();
  chip.dataset.state = !name ? "wait" : /HALT|KILL|STOP|DEAD|FAIL/.test(name) ? "bad" : /TRAD|RUN|READY|ACTIVE|OK|LIVE/.test(name) ? "good" : "warn";
  setText(byId("equity"), f.usd(exec?.equity_micros));
  setText(byId("pnl"), f.signedUsd(exec?.pnl_micros));
  setClass(byId("pnl"), exec?.pnl_micros > 0 ? "up" : exec?.pnl_micros < 0 ? "down" : "");
  setText(byId("drawdown"), f.percent(exec?.drawdown_bps));
  const newest = Math.max(0, exec?.ts_ns ?? 0, ...[...store.books.values()].map((book) => book.event_ts_ns ?? 0));
  setText(byId("clock"), f.dateClock(newest));
  const progress = health?.progress;
  const share = progress?.total ? progress.done / progress.total : 0;
  byId("progress").value = share;
  const pace = f.isNumber(progress?.speed) ? `, ${progress.speed.toFixed(1)} ×` : "";
  setText(byId("progress-text"), progress?.total ? `${(share * 100).toFixed(1)} %${pace}` : f.NO_DATA);
}

function levelRow() {
  const row = make("tr");
  for (let i = 0; i < 3; i += 1) row.append(make("td"));
  const cell = make("td");
  cell.setAttribute("aria-hidden", "true"); // the size says it
  cell.append(make("div", "depth"));
  row.append(cell);
  return row;
}

function drawSide(body, name, ticks, qty, tick, most, order) {
  const rows = resize(body, LEVELS, levelRow);
  rows.forEach((row, place) => {
    const level = order(place);
    const empty = f.isEmptyLevel(ticks?.[level], qty?.[level]);
    setText(row.children[0], `${name} ${level + 1}`);
    setText(row.children[1], empty ? "–" : f.price(ticks[level], tick));
    setText(row.children[2], empty ? "–" : f.count(qty[level]));
    setBar(row.children[3].firstElementChild, empty ? 0 : qty[level] / most);
    setClass(row, level === 0 ? "best" : "");
  });
}

export function drawBook(store, symbol) {
  const book = store.books.get(symbol);
  if (!book) return;
  const tick = book.tick_size;
  setText(byId("book-title"), `Book ${symbol}`);
  const delay = f.isNumber(book.recv_ts_ns) && f.isNumber(book.event_ts_ns) ? `, ${f.duration(book.recv_ts_ns - book.event_ts_ns)} under way` : "";
  setText(byId("book-line"), `${f.clock(book.event_ts_ns)}${delay}`);
  const most = Math.max(1, ...(book.bid_qty ?? []), ...(book.ask_qty ?? []));
  drawSide(byId("asks"), "ask", book.ask_ticks, book.ask_qty, tick, most, (place) => LEVELS - 1 - place);
  drawSide(byId("bids"), "bid", book.bid_ticks, book.bid_qty, tick, most, (place) => place);
  setText(byId("spread"), spreadText(book, tick));
}

function spreadText(book, tick) {
  const noBid = f.isEmptyLevel(book.bid_ticks?.[0], book.bid_qty?.[0]);
  const noAsk = f.isEmptyLevel(book.ask_ticks?.[0], book.ask_qty?.[0]);
  if (noBid || noAsk) return noBid && noAsk ? "book empty" : `no ${noBid ? "bids" : "asks"}`;
  const spread = book.ask_ticks[0] - book.bid_ticks[0];
  const state = spread < 0 ? " (crossed)" : spread === 0 ? " (locked)" : "";
  const bids = book.bid_qty.reduce((sum, qty) => sum + qty, 0);
  const asks = book.ask_qty.reduce((sum, qty) => sum + qty, 0);
  const share = bids + asks ? Math.round((100 * bids) / (bids + asks)) : 0;
  return `spread ${f.price(spread, tick)}${state}, ${share} % of size bid`;
}

export function drawPriceLine(store, symbol) {
  const book = store.books.get(symbol);
  const line = store.prices.get(symbol);
  if (!book || !line?.ts.length) return;
  const tick = Number(book.tick_size);
  const values = line.values.map(([ticks]) => ticks);
  const digits = f.decimalsOf(book.tick_size) + (f.decimalsOf(book.tick_size) ? 1 : 0);
  const text = (ticks) => (ticks * tick).toFixed(Math.min(digits, 7));
  const fills = store.fills.newestFirst().filter((fill) => fill.symbol === symbol).length;
  setText(byId("price-line"), `${symbol} ${text(values.at(-1))}, low ${text(Math.min(...values))}, high ${text(Math.max(...values))}, fills ${fills}`);
}

export function drawAccount(store) {
  const { exec } = store;
  const positions = exec?.positions ?? [];
  fillRows(byId("positions"), positions.map((p) => [
    p.symbol, [p.qty === 0 ? "flat" : `${f.signed(p.qty)} ${p.qty > 0 ? "long" : "short"}`, `n ${p.qty > 0 ? "up" : p.qty < 0 ? "down" : ""}`],
    [p.qty === 0 ? "–" : String(p.avg_price ?? f.NO_DATA), "n"], money(p.unrealised_micros), money(p.realised_micros),
  ]), 5, exec ? "Flat: no position." : "No data from the execution task yet.");
  drawOrders(Object.entries(exec?.orders ?? {}), exec ? "No orders so far." : "No data yet.");
  drawLimits(exec?.limits ?? []);
  const line = exec ? `P&L ${f.signedUsd(exec.pnl_micros)}, drawdown ${f.percent(exec.drawdown_bps)}, cash ${f.usd(exec.cash_micros)}` : f.NO_DATA;
  setText(byId("equity-line"), line);
}

function drawOrders(orders, nothing) {
  const list = byId("orders");
  if (!orders.length) {
    list.replaceChildren(make("p", "empty", nothing));
    return;
  }
  clearEmpty(list);
  const tiles = resize(list, orders.length, () => {
    const tile = make("div");
    tile.append(make("dt"), make("dd"));
    return tile;
  });
  orders.forEach(([state, n], i) => {
    setText(tiles[i].children[0], state.toLowerCase().replaceAll("_", " "));
    setText(tiles[i].children[1], f.count(n));
  });
}

function clearEmpty(list) {
  if (list.firstElementChild?.className === "empty") list.replaceChildren();
}

function drawLimits(limits) {
  const list = byId("limits");
  if (!limits.length) {
    list.replaceChildren(make("li", "empty", "No data yet."));
    return;
  }
  clearEmpty(list);
  const items = resize(list, limits.length, () => {
    const item = make("li");
    const row = make("div", "row");
    row.append(make("span"), make("span"));
    const track = make("div", "track");
    track.append(make("div", "fill"));
    item.append(row, track);
    return item;
  });
  limits.forEach((limit, i) => {
    const share = limit.limit ? Math.abs(limit.figure) / Math.abs(limit.limit) : 0;
    const state = share >= 1 ? "bad" : share >= NEAR ? "warn" : "";
    const unit = f.unitOf(limit);
    const note = share >= 1 ? ", reached" : share >= NEAR ? ", near" : "";
    setText(items[i].firstElementChild.children[0], String(limit.rule).toLowerCase().replaceAll("_", " "));
    setText(items[i].firstElementChild.children[1], `${f.ofLimit(limit.figure, limit.limit, unit)} (${Math.round(share * 100)} %${note})`);
    setBar(items[i].children[1].firstElementChild, share);
    setClass(items[i].children[1].firstElementChild, `fill ${state}`.trim());
  });
}

export function drawLatency(store) {
  const legs = legsOf(store.latency);
  const body = byId("latency");
  fillRows(body, legs.map(([name, leg]) => [
    name.replaceAll("_", " ").replace(".", ": "), [f.duration(leg.p99), "n"], [leg.budget === null ? "none" : f.duration(leg.budget), "n"], null, [f.duration(leg.p50), "n"], [f.duration(leg.max), "n"],
    [f.count(leg.n), "n"],
  ]), 7, "No data yet.");
  legs.forEach(([, leg], i) => {
    const cell = body.children[i].children[3];
    if (!cell.querySelector(".track")) {
      const track = make("span", "track");
      track.append(make("div", "fill"));
      cell.replaceChildren(track, make("span"));
    }
    const share = leg.budget && f.isNumber(leg.p99) ? leg.p99 / leg.budget : 0;
    const known = f.isNumber(leg.p99) && f.isNumber(leg.budget);
    setBar(cell.querySelector(".fill"), share);
    setClass(cell.querySelector(".fill"), share > 1 ? "fill bad" : share >= NEAR ? "fill warn" : "fill");
    setText(cell.lastElementChild, known ? (share > 1 ? "✕ over" : "✓ within") : leg.budget === null ? "–" : f.NO_DATA);
    cell.querySelector(".track").hidden = leg.budget === null;
    setClass(cell.lastElementChild, !known ? "" : share > 1 ? "bad" : "good");
  });
}

// Where nobody reports on the feed, the books say how far it is: an event's number counts its symbol's events.
function feedsOfBooks(store) {
  return store.symbols.map((symbol) => ({ symbol, events: store.books.get(symbol).seq, quarantined: null, age_ms: null }));
}

export function drawHealth(store) {
  const feeds = store.health?.feed?.length ? store.health.feed : feedsOfBooks(store);
  fillRows(byId("feed"), feeds.map((feed) => {
    const known = f.isNumber(feed.age_ms);
    return [feed.symbol, [f.count(feed.events), "n"], [f.count(feed.quarantined), "n"], [known ? f.duration(feed.age_ms * 1e6) : "–", "n"],
      !known ? "replay" : feed.age_ms > STALE_MS ? ["▲ stale", "warn"] : ["✓ fresh", "good"]];
  }), 5, "No data yet.");
  const children = store.health?.children ?? [];
  const list = byId("children");
  if (!children.length) {
    list.replaceChildren(make("li", "empty", "No data yet."));
    return;
  }
  clearEmpty(list);
  const items = resize(list, children.length, () => {
    const item = make("li");
    item.append(make("span"), make("span"));
    return item;
  });
  children.forEach((child, i) => {
    const state = CHILD_STATES[String(child.state).toLowerCase()] ?? "bad";
    setText(items[i].children[0], `${child.name}${child.pid ? ` (${child.pid})` : ""}`);
    setText(items[i].children[1], `${{ good: "✓", warn: "…", bad: "✕" }[state]} ${child.state}`);
    setClass(items[i].children[1], state);
  });
}

export function drawLogs(store) {
  const refusals = store.refusals.newestFirst();
  setText(byId("refusals-count"), refusals.length ? `last ${refusals.length}` : "");
  fillRows(byId("refusals"), refusals.slice(0, rowsShown).map((item) => {
    const unit = f.unitOf(item);
    return [f.clock(item.ts_ns), String(item.code ?? f.NO_DATA), String(item.symbol ?? "–"), [f.withUnit(item.figure, unit), "n"], [f.withUnit(item.limit, unit), "n"]];
  }), 5, "Nothing was refused.");
  const fills = store.fills.newestFirst();
  fillRows(byId("fills"), fills.slice(0, rowsShown).map((fill) => [
    f.clock(fill.ts_ns), String(fill.symbol), sideCell(fill.side), [f.count(fill.qty), "n"], [String(fill.price ?? f.NO_DATA), "n"],
  ]), 5, "No fills so far.");
  fillRows(byId("signals"), store.signals.newestFirst().slice(0, rowsShown).map((signal) => [
    f.clock(signal.input_ts_ns), String(signal.symbol), sideCell(signal.side), String(signal.tier ?? "–"),
    [f.isNumber(signal.p_win) ? signal.p_win.toFixed(3) : f.NO_DATA, "n"],
  ]), 5, "No signals so far.");
}
