"""The life of a trade: from a signal through the rules into the market, protected, and out again."""

import msgspec
import pytest

from engine_market import AA, FEE_MICROS, LIMITS, MS, T0, TICK_MICROS, Tape, config, engine, instrument, ms_of, of, play, signal, states
from tidemark.engine.config import EngineConfig, EntryStyle, Pace, TargetStyle, decode_config
from tidemark.engine.desk import Outbox
from tidemark.engine.hours import ALWAYS, CalendarHours, FixedHours
from tidemark.engine.journal import (
    DefectSeen,
    EquityMark,
    Fill,
    Halted,
    LimitBreached,
    OrderAnomaly,
    OrderEvent,
    Refused,
    RunFinished,
    SignalSeen,
    TradeClosed,
    TradeDay,
)
from tidemark.engine.loop import Engine
from tidemark.engine.result import EngineResult
from tidemark.errors import InputError
from tidemark.instruments import lookup
from tidemark.ports import BrokerReport, PlaceOrder, ReportKind
from tidemark.risk.limits import RiskLimits
from tidemark.units import INT64_MAX, NS_PER_DAY, NS_PER_HOUR, NS_PER_S

BUY, SELL = 1, -1
MARKET_TARGET = config(target=TargetStyle.MARKET)


def still(*moments_ms: float, bid: int = 1000) -> Tape:
    """A market that does not move."""
    tape = Tape()
    for ms in moments_ms:
        tape.book(ms, bid, bid + 1)
    return tape


def only_trade(records: list[object]) -> TradeClosed:
    trades = of(records, TradeClosed)
    assert len(trades) == 1
    return trades[0]


def refused(records: list[object]) -> list[str]:
    return [record.code for record in of(records, Refused)]


def test_a_target_that_is_reached_earns_the_distance_less_spread_and_fees() -> None:
    """20 bought at 1001, limit at 1006 filled by a print through it: 5 ticks x 10 dollars x 20, less 40 x 2 dollars."""
    tape = still(0, 50, 100).trade(150, 1007, 500, BUY).book(160, 1005, 1006).book(400, 1005, 1006)
    records = play(tape, signal("s", BUY, 0), delay_ms=5)
    trade = only_trade(records)
    assert (trade.reason, trade.qty, trade.entry_ticks_qty, trade.exit_ticks_qty) == ("target", 20, 20 * 1001, 20 * 1006)
    assert (trade.gross_micros, trade.fees_micros) == (20 * 5 * TICK_MICROS, 40 * FEE_MICROS)
    assert trade.net_micros == trade.gross_micros - trade.fees_micros
    assert [fill.liquidity for fill in of(records, Fill)] == ["taker", "maker"]
    assert of(records, RunFinished)[0].equity_micros == 10**12 + trade.net_micros


def test_a_stop_turns_the_resting_target_marketable_in_one_message() -> None:
    """Cancel and new order would leave a moment with none, or with two. Stop at 996: the bid is there at 100 ms."""
    tape = still(0, 50).book(100, 996, 997).book(200, 996, 997)
    records = play(tape, signal("s", BUY, 0), delay_ms=5)
    assert states(records, "target") == ["INTENT", "SENT", "WORKING", "PENDING_REPLACE", "WORKING", "FILLED"]
    trade = only_trade(records)
    assert (trade.reason, trade.exit_ticks_qty) == ("stop", 20 * 996)
    assert trade.risk_micros == 20 * ((5 + 1) * TICK_MICROS + 2 * FEE_MICROS)
    assert -trade.net_micros < trade.risk_micros, "planned: the stop distance, a tick of slippage and both fees"


def test_a_marketable_target_and_stop_need_no_resting_order() -> None:
    """TargetStyle MARKET: taken when the exit side is quoted there; short from 1000, target 995 on the ask."""
    tape = still(0, 50).book(100, 993, 995).book(200, 993, 995)
    records = play(tape, signal("s", SELL, 0), settings=MARKET_TARGET, delay_ms=5)
    assert states(records, "target") == []
    assert only_trade(records).reason == "target"
    assert states(records, "exit") == ["INTENT", "SENT", "WORKING", "FILLED"]


