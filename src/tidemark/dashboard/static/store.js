// What the server said so far, bounded. The server keeps the same histories; a reconnect replaces all of this with its state.
import { isEmptyLevel, isNumber } from "./format.js";

const POINTS_MAX = 1200;
const SPACING_NS = 250e6;
const LOG_MAX = 200;
const FILLS_MAX = 500;

// Points of one line: when full, every second point goes and the spacing doubles, so the whole run stays in sight.
export class Line {
  constructor(from) {
    this.ts = from?.ts_ns ?? [];
    this.values = from?.values ?? [];
    this.spacing = from?.spacing_ns ?? SPACING_NS;
  }

  add(ts, values) {
    const last = this.ts.at(-1);
    if (last !== undefined && ts < last) Object.assign(this, new Line());
    if (this.ts.length && ts - this.ts.at(-1) < this.spacing) {
      this.values[this.values.length - 1] = values;
      return;
    }
    this.ts.push(ts);
    this.values.push(values);
    if (this.ts.length > POINTS_MAX) {
      const keep = (_, i) => i % 2 === 0;
      this.ts = this.ts.filter(keep);
      this.values = this.values.filter(keep);
      this.spacing *= 2;
    }
  }
}

// A log in which the same entry, heard twice, counts once.
export class Log {
  constructor(keyOf, size) {
    this.keyOf = keyOf;
    this.size = size;
    this.items = new Map();
  }

  add(item) {
    const key = this.keyOf(item);
    if (this.items.has(key)) return;
    this.items.set(key, item);
    if (this.items.size > this.size) this.items.delete(this.items.keys().next().value);
  }

  newestFirst() {
    return [...this.items.values()].reverse();
  }
}

const joined = (...names) => (item) => names.map((name) => item[name]).join("|");

export class Store {
  constructor() {
    this.reset();
  }

  reset() {
    this.bus = { connected: false, error: "" };
    this.books = new Map();
    this.prices = new Map();
    this.equity = new Line();
    this.exec = null;
    this.latency = null;
    this.health = null;
    this.signals = new Log(joined("signal_id", "input_ts_ns"), LOG_MAX);
    this.refusals = new Log(joined("ts_ns", "code", "symbol", "figure"), LOG_MAX);
    this.fills = new Log(joined("ts_ns", "symbol", "side", "qty", "price"), FILLS_MAX);
  }

  get symbols() {
    return [...this.books.keys()].sort();
  }

  apply(message) {
    switch (message.type) {
      case "state": this.#load(message); break;
      case "bus": this.bus = message; break;
      case "book": this.#book(message); break;
      case "exec": this.#account(message); break;
      case "latency": this.latency = message; break;
      case "health": this.health = message; break;
      case "signal": this.signals.add(message); break;
      case "refusal": this.refusals.add(message); break;
      default: break;
    }
  }

  #load({ bus, last, history }) {
    this.reset();
    this.bus = bus;
    for (const [symbol, line] of Object.entries(history.prices)) this.prices.set(symbol, new Line(line));
    this.equity = new Line(history.equity);
    history.signals.forEach((signal) => this.signals.add(signal));
    history.refusals.forEach((refusal) => this.refusals.add(refusal));
    history.fills.forEach((fill) => this.fills.add(fill));
    Object.values(last).forEach((message) => this.apply(message));
  }

  #book(book) {
    this.books.set(book.symbol, book);
    const [bid, ask] = [book.bid_ticks?.[0], book.ask_ticks?.[0]];
    if (isEmptyLevel(bid, book.bid_qty?.[0]) || isEmptyLevel(ask, book.ask_qty?.[0]) || !isNumber(book.event_ts_ns)) return;
    if (!this.prices.has(book.symbol)) this.prices.set(book.symbol, new Line());
    this.prices.get(book.symbol).add(book.event_ts_ns, [(bid + ask) / 2]);
  }

  #account(exec) {
    this.exec = exec;
    if (isNumber(exec.ts_ns) && isNumber(exec.pnl_micros) && isNumber(exec.drawdown_bps)) {
      this.equity.add(exec.ts_ns, [exec.pnl_micros, exec.drawdown_bps]);
    }
    (exec.fills ?? []).forEach((fill) => this.fills.add(fill));
    (exec.refusals ?? []).forEach((refusal) => this.refusals.add(refusal));
  }
}

// Legs of the latency message, however the publisher nested them.
export function legsOf(message) {
  if (!message) return [];
  const table = message.legs ?? message.leg ?? message;
  return Object.entries(table).filter(([, leg]) => leg !== null && typeof leg === "object" && "budget" in leg)
    .sort(([, a], [, b]) => (a.budget === null) - (b.budget === null)); // those with a budget first
}
