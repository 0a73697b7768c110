"""Simulated Level-2 sessions: the same seed gives the same bytes, and one session does not depend on how many others there are.

Two markets on one machine: `null`, where no observable tells the sign of a coming move, and `planted`, where the rule of
`tidemark.market.rule` does. Times are real exchange dates, 08:30 Chicago on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from tidemark.calendar import calendar
from tidemark.errors import bad_input
from tidemark.events import I64, LEVELS, EventBlock, concat, empty_block
from tidemark.instruments import Instrument
from tidemark.market.config import BEHAVIOURS, PLANTED, SOURCE, MarketConfig
from tidemark.market.kernels import PROFILE, run_slots
from tidemark.market.oracle import score_oracle
from tidemark.market.rule import F64, describe_rule, leader_of, rule_vector
from tidemark.market.timeline import Timeline, draw_timeline

SLOTS_PER_CALL = 65_536
GAP_TICKS_SD = 40.0  # overnight
_OPENS, _SESSION = 0, 1  # branches of the seed


@dataclass(frozen=True, slots=True)
class SimulatedMarket:
    """Sessions in order, each in feed order over all symbols; `seq` runs on from session to session.

    `planted` is empty for the null market; otherwise it is the rule, as the data set's manifest records it.
    """

    config: MarketConfig
    sessions: list[tuple[date, EventBlock]]
    planted: dict[str, Any]

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.config.symbols

    @property
    def instruments(self) -> dict[str, Instrument]:
        return self.config.instruments


def simulate(config: MarketConfig) -> SimulatedMarket:
    """The whole market in memory; about 0.3 KB an event. See `iter_sessions` for one session at a time."""
    sessions = list(iter_sessions(config))
    return SimulatedMarket(config, sessions, planted_of(config, (block for _, block in sessions)))


def planted_of(config: MarketConfig, blocks: Iterable[EventBlock] | None = None) -> dict[str, Any]:
    """What the manifest says about the planted edge, the oracle's score on its sessions included; empty for the null market.

    `blocks` saves simulating the sessions once more for the score.
    """
    if config.market != PLANTED:
        return {}
    rule = describe_rule(config.symbols)
    if blocks is None:
        blocks = (block for _, block in iter_sessions(config))
    return {**rule, "oracle_score": score_oracle(blocks, config.instruments, rule)}


def iter_sessions(config: MarketConfig) -> Iterator[tuple[date, EventBlock]]:
    """(trading date, events in feed order) per session."""
    last_seq = np.zeros(len(config.symbols), np.int64)
    opens = _opens(config)
    for index, (day, open_ns) in enumerate(trading_days(config.first_date, config.sessions)):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((config.seed, _SESSION, index))))
        block = _run(config, draw_timeline(config, open_ns, rng), opens[index], rng)
        yield day, _with_seq(block, last_seq)


def trading_days(first: date, count: int) -> list[tuple[date, int]]:
    """The next `count` full trading days of all markets from `first` on, with their regular opening in UTC nanoseconds."""
    until = first + timedelta(days=2 * count + 30)
    full = {session.trade_date for session in calendar("ice_dx").sessions(first, until) if not session.early_close}
    sessions = [session for session in calendar("globex_equity").sessions(first, until) if not session.early_close]
    days = [(session.trade_date, session.rth_open_ns) for session in sessions if session.trade_date in full]
    if len(days) < count:
        raise bad_input(SOURCE, "first_date", first.isoformat(), f"a date with {count} trading days after it in the calendar")
    return days[:count]


def _opens(config: MarketConfig) -> I64:
    """Opening bid in ticks, (sessions, symbols): near the contract's price, a random gap further each day."""
    columns = []
    for symbol in config.symbols:
        # Per symbol, so that the choice of the others does not change its prices.
        key = int.from_bytes(symbol.encode(), "big")
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((config.seed, _OPENS, key))))
        start = config.instruments[symbol].ticks(BEHAVIOURS[symbol].start_price)
        columns.append(start + np.rint(GAP_TICKS_SD * rng.standard_normal(config.sessions)).astype(np.int64).cumsum())
    return np.stack(columns, axis=1)


def _table(config: MarketConfig) -> F64:
    """The kernel's parameters, one row per symbol (columns T_*)."""
    leader = leader_of(config.symbols)
    rows = []
    for symbol in config.symbols:
        spec = BEHAVIOURS[symbol]
        follows = 0 if symbol == leader else spec.beta
        rows.append((spec.touch_qty, spec.trade_qty, spec.widen_prob, spec.heal_prob, follows, symbol == leader, spec.flow_unit))
    return np.array(rows, np.float64)


def _run(config: MarketConfig, line: Timeline, open_bid: I64, rng: np.random.Generator) -> EventBlock:
    table = _table(config)
    count = len(config.symbols)
    state = np.stack((open_bid, open_bid + 1, np.zeros(count, np.int64)), axis=1)
    qty = 1 + (np.outer(table[:, 0], np.tile(PROFILE, 2)) * rng.uniform(0.4, 1.6, (count, 2 * LEVELS))).astype(np.int64)
    sums = np.zeros((count, 2))
    cursor = np.zeros(1, np.int64)
    rule = rule_vector(config.market == PLANTED)
    flow_path = np.zeros(len(line))
    parts = []
    for first in range(0, len(line), SLOTS_PER_CALL):
        last = min(first + SLOTS_PER_CALL, len(line))
        out = empty_block(config.symbols, 2 * (last - first))
        rows = run_slots(
            first, last, line.symbol_i, line.kind, line.ts_ns, line.recv_ts_ns, line.move_ticks, line.sign_u, line.buy_prob, line.thick,
            line.flow_keep, line.delayed, line.lead_keep, flow_path, line.uniforms, line.pool, cursor, table, rule, state, qty, sums,
            out.symbol_i, out.kind, out.aggressor, out.event_ts_ns, out.recv_ts_ns, out.px_ticks, out.qty,
        )  # fmt: skip
        parts.append(out[:rows])
    block = concat(parts)
    # Symbols that move together print their trades together: the trades' rows come before all of the depth rows.
    block = block[np.argsort(block.event_ts_ns, kind="stable")]
    np.maximum.accumulate(block.recv_ts_ns, out=block.recv_ts_ns)
    return block


def _with_seq(block: EventBlock, last_seq: I64) -> EventBlock:
    """Numbers the rows per symbol, on from `last_seq`, which is moved along."""
    for index in range(len(block.symbols)):
        rows = np.flatnonzero(block.symbol_i == index)
        block.seq[rows] = last_seq[index] + 1 + np.arange(len(rows))
        last_seq[index] += len(rows)
    return block