def test_time_ends_a_trade_even_when_nothing_moves() -> None:
    """The horizon runs from the first fill that we heard of: 25 ms + 100 ms."""
    records = play(still(0, 50, 300, 600), signal("s", BUY, 0, horizon_ms=100), delay_ms=5)
    exits = [record for record in of(records, OrderEvent) if record.detail == "horizon"]
    assert only_trade(records).reason == "horizon"
    assert ms_of(exits[0].ts_ns) == 125


def test_positions_are_closed_before_the_session_ends_and_entries_end_before_that() -> None:
    """Session of 10 s: entries off from 8 s (close-out 2 s), flat from 9 s (lead 1 s)."""
    hours = FixedHours({"AA": [(T0, T0 + 10 * NS_PER_S)]})
    tape = still(0, 50, 7_900, 8_100, 8_900, 9_100, 9_200)
    late = signal("late", SELL, 8_100)
    records = play(tape, signal("s", BUY, 7_900), late, delay_ms=5, hours=hours)
    assert only_trade(records).reason == "opposite", "an opposite signal still closes"
    assert refused(records) == ["SESSION_CLOSED"]
    held = play(tape, signal("s", BUY, 7_900), delay_ms=5, hours=hours)
    assert only_trade(held).reason == "session_end"
    assert ms_of(next(r.ts_ns for r in of(held, OrderEvent) if r.detail == "session_end")) == 9_000
    closed = play(tape, signal("s", BUY, 0), delay_ms=5, hours=FixedHours({}))
    assert refused(closed) == ["SESSION_CLOSED"], "a symbol without hours never opens"


def test_the_end_of_the_data_closes_what_is_open() -> None:
    """A run must not end with an opinion: at the last book, by a marketable order."""
    records = play(still(0, 50, 100), signal("s", BUY, 0), delay_ms=5)
    assert only_trade(records).reason == "finish"
    assert EngineResult.from_journal(records).position_qty == {"AA": 0}


def test_what_cannot_be_closed_at_the_end_stays_on_the_books() -> None:
    """The last book is crossed: there is no price to leave at, and none is made up."""
    tape = still(0, 50).book(100, 1003, 1001)
    result = EngineResult.from_journal(play(tape, signal("s", BUY, 0), delay_ms=5))
    assert result.position_qty == {"AA": 20}
    assert not result.trades


def test_an_opposite_signal_closes_first_and_enters_only_when_flat() -> None:
    """Never long and short at once, never one order through zero."""
    tape = still(*range(0, 400, 20))
    records = play(tape, signal("up", BUY, 0), signal("down", SELL, 100), delay_ms=5)
    first, second = of(records, TradeClosed)
    assert (first.side, first.reason, second.side) == (1, "opposite", -1)
    down = next(r for r in of(records, OrderEvent) if r.signal_id == "down")
    assert down.ts_ns == first.ts_ns, "the new entry starts the moment the old trade is closed"


def test_the_opposite_entry_is_checked_anew_after_the_close() -> None:
    """By then the signal may be too old: closing took the round trip, and 500 ms have passed since its input."""
    tape = still(*range(0, 900, 20))
    records = play(tape, signal("up", BUY, 0), signal("down", SELL, 100), delay_ms=490)
    assert refused(records) == ["STALE_SIGNAL"]
    assert only_trade(records).reason == "opposite"


def test_without_reversing_an_opposite_signal_only_closes() -> None:
    """For strategies that go flat before they turn."""
    tape = still(*range(0, 400, 20))
    records = play(tape, signal("up", BUY, 0), signal("down", SELL, 100), settings=config(reverse=False), delay_ms=5)
    assert [trade.side for trade in of(records, TradeClosed)] == [1]


def test_a_second_signal_of_the_same_side_does_not_add() -> None:
    """One position per symbol."""
    records = play(still(*range(0, 400, 20)), signal("a", BUY, 0), signal("b", BUY, 100), delay_ms=5)
    assert refused(records) == ["POSITION_OPEN"]


def test_a_repeated_signal_is_refused_and_one_that_changed_is_told_apart() -> None:
    """Streams deliver at least once. Figure 1: the same again; figure 2: the same name, other content, which deserves an alarm."""
    changed = signal("s", BUY, 0, stop=6)
    records = play(still(*range(0, 200, 20)), signal("s", BUY, 0), signal("s", BUY, 0), changed, delay_ms=5)
    assert [(r.code, r.figure, r.limit) for r in of(records, Refused)] == [("DUPLICATE_SIGNAL", 1, 0), ("DUPLICATE_SIGNAL", 2, 0)]


