// Numbers and times as text. Anything that is not a number is "no data", never 0.
export const NO_DATA = "no data";
const LEVEL_EMPTY = -1e15; // an empty level's price is -2^63

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const isEmptyLevel = (ticks, qty) => !isNumber(ticks) || ticks < LEVEL_EMPTY || !qty;

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const plain = new Intl.NumberFormat("en-US", { maximumFractionDigits: 3 });
const dollars = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const count = (value) => (isNumber(value) ? whole.format(value) : NO_DATA);
export const usd = (micros) => (isNumber(micros) ? `${micros < 0 ? "−" : ""}$${dollars.format(Math.abs(micros) / 1e6)}` : NO_DATA);
export const signedUsd = (micros) => (isNumber(micros) && micros > 0 ? `+${usd(micros)}` : usd(micros));
export const percent = (bps) => (isNumber(bps) ? `${dollars.format(bps / 100)} %` : NO_DATA);
export const signed = (value) => (isNumber(value) ? `${value > 0 ? "+" : value < 0 ? "−" : ""}${whole.format(Math.abs(value))}` : NO_DATA);

export function duration(ns) {
  if (!isNumber(ns)) return NO_DATA;
  const steps = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]];
  const [scale, unit] = steps.find(([size]) => Math.abs(ns) >= size) ?? [1, "ns"];
  const value = ns / scale;
  return `${value.toFixed(Math.abs(value) < 10 && unit !== "ns" ? 2 : Math.abs(value) < 100 && unit !== "ns" ? 1 : 0)} ${unit}`;
}

export const decimalsOf = (tickText) => (String(tickText).split(".")[1] ?? "").length;
export const price = (ticks, tickText) => (isNumber(ticks) ? (ticks * Number(tickText)).toFixed(decimalsOf(tickText)) : NO_DATA);

export const millis = (ns) => ns / 1e6;
export function clock(ns) {
  if (!isNumber(ns) || ns <= 0) return NO_DATA;
  return new Date(millis(ns)).toISOString().slice(11, 23);
}
export function dateClock(ns) {
  if (!isNumber(ns) || ns <= 0) return NO_DATA;
  return new Date(millis(ns)).toISOString().slice(0, 19).replace("T", " ");
}

// Limits and refusals carry their unit; money arrives in micro-dollars, times in nanoseconds.
export function withUnit(value, unit) {
  if (!isNumber(value)) return value === null || value === undefined ? NO_DATA : String(value);
  switch (unit) {
    case "micros": case "usd_micros": return usd(value);
    case "ns": return duration(value);
    case "bps": return percent(value);
    case "ppm": return `${plain.format(value / 10_000)} %`;
    case undefined: case null: case "": return plain.format(value);
    default: return `${plain.format(value)} ${unit}`;
  }
}

// "4 of 5 contracts", "$860.00 of $3,000.00": a unit that is a word is said once.
export function ofLimit(figure, limit, unit) {
  const isWord = !["micros", "usd_micros", "ns", "bps", "ppm", undefined, null, ""].includes(unit);
  return isWord ? `${withUnit(figure)} of ${withUnit(limit, unit)}` : `${withUnit(figure, unit)} of ${withUnit(limit, unit)}`;
}

// A rule's name says its unit where the message does not: DAY_LOSS in dollars, STALE_SIGNAL in time.
export function unitOf(item) {
  if (item.unit !== undefined) return item.unit;
  const name = String(item.code ?? item.rule ?? "");
  if (/QUALITY/.test(name)) return "ppm";
  if (/STALE|AGE|LATENCY|CLOCK/.test(name)) return "ns";
  if (/LOSS|RISK|MARGIN|EXPOSURE|NOTIONAL/.test(name)) return "micros";
  return "";
}

export const isBuy = (side) => side === 1 || side === "BUY" || side === "buy";
