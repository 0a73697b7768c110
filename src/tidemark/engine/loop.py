"""The engine: feeds the scan, hands what it stops at to the core, and plays the paper venue's part.

One cursor over feed-ordered events. However the stream is cut into blocks, the journal is the same, byte for byte: nothing here depends on
where a block ends. A backtest feeds large blocks, a paper session small ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tidemark.book.columns import kernel_columns
from tidemark.book.quality import MALFORMED, UNUSABLE, Defect, fresh_state, scan_block
from tidemark.engine import layout as at
from tidemark.engine.books import Books
from tidemark.engine.config import EngineConfig
from tidemark.engine.core import Core
from tidemark.engine.hours import CalendarHours, Hours
from tidemark.engine.journal import FIRST_CHAIN, DataSeen, JournalRecord, RunFinished, RunStarted, encode_record, next_chain
from tidemark.engine.layout import State
from tidemark.engine.scan import AGENDA_DUE, END, FILL, LOCAL_DUE, MARKS_BIT, WAKE_BIT, scan
from tidemark.engine.signal import EntrySignal
from tidemark.engine.venue import PaperVenue
from tidemark.errors import bad_input
from tidemark.events import I8, EventBlock
from tidemark.instruments import Instrument
from tidemark.units import INT64_MAX

FINAL_STEPS_MAX: Final = 100_000
"""Bound on what may still happen after the last event; reached only if the core keeps itself busy, which is a bug."""


def _grade(code: Defect) -> int:
    if code is Defect.SEQ_DUPLICATE:
        return at.REPEATED
    if code is Defect.LOCKED:
        return at.LOCKED
    if code in MALFORMED:
        return at.DAMAGED
    return at.UNUSABLE if code in UNUSABLE else at.GOOD


GRADES: Final[I8] = np.array([_grade(code) for code in Defect], np.int8)


class Engine:
    """One account, its core and a paper venue, over a stream of market events."""

    def __init__(self, config: EngineConfig, instruments: Sequence[Instrument], hours: Hours | None = None) -> None:
        """`hours`: when each symbol may be traded; None takes the calendars that the instruments name."""
        self.config = config
        self.instruments = tuple(instruments)
        self.symbols = tuple(spec.symbol for spec in self.instruments)
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise bad_input("engine", "instruments", self.symbols, "at least one, each once")
        self._state = State(
            len(self.symbols), [spec.tick_value_micros for spec in self.instruments], config.cash_micros, config.mark_every_ns
        )
        self._books = Books(self._state)
        self._venue = PaperVenue(
            self._state,
            self._books,
            {symbol: s for s, symbol in enumerate(self.symbols)},
            [spec.fee_micros for spec in self.instruments],
            order_latency_ns=config.order_latency_ns,
            report_latency_ns=config.report_latency_ns,
        )
        self.core = Core(config, self.instruments, self._state, self._books, hours or CalendarHours(self.instruments), self._venue)
        self._last_seq, self._last_ts_ns = fresh_state(len(self.symbols), joined_midway=True)
        self._defects: npt.NDArray[np.int64] = np.zeros((len(self.symbols), len(Defect)), np.int64)
        self._maps: dict[tuple[str, ...], npt.NDArray[np.int16]] = {}
        self._chain = FIRST_CHAIN
        self._hashed = 0
        self._paces = 0
        self._is_started = self._is_finished = False
        if config.pace:
            self._state.glob[at.WAKE_ROWS] = config.pace.events

    # --- input ------------------------------------------------------------------------------------------------------------------

    def add_signal(self, signal: EntrySignal, visible_ns: int) -> None:
        """A signal that becomes visible at `visible_ns` on our clock; to be added before the first event that we receive after that.

        Raises InputError for a symbol that is not traded here and for figures that no signal can have.
        """
        source = f"signal {signal.signal_id}"
        if signal.symbol not in self.symbols:
            raise bad_input(source, "symbol", signal.symbol, f"one of {', '.join(self.symbols)}")
        if signal.side not in (1, -1):
            raise bad_input(source, "side", signal.side, "+1 or -1")
        if not 0 <= signal.p_win <= 1:
            raise bad_input(source, "p_win", signal.p_win, "a probability")
        if min(signal.stop_ticks, signal.target_ticks, signal.horizon_ns) <= 0:
            raise bad_input(source, "stop_ticks, target_ticks, horizon_ns", signal.stop_ticks, "positive numbers")
        if visible_ns < signal.input_ts_ns:
            raise bad_input(source, "visible_ns", visible_ns, f"not before the signal's newest input ({signal.input_ts_ns})")
        self.core.agenda.add_signal(visible_ns, signal)

    def feed(self, block: EventBlock) -> None:
        """Handle a stretch of the event stream. Raises InputError for symbols that are not traded here."""
        assert not self._is_finished, "nothing is fed to an engine that has finished"
        if not len(block):
            return
        block = self._as_ours(block)
        codes = scan_block(block, self._last_seq, self._last_ts_ns)
        symbol_i, kind, aggressor, _, event_ts_ns, recv_ts_ns, px_ticks, qty = kernel_columns(block)
        grades = GRADES[codes]
        if not self._is_started and (grades < at.DAMAGED).any():
            self._start(int(event_ts_ns[int((grades < at.DAMAGED).argmax())]))
        self._books.use(px_ticks, qty)
        state, stop, i = self._state, len(block), 0
        columns = (symbol_i, kind, aggressor, event_ts_ns, recv_ts_ns, px_ticks, qty, grades, codes)
        arrays = (state.sym, state.held_px, state.held_qty, state.orders, state.glob, state.marks, self._defects)
        while True:
            self._before_scan()
            i, reason = scan(i, stop, *columns, *arrays)
            self.core.account.take_marks(self.core.records)
            self.core.now_ns = int(state.glob[at.NOW])
            if reason == END:
                break
            if reason > END:
                self._on_row(int(symbol_i[i - 1]), reason)
            elif reason == AGENDA_DUE:
                self._run_until(int(event_ts_ns[i]))
            elif reason == FILL:
                self.core.agenda.add_reports(*self._venue.collect_fills(int(event_ts_ns[i])))
            elif reason == LOCAL_DUE:
                self._run_local_until(max(self.core.now_ns, int(event_ts_ns[i]), int(recv_ts_ns[i])))
        self._books.hold()

    def advance(self, as_of_ns: int) -> None:
        """No event or signal before `as_of_ns` will come any more: what is due until then need not wait for the next event.

        Changes nothing but when things are known: without it, they happen at the same times as soon as the next event is fed. Only trade
        dates wait for an event, because a day without one is not a day of this run.
        """
        if not self._is_started:
            return
        while min(self._venue.next_ns, self.core.next_ns()) < as_of_ns and not self.core.waits_for_hours:
            self._step()

    def finish(self, now_ns: int) -> None:
        """No more events. Flatten against the last books, wait for the answers, close the journal."""
        assert not self._is_finished, "an engine finishes once"
        if self._is_started:
            self.core.stop_days()
            self._run_until(now_ns)
            self.core.now_ns = max(self.core.now_ns, now_ns)
            self.core.close_all("finish")
            self._run_out()
        else:
            self._start(now_ns)
        self._is_finished = True
        records, account = self.core.records, self.core.account
        for s, symbol in enumerate(self.symbols):
            counts = {code.name: int(self._defects[s, code]) for code in Defect if code and self._defects[s, code]}
            usable = sum(int(self._defects[s, code]) for code in Defect if GRADES[code] == at.GOOD)
            row = self._state.sym[s]
            records.append(DataSeen(self.core.now_ns, symbol, int(self._defects[s].sum()), int(row[at.TRADES]), usable, counts))
        glob = self._state.glob
        records.append(RunFinished(self.core.now_ns, account.equity_micros, account.cash_micros, int(glob[at.DRAWDOWN_BPS_MAX])))

    # --- output -----------------------------------------------------------------------------------------------------------------

    def drain(self) -> list[JournalRecord]:
        """The records since the last call, in order."""
        self._hash_new()
        drained = self.core.records[:]
        self.core.records.clear()  # in place: the core keeps appending to the same list
        self._hashed = 0
        return drained

    def digest(self) -> str:
        """Hash of the journal so far and of the state between events: equal after equal histories, however they were fed."""
        self._hash_new()
        state = self._state
        columns = [column for column in range(at.GLOB_FIELDS) if column not in (at.DUE, at.DUE_LOCAL)]
        parts = (self._chain, state.sym.tobytes(), state.held_px.tobytes(), state.held_qty.tobytes(), state.glob[columns].tobytes())
        return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()

    def status(self) -> dict[str, Any]:
        """What the page shows (see `engine.status`)."""
        from tidemark.engine.status import status_of

        return status_of(self.core, self.instruments, self._state)

    # --- the loop's parts ---------------------------------------------------------------------------------------------------------

    def _start(self, ts_ns: int) -> None:
        self._is_started = True
        config = self.config
        specs = tuple(spec.to_manifest() for spec in self.instruments)
        self.core.records.append(RunStarted(ts_ns, config.account, config.strategy, config.stage, config.cash_micros, config.hash, specs))
        self.core.start(ts_ns)
        self._state.glob[at.NOW] = ts_ns

    def _before_scan(self) -> None:
        glob, local_ns = self._state.glob, self.core.next_ns()
        glob[at.NOW] = self.core.now_ns
        glob[at.DUE_LOCAL] = local_ns
        glob[at.DUE] = min(local_ns, self._venue.next_ns)

    def _run_until(self, end_ns: int) -> None:
        """Everything that happens before `end_ns` at the venue or here, in time order; at the same instant the venue comes first."""
        self.core.event_ns = end_ns
        while min(self._venue.next_ns, self.core.next_ns()) < end_ns:
            self._step()

    def _step(self) -> None:
        if self._venue.next_ns <= self.core.next_ns():
            self.core.agenda.add_reports(*self._venue.serve_next())
        else:
            self.core.serve_next()

    def _run_local_until(self, end_ns: int) -> None:
        while self.core.next_ns() <= end_ns:
            self.core.serve_next()

    def _run_out(self) -> None:
        """What is still on its way arrives; nobody waits for the next day or for signals that come later."""
        self.core.forget_the_future()
        for _ in range(FINAL_STEPS_MAX):
            if min(self._venue.next_ns, self.core.next_ns()) == INT64_MAX:
                return
            self._step()
        raise AssertionError("the core does not come to rest")

    def _on_row(self, s: int, reason: int) -> None:
        bits = reason & ~(WAKE_BIT | MARKS_BIT)
        if bits:
            self.core.on_row(s, bits)
        if reason & WAKE_BIT and self.config.pace:
            self._paces += 1
            self._state.glob[at.WAKE_ROWS] += self.config.pace.events
            self.core.on_pace(s, self._paces)

    def _as_ours(self, block: EventBlock) -> EventBlock:
        """The block with our symbol numbers."""
        if block.symbols == self.symbols:
            return block
        if block.symbols not in self._maps:
            unknown = [symbol for symbol in block.symbols if symbol not in self.symbols]
            if unknown:
                raise bad_input("block", "symbols", unknown, f"some of {', '.join(self.symbols)}")
            self._maps[block.symbols] = np.array([self.symbols.index(symbol) for symbol in block.symbols], np.int16)
        return replace(block, symbols=self.symbols, symbol_i=self._maps[block.symbols][block.symbol_i])

    def _hash_new(self) -> None:
        for record in self.core.records[self._hashed :]:
            self._chain = next_chain(self._chain, encode_record(record))
        self._hashed = len(self.core.records)