def test_the_journal_names_every_rule_that_failed_and_counts_each_signal_once() -> None:
    """The first failing rule is the code; the others stand beside it."""
    hours = FixedHours({"AA": [(T0, T0 + 10 * NS_PER_S)]})
    refusal = of(play(still(0, 50, 9_500), signal("s", BUY, 0), delay_ms=9_400, hours=hours), Refused)[0]
    assert refusal.code == "SESSION_CLOSED"
    assert {"STALE_SIGNAL", "BOOK_AGE"} <= {*refusal.also}


# --- data that may not be used ---------------------------------------------------------------------------------------------------


def test_an_unusable_book_stops_entries_moves_no_mark_and_recovers_with_the_next_good_one() -> None:
    """Crossed at 40 ms, good again at 400 ms; in between there is no price."""
    tape = still(0).book(40, 1005, 1001).book(400, 1000, 1001).book(500, 1000, 1001).book(600, 1000, 1001)
    records = play(tape, signal("no", BUY, 40), signal("yes", BUY, 400), delay_ms=50)
    assert [(d.code, d.is_usable, ms_of(d.ts_ns)) for d in of(records, DefectSeen)] == [("CROSSED", False, 41), ("OK", True, 401)]
    assert refused(records) == ["BOOK_UNUSABLE"]
    assert {r.signal_id for r in of(records, OrderEvent)} == {"yes"}


def test_a_mark_waits_for_a_usable_book_and_says_that_it_is_stale() -> None:
    """Long from 1001; the book crosses at an absurd price for seconds, then returns a tick lower."""
    tape = still(0, 50, 900).book(1_100, 9_000, 1_000).trade(2_200, 1000, 1, 0).book(3_300, 999, 1000).book(4_400, 999, 1000)
    records = play(tape, signal("s", BUY, 0, stop=50, target=50), delay_ms=5)
    marks = of(records, EquityMark)
    assert {mark.equity_micros for mark in marks} <= {10**12 - 9 * (d * TICK_MICROS + FEE_MICROS * f) for d in (0, 1, 2) for f in (0, 1, 2)}
    assert [mark.is_stale for mark in marks if ms_of(mark.ts_ns) > 1_100] == [False, False], "nothing is marked while there is no price"
    assert max(mark.drawdown_bps_max for mark in marks) == 9 * (2 * TICK_MICROS + 2 * FEE_MICROS) * 10_000 // 10**12


def test_a_locked_book_gives_a_mark_but_no_entry() -> None:
    """There is a price to value at, and no spread to enter at."""
    records = play(Tape().book(0, 1000, 1000).book(50, 1000, 1000), signal("s", BUY, 0), delay_ms=5)
    assert refused(records) == ["BOOK_UNUSABLE"]
    assert not of(records, DefectSeen)


def test_a_resting_entry_is_taken_back_when_the_book_becomes_unusable() -> None:
    """We would not know what we bought into."""
    tape = still(0, 30, 60).book(100, 1003, 1001).book(200, 1000, 1001).book(300, 1000, 1001)
    records = play(tape, signal("s", BUY, 0), settings=config(entry=EntryStyle.PASSIVE), delay_ms=5)
    assert states(records, "entry") == ["INTENT", "SENT", "WORKING", "PENDING_CANCEL", "CANCELLED"]


def test_a_repeated_record_changes_nothing_and_a_damaged_one_takes_the_book_away() -> None:
    """A duplicate carries no news; a damaged book row means that the true book is unknown until the next."""
    tape = still(0, 20)
    tape.events.append(tape.events[-1])
    tape.book(60, 1000, 1001, bids=[5, -3, 5]).book(200, 1000, 1001).book(300, 1000, 1001)
    records = play(tape, signal("s", BUY, 60), delay_ms=60)
    assert refused(records) == ["BOOK_UNUSABLE"]
    assert [(d.code, d.is_usable) for d in of(records, DefectSeen)] == [("NEGATIVE_QTY", False), ("OK", True)]
    seen = EngineResult.from_journal(records).data["AA"]
    assert (seen.events, seen.usable_events, seen.defects) == (6, 4, {"NEGATIVE_QTY": 1, "SEQ_DUPLICATE": 1})


