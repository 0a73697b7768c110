"""What is on its way to us: reports of the broker and signals, each with the time at which it arrives."""

import heapq
from collections.abc import Iterable
from typing import Final, NamedTuple

from tidemark.engine.signal import EntrySignal
from tidemark.ports import BrokerReport
from tidemark.units import INT64_MAX

REPORTS_FIRST: Final = 0
SIGNALS_LAST: Final = 1


class _Due(NamedTuple):
    """At the same instant reports come before signals, reports as they were sent, signals by name."""

    due_ns: int
    rank: int
    name: str
    number: int
    reports: tuple[BrokerReport, ...]
    signal: EntrySignal | None


class Agenda:
    """Reports and signals in the order in which they arrive."""

    def __init__(self) -> None:
        self._heap: list[_Due] = []
        self._numbered = 0

    @property
    def next_ns(self) -> int:
        """When the next one arrives."""
        return self._heap[0].due_ns if self._heap else INT64_MAX

    @property
    def has_reports_next(self) -> bool:
        """Whether the next to arrive are reports."""
        return bool(self._heap) and self._heap[0].rank == REPORTS_FIRST

    def add_reports(self, due_ns: int, reports: tuple[BrokerReport, ...]) -> None:
        """Reports that arrive together."""
        if reports:
            self._numbered += 1
            heapq.heappush(self._heap, _Due(due_ns, REPORTS_FIRST, "", self._numbered, reports, None))

    def add_signal(self, due_ns: int, signal: EntrySignal) -> None:
        """A signal that becomes visible."""
        self._numbered += 1
        heapq.heappush(self._heap, _Due(due_ns, SIGNALS_LAST, signal.signal_id, self._numbered, (), signal))

    def pop_reports(self) -> Iterable[BrokerReport]:
        """The next reports."""
        return heapq.heappop(self._heap).reports

    def pop_signal(self) -> EntrySignal:
        """The next signal."""
        signal = heapq.heappop(self._heap).signal
        assert signal is not None, "reports are popped as reports"
        return signal

    def forget_signals(self) -> None:
        """Keep the reports only."""
        self._heap = [due for due in self._heap if due.rank == REPORTS_FIRST]
        heapq.heapify(self._heap)
