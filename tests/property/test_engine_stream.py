"""The engine over random markets: cuts do not matter, invariants hold after every decision, and money agrees with an oracle of floats."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_market import ALWAYS, LIMITS, MS, config, instrument, of, random_block, random_signals
from tidemark.book.quality import fresh_state, is_markable, scan_block
from tidemark.engine.config import EngineConfig, EntryStyle, TargetStyle
from tidemark.engine.hours import FixedHours
from tidemark.engine.journal import (
    EquityMark,
    Fill,
    JournalRecord,
    LimitBreached,
    OrderAnomaly,
    OrderEvent,
    TradeClosed,
    encode_journal,
)
from tidemark.engine.loop import Engine
from tidemark.engine.orders import NEXT, TERMINAL, OrderState
from tidemark.engine.result import EngineResult
from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.units import INT64_MAX

SPECS = (instrument("AA", group="g"), instrument("BB", group="g", tick_micros=15_625_000))
TICKS = {spec.symbol: spec.tick_value_micros for spec in SPECS}
CASH = 10**11

worlds = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "events": st.integers(20, 250),
        "signals": st.integers(0, 25),
        "entry": st.sampled_from(EntryStyle),
        "target": st.sampled_from(TargetStyle),
        "reverse": st.booleans(),
        "order_ms": st.sampled_from([0, 3, 40]),
        "report_ms": st.sampled_from([0, 3, 40]),
        "sessions": st.booleans(),
    }
)
World = dict[str, Any]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def build(world: World) -> tuple[Engine, EventBlock, list[Any]]:
    block = random_block(world["seed"], world["events"])
    made: EngineConfig = config(
        cash_micros=CASH,
        limits=LIMITS,
        entry=world["entry"],
        target=world["target"],
        reverse=world["reverse"],
        order_latency_ns=world["order_ms"] * MS,
        report_latency_ns=world["report_ms"] * MS,
        passive_ttl_ns=300 * MS,
        mark_every_ns=50 * MS,
        flatten_lead_ns=100 * MS,
        closeout_ns=300 * MS,
    )
    start, end = int(block.event_ts_ns[0]), int(block.event_ts_ns[-1])
    middle = (start + end) // 2
    spans = [(start, middle), (middle + 500 * MS, end + 10**12)] if world["sessions"] else [ALWAYS]
    hours = FixedHours(dict.fromkeys(("AA", "BB"), spans), [(start, 20240102), (middle, 20240103)])
    return Engine(made, SPECS, hours), block, random_signals(world["seed"], block, world["signals"])


def run(world: World, cuts: list[int], *, heartbeats: bool = False) -> tuple[list[JournalRecord], str]:
    """Journal and digest of a world whose stream is cut at the given rows; signals come as late as they may."""
    machine, block, signals = build(world)
    waiting = sorted(signals, key=lambda pair: pair[1])
    records: list[JournalRecord] = []
    edges = [0, *sorted(cuts), len(block)]
    for start, stop in zip(edges, edges[1:], strict=False):
        seen_by_then = int(block.recv_ts_ns[start:stop].max()) if stop > start else 0
        while waiting and waiting[0][1] <= seen_by_then:
            machine.add_signal(*waiting.pop(0))
        machine.feed(block[start:stop])
        if heartbeats:
            visible = waiting[0][1] if waiting else INT64_MAX  # a promise about events is none about signals
            machine.advance(min(int(block.event_ts_ns[min(stop, len(block) - 1)]), visible))
        records += machine.drain()
    for pair in waiting:
        machine.add_signal(*pair)
    machine.finish(int(block.event_ts_ns[-1]))
    records += machine.drain()
    return records, machine.digest()


@QUICK
@given(worlds, st.data())
def test_however_the_stream_is_cut_the_journal_is_the_same_byte_for_byte(world: World, data: st.DataObject) -> None:
    """A backtest feeds blocks, a paper session what the network brings: the same decisions, or one of them is a lie."""
    whole, digest = run(world, [])
    cuts = data.draw(st.lists(st.integers(0, world["events"] // 2), max_size=12))
    cut, cut_digest = run(world, cuts)
    assert encode_journal(cut) == encode_journal(whole)
    assert cut_digest == digest


@settings(parent=QUICK, max_examples=15)
@given(worlds)
def test_one_event_at_a_time_gives_the_journal_of_the_whole(world: World) -> None:
    """The extreme of the above, which is what a live session is."""
    _, block, _ = build(world)
    assert run(world, list(range(1, len(block)))) == run(world, [])


@QUICK
@given(worlds, st.data())
def test_knowing_earlier_that_nothing_comes_changes_no_decision(world: World, data: st.DataObject) -> None:
    """Heartbeats let a stop by time happen in time; what happens, and when on the engine's clock, stays the same."""
    cuts = data.draw(st.lists(st.integers(0, world["events"] // 2), max_size=12))
    assert run(world, cuts, heartbeats=True) == run(world, cuts)


class Watch:
    """Follows a journal and knows, after each record, what is live and what is held."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderEvent] = {}
        self.position: dict[str, int] = {"AA": 0, "BB": 0}

    def live(self, symbol: str, *legs: str) -> list[OrderEvent]:
        known = (o for o in self.orders.values() if o.symbol == symbol and o.leg in legs)
        return [o for o in known if OrderState(o.state) not in TERMINAL]

    def leaves(self, symbol: str, side: int) -> int:
        return sum(o.qty - o.cum_qty for o in self.live(symbol, "entry", "target", "exit") if o.side == side)

    def take(self, record: JournalRecord) -> None:
        match record:
            case OrderEvent():
                self._check_step(record)
                self.orders[record.cid] = record
                if record.state == "INTENT":
                    self._check_intent(record)
            case Fill():
                before = self.position[record.symbol]
                self.position[record.symbol] = before + record.side * record.qty
                if record.leg != "entry":
                    assert abs(self.position[record.symbol]) == abs(before) - record.qty, "P4: what reduces never turns a position over"

    def _check_step(self, record: OrderEvent) -> None:
        known = self.orders.get(record.cid)
        if known is None:
            assert record.state == "INTENT", "O1: an order begins with its intent"
            return
        is_fill = record.cum_qty > known.cum_qty
        assert is_fill or OrderState(record.state) in NEXT[OrderState(known.state)], "only written steps"
        assert OrderState(known.state) not in TERMINAL, "O5: nothing follows an end"
        assert known.cum_qty <= record.cum_qty <= record.qty, "O4"

    def _check_intent(self, record: OrderEvent) -> None:
        same = [o for o in self.live(record.symbol, record.leg) if o.signal_id == record.signal_id]
        assert len(same) == 1, "O3: one live order per signal leg"
        position = self.position[record.symbol]
        buys, sells = self.leaves(record.symbol, 1), self.leaves(record.symbol, -1)
        assert max(position + buys, sells - position) <= LIMITS.position_qty_max, "P2: worst case within the limit"
        reducing = sum(o.qty - o.cum_qty for o in self.live(record.symbol, "target", "exit"))
        assert reducing <= abs(position), "P4: reducing orders, summed, stay below the position"
        assert not (buys and sells), "L6: no own order may meet another"


@QUICK
@given(worlds)
def test_order_and_position_invariants_hold_after_every_record(world: World) -> None:
    """O1 to O5, P1, P2, P4 and L6, read off the journal alone."""
    records, _ = run(world, [])
    watch = Watch()
    for record in records:
        watch.take(record)
    assert EngineResult.from_journal(records).position_qty == watch.position, "P1"
    assert not of(records, OrderAnomaly)
    assert not of(records, LimitBreached)


@QUICK
@given(worlds)
def test_cash_and_equity_follow_from_fills_and_marks_after_every_event(world: World) -> None:
    """C1 and C2, with marks that the test reads from the events itself: the exit side of the last book that has a price."""
    machine, block, signals = build(world)
    for pair in signals:
        machine.add_signal(*pair)
    markable = is_markable(scan_block(block, *fresh_state(2, joined_midway=True)))
    touch: dict[str, tuple[int, int]] = {}
    for i in range(len(block)):
        machine.feed(block[i : i + 1])
        symbol = block.symbols[block.symbol_i[i]]
        if block.kind[i] == Kind.DEPTH and markable[i]:
            touch[symbol] = (int(block.px_ticks[i, 0]), int(block.px_ticks[i, LEVELS]))
        account, ledger = machine.core.account, machine.core.account.ledger
        assert account.cash_micros == CASH + ledger.realised_micros - ledger.fees_micros
        marks = {name: touch[name][0 if position.qty > 0 else 1] for name, position in ledger.positions.items() if position.qty}
        assert account.equity_micros == ledger.equity_micros(marks)


@QUICK
@given(worlds)
def test_profit_equals_that_of_an_oracle_in_floats(world: World) -> None:
    """Money in minus money out over the fills, and the trades' own sums, to the cent."""
    records, _ = run(world, [])
    result = EngineResult.from_journal(records)
    usd = 0.0
    for fill in result.fills:
        usd -= fill.side * fill.qty * fill.price_ticks * TICKS[fill.symbol] / 1e6 + fill.fee_micros / 1e6
    held = {symbol: qty for symbol, qty in result.position_qty.items() if qty}
    if not held:
        assert (result.final_equity_micros - CASH) / 1e6 == pytest.approx(usd, abs=0.005)
        assert sum(trade.net_micros for trade in result.trades) == result.final_equity_micros - CASH
    assert result.ledger.fees_micros == sum(fill.fee_micros for fill in result.fills)


@QUICK
@given(worlds)
def test_the_venue_and_we_agree_on_the_position_in_the_end(world: World) -> None:
    """P3: every execution that the venue made has reached the journal, once."""
    machine, block, signals = build(world)
    made: list[tuple[str, int]] = []
    inner = machine._venue._fill

    def counting(order: Any, qty: int, price_ticks: int, liquidity: str, ts_ns: int) -> Any:
        made.append((machine.symbols[order.symbol_i], order.side * qty))
        return inner(order, qty, price_ticks, liquidity, ts_ns)

    machine._venue._fill = counting  # type: ignore[method-assign]
    for pair in signals:
        machine.add_signal(*pair)
    machine.feed(block)
    machine.finish(int(block.event_ts_ns[-1]))
    positions = EngineResult.from_journal(machine.drain()).position_qty
    assert positions == {symbol: sum(qty for name, qty in made if name == symbol) for symbol in ("AA", "BB")}


@QUICK
@given(worlds)
def test_no_fill_is_better_than_what_the_market_showed(world: World) -> None:
    """A taker's price and size were displayed on the last book before the execution; a maker's order was at its own price."""
    records, _ = run(world, [])
    _, block, _ = build(world)
    limit_of = {record.cid: record for record in of(records, OrderEvent)}
    for fill in of(records, Fill):
        order = limit_of[fill.cid]
        if fill.leg == "entry":
            assert (fill.price_ticks - order.price_ticks) * fill.side <= 0
        if fill.liquidity == "taker":
            displayed = displayed_at(block, fill)
            assert displayed >= fill.qty


def displayed_at(block: EventBlock, fill: Fill) -> int:
    """Largest size that a usable book standing at the execution's instant showed at its price on the side it took."""
    s = block.symbols.index(fill.symbol)
    markable = is_markable(scan_block(block, *fresh_state(2, joined_midway=True)))
    rows = np.flatnonzero((block.symbol_i == s) & (block.kind == Kind.DEPTH) & markable & (block.event_ts_ns <= fill.exec_ts_ns))
    columns = slice(LEVELS, None) if fill.side > 0 else slice(0, LEVELS)
    sizes = []
    for row in rows[block.event_ts_ns[rows] >= block.event_ts_ns[rows[-1]] - 1]:  # books of the same instant
        at_price = block.px_ticks[row, columns] == fill.price_ticks
        sizes += block.qty[row, columns][at_price].tolist()
    earlier = rows[block.event_ts_ns[rows] < block.event_ts_ns[rows[-1]]]
    if len(earlier) and not sizes:
        at_price = block.px_ticks[earlier[-1], columns] == fill.price_ticks
        sizes += block.qty[earlier[-1], columns][at_price].tolist()
    return max(sizes, default=0)


def test_the_random_worlds_reach_every_corner() -> None:
    """An invariant that is never put to the test holds trivially: over some worlds, everything that can happen does."""
    seen: set[str] = set()
    for seed in range(60):
        world = {
            "seed": seed,
            "events": 250,
            "signals": 25,
            "entry": list(EntryStyle)[seed % 2],
            "target": list(TargetStyle)[seed // 2 % 2],
            "reverse": seed % 3 > 0,
            "order_ms": (0, 3, 40)[seed % 3],
            "report_ms": (40, 3, 0)[seed // 3 % 3],
            "sessions": seed % 4 == 0,
        }
        for record in run(world, [])[0]:
            seen.add(type(record).__name__)
            seen |= {str(getattr(record, name)) for name in ("state", "reason", "code", "liquidity") if hasattr(record, name)}
    states = {str(state) for state in OrderState} - {"ABANDONED", "UNKNOWN"}
    assert states <= seen
    assert {"stop", "target", "horizon", "session_end", "opposite", "finish", "maker", "taker"} <= seen
    assert {"STALE_SIGNAL", "DUPLICATE_SIGNAL", "KELLY_QTY", "DEPTH_QTY", "POSITION_OPEN", "SESSION_CLOSED", "BOOK_UNUSABLE"} <= seen
    assert {"TradeClosed", "EquityMark", "DefectSeen", "TradeDay"} <= seen


def test_the_trade_record_knows_what_was_planned() -> None:
    """Risk of a trade is at most its tier's share of the equity at its entry."""
    for seed in range(20):
        world = {"seed": seed, "events": 250, "signals": 25, "entry": EntryStyle.IOC, "target": TargetStyle.LIMIT, "reverse": True}
        records, _ = run({**world, "order_ms": 3, "report_ms": 3, "sessions": False}, [])
        equity = CASH
        for record in records:
            if isinstance(record, EquityMark):
                equity = max(equity, record.equity_micros)
            if isinstance(record, TradeClosed):
                assert record.risk_micros <= equity * LIMITS.tier_risk_bps_max[record.tier] // 10_000