def test_entries_stop_when_data_quality_falls_under_99_percent() -> None:
    """Two bad events in a hundred."""
    tape = Tape()
    for n in range(100):
        tape.book(n * 10, *((1000, 1001) if n not in (50, 60) else (1003, 1001)))
    records = play(tape, signal("s", BUY, 900), settings=config(limits=RiskLimits()), delay_ms=5)
    refusal = of(records, Refused)[0]
    assert (refusal.code, refusal.figure) == ("DATA_QUALITY", 2 * 1_000_000 // 91)


# --- losses ----------------------------------------------------------------------------------------------------------------------


def losing_settings(month_bps: int) -> EngineConfig:
    return config(limits=msgspec.structs.replace(LIMITS, day_loss_bps_max=10, month_loss_bps_max=month_bps, quarter_loss_bps_max=500))


def test_a_reached_day_loss_limit_halts_flattens_and_ends_with_the_day() -> None:
    """10 bps of a million is 1,000 dollars: 15 contracts risk 64 each (960); a gap makes it more. The day after starts anew."""
    days = [(T0, 20231114), (T0 + 10 * NS_PER_S, 20231115), (T0 + 20 * NS_PER_S, 20231201)]
    hours = FixedHours({"AA": [ALWAYS]}, days)
    tape = still(0, 50).book(100, 985, 986)
    for ms in (200, 300, 400, 11_000, 11_100, 11_200):
        tape.book(ms, 985, 986)
    records = play(
        tape, signal("a", BUY, 0), signal("b", BUY, 300), signal("c", BUY, 11_000), settings=losing_settings(100), delay_ms=5, hours=hours
    )
    assert of(records, Fill)[0].qty == 15, "sized by what is left of the day"
    halt = of(records, Halted)[0]
    assert (halt.rule, halt.limit, halt.figure >= halt.limit) == ("DAY_LOSS", 10**9, True)
    assert refused(records) == ["HALTED"]
    assert [trade.signal_id for trade in of(records, TradeClosed)] == ["a", "c"]
    assert [day.trade_date for day in of(records, TradeDay)] == [20231114, 20231115]


def test_a_month_loss_outlasts_the_day() -> None:
    """25 bps a month: after 2,400 dollars the third day has 100 left, no contract's worth; the next month has it all again."""
    dates = [20231114, 20231115, 20231116, 20231117, 20231201]
    hours = FixedHours({"AA": [ALWAYS]}, [(T0 + n * 10 * NS_PER_S, date) for n, date in enumerate(dates)])
    tape, signals, price = Tape(), [], 1000
    for n in range(len(dates)):
        for ms in (0, 50, 100, 150, 200):
            price -= 6 if ms == 100 else 0
            tape.book(n * 10_000 + ms, price, price + 1)
        signals.append(signal(f"d{n}", BUY, n * 10_000))
    records = play(tape, *signals, settings=losing_settings(25), delay_ms=5, hours=hours)
    traded = [trade.signal_id for trade in of(records, TradeClosed)]
    assert (traded[:2], traded[-1]) == (["d0", "d1"], "d4")
    assert "MONTH_LOSS" in {*refused(records)} | {rule for r in of(records, Refused) for rule in r.also}
    assert not of(records, LimitBreached)


def test_no_trade_may_risk_more_than_the_tightest_budget_has_left() -> None:
    """TIER1 may risk 3 % a trade and the day 3 %: after a loss the next trade gets what is left, not 3 % again."""
    limits = RiskLimits(entries_per_min_max=1_000, order_qty_max=10_000, position_qty_max=10_000)
    settings = config(limits=limits, sizing=msgspec.structs.replace(config().sizing, participation_ppm=1_000_000))
    deep = [10_000] * 10
    tape = Tape()
    for ms, bid in ((0, 1000), (50, 1000), (100, 996), (200, 996), (300, 996), (400, 996)):
        tape.book(ms, bid, bid + 1, bids=deep, asks=deep)
    records = play(tape, signal("a", BUY, 0, tier="TIER1"), signal("b", BUY, 300, tier="TIER1"), settings=settings, delay_ms=5)
    first, second = (fill for fill in of(records, Fill) if fill.leg == "entry")
    assert first.qty == 30_000 // 64
    lost_usd = first.qty * (5 * 10 + 4)
    assert second.qty == (30_000 - lost_usd) // 64


def test_kill_stops_entries_and_flattens_on_demand() -> None:
    """Whatever the core thinks, an operator is right."""
    machine = engine()
    machine.add_signal(signal("s", BUY, 0), T0 + 5 * MS)
    machine.add_signal(signal("t", BUY, 100), T0 + 105 * MS)
    machine.feed(still(0, 50).block())
    machine.core.kill(flatten=True)
    tape = still(0, 50, 100, 150, 200, 250)
    machine.feed(tape.block()[2:])
    records = machine.drain()
    assert only_trade(records).reason == "kill"
    assert refused(records) == ["HALTED"]
    assert of(records, Halted)[0].rule == "KILL"


# --- the broker, when it is not well -----------------------------------------------------------------------------------------------


def test_silence_is_not_a_refusal() -> None:
    """No answer in 5 ms: UNKNOWN, counted in full, and the symbol waits; the answer, when it comes, is believed."""
    tape = still(*range(0, 400, 20))
    records = play(
        tape, signal("a", BUY, 0), signal("b", BUY, 200), settings=config(ack_timeout_ns=5 * MS, target=TargetStyle.MARKET), delay_ms=5
    )
    assert states(records, "entry")[:5] == ["INTENT", "SENT", "UNKNOWN", "WORKING", "FILLED"]
    assert of(records, OrderAnomaly)[0].what == "no answer in time"
    assert "INSTRUMENT_QUARANTINED" in refused(records)


def live_core() -> tuple[Engine, Outbox]:
    """An engine whose orders go to an outbox, as those of a live broker do."""
    machine = engine()
    outbox = Outbox()
    machine.core.desk._broker = outbox
    machine.add_signal(signal("s", BUY, 0), T0 + 5 * MS)
    machine.feed(still(0, 50).block())
    return machine, outbox


def test_an_intent_is_journaled_before_its_order_can_be_sent() -> None:
    """The shell writes the records, then sends, then says so; until then the order is an intent."""
    machine, outbox = live_core()
    (command,) = outbox.take()
    assert isinstance(command, PlaceOrder)
    assert states(machine.drain(), "entry") == ["INTENT"]
    assert machine.core.on_sent(command.cid, T0 + 60 * MS)
    assert states(machine.drain(), "entry") == ["SENT"]


def test_an_intent_that_took_too_long_is_abandoned_never_sent_late() -> None:
    """500 ms between decision and wire: the world has changed."""
    machine, outbox = live_core()
    (command,) = outbox.take()
    assert not machine.core.on_sent(command.cid, T0 + 506 * MS)
    assert states(machine.drain(), "entry") == ["INTENT", "ABANDONED"]


def filled(cid: str, exec_id: str, qty: int, *, side: int = BUY, symbol: str = "AA") -> BrokerReport:
    return BrokerReport(ReportKind.FILLED, cid, T0, "", exec_id, qty, 1001, FEE_MICROS, "taker", symbol, side)


def test_the_same_execution_twice_is_one() -> None:
    """Brokers repeat themselves after a reconnect."""
    machine, outbox = live_core()
    (command,) = outbox.take()
    machine.core.on_sent(command.cid, T0 + 60 * MS)
    for _ in range(3):
        machine.core.on_reports([filled(command.cid, "x1", 4)])
    assert machine.core.account.position_qty(0) == 4
    assert len(of(machine.drain(), Fill)) == 1


def test_an_overfill_is_booked_as_truth_and_the_symbol_is_quarantined() -> None:
    """We have them, asked for or not."""
    machine, outbox = live_core()
    (command,) = outbox.take()
    machine.core.on_sent(command.cid, T0 + 60 * MS)
    machine.core.on_reports([filled(command.cid, "x1", 25)])
    records = machine.drain()
    assert machine.core.account.position_qty(0) == 25
    assert of(records, OrderAnomaly)[0].what == "filled more than was asked for"


def test_a_fill_after_the_trade_is_over_goes_straight_out() -> None:
    """Rejected, says the broker, and fills it later: a position without a plan has one plan."""
    machine, outbox = live_core()
    (command,) = outbox.take()
    machine.core.on_sent(command.cid, T0 + 60 * MS)
    machine.core.on_reports([BrokerReport(ReportKind.REJECTED, command.cid, T0, "why not")])
    machine.core.on_reports([filled(command.cid, "x1", 3)])
    (exit_order,) = outbox.take()
    assert (exit_order.side, exit_order.qty, exit_order.reduce_only) == (SELL, 3, True)
    assert states(machine.drain(), "entry")[-2:] == ["REJECTED", "REJECTED"], "terminal states do not reopen"


def test_an_execution_of_an_order_that_is_not_ours_is_booked_and_left_alone() -> None:
    """Booked first, investigated second; nothing is sent."""
    machine, outbox = live_core()
    outbox.take()
    machine.core.on_reports([filled("STRANGER", "x9", 2)])
    assert machine.core.account.position_qty(0) == 2
    assert of(machine.drain(), OrderAnomaly)[0].what == "execution of an unknown order"
    assert outbox.take() == []


def test_an_impossible_answer_keeps_the_state_and_is_recorded() -> None:
    """CANCELLED after EXPIRED: kept out."""
    machine, outbox = live_core()
    (command,) = outbox.take()
    machine.core.on_sent(command.cid, T0 + 60 * MS)
    for kind in (ReportKind.EXPIRED, ReportKind.CANCELLED):
        machine.core.on_reports([BrokerReport(kind, command.cid, T0)])
    assert str(machine.core.desk.orders[command.cid].state) == "EXPIRED"
    assert of(machine.drain(), OrderAnomaly)[0].what == "CANCELLED is not possible"


def test_an_exit_that_found_nothing_is_tried_again_at_the_next_book() -> None:
    """No bid within the collar at 125 ms; the next book has one. Each attempt has its own name."""
    tape = still(0, 50).book(110, 1000, 1001).book(130, 900, 1001, bids=[5]).book(200, 1000, 1001).book(300, 1000, 1001)
    records = play(tape, signal("s", BUY, 0, stop=200, target=200, horizon_ms=100), settings=MARKET_TARGET, delay_ms=5)
    attempts = [(r.attempt, r.state) for r in of(records, OrderEvent) if r.leg == "exit"]
    assert attempts == [(n, s) for n, last in ((1, "EXPIRED"), (2, "FILLED")) for s in ("INTENT", "SENT", "WORKING", last)]
    assert only_trade(records).reason == "horizon"


def test_a_passive_entry_that_nobody_fills_is_taken_back_in_time() -> None:
    """Five seconds, then the reason to be there is over."""
    tape = still(0, 50, 1_000, 5_100, 5_200)
    records = play(tape, signal("s", BUY, 0), settings=config(entry=EntryStyle.PASSIVE), delay_ms=5)
    cancel = next(r for r in of(records, OrderEvent) if r.state == "PENDING_CANCEL")
    assert (cancel.detail, ms_of(cancel.ts_ns)) == ("expired", 5_005)
    assert not of(records, TradeClosed)


# --- input, output ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": "ZZ"}, "symbol"),
        ({"side": 0}, "side"),
        ({"p_win": float("nan")}, "p_win"),
        ({"p_win": 1.5}, "p_win"),
        ({"stop_ticks": 0}, "stop_ticks"),
    ],
)
def test_a_signal_that_makes_no_sense_is_refused_by_name(change: dict[str, object], field: str) -> None:
    """Bad input is an error of the caller, unlike a refusal by a rule."""
    with pytest.raises(InputError, match=field):
        engine().add_signal(msgspec.structs.replace(signal("s", BUY, 0), **change), T0)


def test_a_signal_cannot_be_seen_before_its_input_and_a_block_cannot_bring_strangers() -> None:
    """Time does not run backwards, and what we do not trade we do not scan."""
    with pytest.raises(InputError, match="visible_ns"):
        engine().add_signal(signal("s", BUY, 10), T0)
    with pytest.raises(InputError, match="ZZ"):
        engine().feed(Tape().book(0, 1, 2, symbol="ZZ").block("ZZ"))


def test_blocks_over_some_of_the_symbols_in_any_order_are_understood() -> None:
    """A Kinesis record carries one symbol; its numbers are not ours."""
    bb = instrument("BB")
    machine = engine(None, AA, bb)
    machine.feed(Tape().book(0, 2000, 2001, symbol="BB").block("BB"))
    machine.feed(Tape().book(1, 2000, 2001, symbol="BB").book(2, 1000, 1001).block("BB", "AA")[1:])
    assert [position["symbol"] for position in machine.status()["positions"]] == ["AA", "BB"]
    machine.finish(T0)
    assert {symbol: seen.events for symbol, seen in EngineResult.from_journal(machine.drain()).data.items()} == {"AA": 1, "BB": 1}


def test_the_status_is_ready_for_the_page() -> None:
    """JSON all through, prices as text, every limit beside its figure."""
    machine = engine(config(), instrument("AA"))
    machine.add_signal(signal("s", BUY, 0), T0 + 5 * MS)
    machine.feed(still(0, 50, 100).block())
    status = machine.status()
    assert msgspec.json.decode(msgspec.json.encode(status)) == status
    (position,) = status["positions"]
    assert position == {"symbol": "AA", "qty": 20, "avg_price": "250.25", "unrealised_micros": -20 * TICK_MICROS, "realised_micros": 0}
    assert status["fills"][0]["price"] == "250.25"
    exposure = {entry["rule"]: entry for entry in status["limits"]}["POSITION_EXPOSURE"]
    assert exposure["figure"] == 20 * (6 * TICK_MICROS + FEE_MICROS), "stop distance, a tick of slippage, the fee to get out"
    assert exposure["limit"] == status["equity_micros"] * 500 // 10_000


def test_the_paced_strategy_orders_once_every_n_events() -> None:
    """In and out by turns: the benchmark's load."""
    tape = still(*[n * 10 for n in range(100)])
    settings = config(pace=Pace(events=10), reverse=False, target=TargetStyle.MARKET, order_latency_ns=MS, report_latency_ns=MS)
    records = play(tape, settings=settings)
    intents = [r for r in of(records, OrderEvent) if r.state == "INTENT"]
    assert [(r.side, r.leg) for r in intents] == [(1, "entry"), (-1, "exit")] * 5
    assert len(of(records, SignalSeen)) == 10


def test_the_exchange_calendar_gives_sessions_and_trade_dates() -> None:
    """Globex: the session of Thursday 14 March 2024 closes at 16:00 Chicago, 21:00 UTC; after it, it is Friday."""
    hours = CalendarHours([lookup("ES")])
    noon = 1_710_417_600 * NS_PER_S  # 2024-03-14 12:00 UTC
    opens, closes = hours.session("ES", noon) or (0, 0)
    assert (closes - noon, closes - opens) == (9 * NS_PER_HOUR, 23 * NS_PER_HOUR)
    assert hours.trade_day(noon) == (20240314, closes)
    assert hours.session("ES", closes) is None
    assert hours.trade_day(closes)[0] == 20240315
    always = CalendarHours([AA])
    assert always.session("AA", noon) == ALWAYS
    assert always.trade_day(noon) == (20240314, noon - noon % NS_PER_DAY + NS_PER_DAY)
    assert FixedHours({}).trade_day(noon) == (0, INT64_MAX)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"order_latency": 5}', "order_latency"),
        ('{"cash_micros": 0}', "cash_micros"),
        ('{"limits": {"day_loss_bps_max": 0}}', "day_loss_bps_max"),
        ('{"limits": {"order_qty_max": 50}}', "order_qty_max"),
        ('{"closeout_ns": 1}', "closeout_ns"),
        ('{"collar_ticks": 99}', "collar_ticks"),
        ('{"entry": "ioc "}', "ioc"),
        ('{"pace": {"events": 0}}', "pace"),
        ('{"account": "a|b"}', "account"),
        ("[]", "object"),
        ("{", "JSON"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(text: str, named: str) -> None:
    """A typo must not silently mean the default."""
    with pytest.raises(InputError, match=named):
        decode_config(text.encode(), source="engine.json")


def test_settings_survive_json_and_their_hash_names_them() -> None:
    """config.json of a run is enough to repeat it."""
    settings = config(pace=Pace(events=5))
    again = decode_config(msgspec.json.encode(settings), source="x")
    assert again == settings
    assert again.hash == settings.hash != config().hash


def test_what_is_sent_before_the_open_is_not_held_against_the_data() -> None:
    """An opening auction shows crossed books for minutes, every day; quality is judged from the open on."""
    hours = FixedHours({"AA": [(T0 + 500 * MS, T0 + 60_000 * MS)]})
    tape = Tape()
    for n in range(50):
        tape.book(n * 10, 1003, 1001)
    for n in range(50, 90):
        tape.book(n * 10, 1000, 1001)
    records = play(tape, signal("s", BUY, 700), settings=config(limits=RiskLimits()), delay_ms=5, hours=hours)
    assert refused(records) == []
    assert of(records, Fill)
