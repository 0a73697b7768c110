"""What is wrong with the rows of a source: counted by reason, the first ones kept for the message, all of them for quarantine."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import IO

import numpy as np

from tidemark.adapters.dataset.atomic import atomic_file
from tidemark.book.quality import REASONS, Defect
from tidemark.errors import InputError, describe
from tidemark.events import I8, I64

FAULTS_SHOWN_MAX = 20
ROW_CHARS_MAX = 65_536


class Reason(IntEnum):
    """Why a row cannot be an event. Rows that can are judged by `tidemark.book.quality`, whose defects join these."""

    OK = 0
    RAGGED_ROW = 1
    EMPTY_CELL = 2
    NOT_A_NUMBER = 3
    OFF_GRID = 4
    OFF_TICK = 5
    OFF_STEP = 6
    OUT_OF_RANGE = 7
    NOT_POSITIVE = 8
    NOT_A_TIME = 9
    NAIVE_TIME = 10
    TIME_UNIT = 11
    UNKNOWN_WORD = 12
    WRONG_SYMBOL = 13
    DUPLICATE_ID = 14
    ID_BACKWARDS = 15
    DUPLICATE_ROW = 16

    @property
    def label(self) -> str:
        """The name in reports."""
        return self.name.lower()


EXPECTED: dict[Reason, str] = {
    Reason.EMPTY_CELL: "a value",
    Reason.NOT_A_NUMBER: "a decimal number with a point",
    Reason.OFF_GRID: "a whole number",
    Reason.OFF_TICK: "a multiple of the tick",
    Reason.OFF_STEP: "a multiple of the quantity step",
    Reason.OUT_OF_RANGE: "a number that fits the data set's integers",
    Reason.NOT_POSITIVE: "a price above zero",
    Reason.NOT_A_TIME: "an integer or a time such as 2024-03-01T14:30:00.25Z",
    Reason.NAIVE_TIME: "a time with its zone",
    Reason.TIME_UNIT: "a time between 1990 and 2116 in the source's unit",
    Reason.UNKNOWN_WORD: "a word of this layout",
    Reason.WRONG_SYMBOL: "rows of one instrument",
    Reason.DUPLICATE_ID: "each id once",
    Reason.ID_BACKWARDS: "ids in ascending order",
    Reason.DUPLICATE_ROW: "a row that differs from the one before",
}

RowText = Callable[[int], str]
"""The source's own text of a row, by its index in the chunk."""


@dataclass(slots=True)
class FaultLog:
    """Collects the faults of one import. `quarantine` receives one JSON line per refused row."""

    quarantine: IO[str] | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Refused rows."""
        return sum(self.reasons.values())

    def refuse(self, source: str, line: int, reason: str, field_name: str, got: str, expected: str, text: str) -> None:
        """Count one refused row and keep it if there is where to."""
        self.reasons[reason] += 1
        if len(self.first) < FAULTS_SHOWN_MAX:
            self.first.append(describe(f"{source}:{line}", field_name, got, expected))
        if self.quarantine is not None:
            record = {"source": source, "line": line, "reason": reason, "field": field_name, "got": got, "expected": expected}
            self.quarantine.write(json.dumps({**record, "row": text[:ROW_CHARS_MAX]}) + "\n")

    def note(self, text: str, count: int = 1) -> None:
        """Count something that the reader of the report should know but that refuses no row."""
        if count:
            self.notes[text] += count

    def as_error(self) -> InputError:
        """All that is refused as one error: the first faults, a line each, then the count."""
        rest = self.count - len(self.first)
        tail = [f"and {rest} more refused rows ({self.summary()})"] if rest else []
        return InputError("\n".join([*self.first, *tail]))

    def summary(self) -> str:
        """Counts by reason, most frequent first."""
        return ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())


@contextmanager
def fault_log(quarantine: Path | None) -> Iterator[FaultLog]:
    """A log whose quarantine file appears when the block ends well; without refused rows there is no file."""
    if quarantine is None:
        yield FaultLog()
        return
    with ExitStack() as stack:
        partial = stack.enter_context(atomic_file(quarantine))
        with partial.open("w", encoding="utf-8") as file:
            yield FaultLog(file)


class RowMarks:
    """The first fault of every row of a chunk, gathered column by column."""

    def __init__(self, count: int) -> None:
        self.reason: I8 = np.zeros(count, np.int8)
        self._field_i = np.zeros(count, np.int16)
        self._fields: list[str] = []

    def mark(self, field_name: str, codes: I8) -> None:
        """Note the rows where `codes` is not OK and no earlier column was at fault."""
        new = (codes != Reason.OK) & (self.reason == Reason.OK)
        if new.any():
            self.reason[new] = codes[new]
            self._field_i[new] = len(self._fields)
            self._fields.append(field_name)

    def refuse(self, log: FaultLog, source: str, lines: I64, cell: Callable[[int, str], str], text: RowText) -> None:
        """Send every marked row to the log, but for ragged ones, which their reader has sent already."""
        for row in np.flatnonzero((self.reason != Reason.OK) & (self.reason != Reason.RAGGED_ROW)).tolist():
            reason, name = Reason(int(self.reason[row])), self._fields[int(self._field_i[row])]
            log.refuse(source, int(lines[row]), reason.label, name, cell(row, name), EXPECTED[reason], text(row))


def refuse_defects(log: FaultLog, source: str, codes: I8, rows: list[int], lines: I64, text: RowText) -> None:
    """Send rows to the log for the defect that `book.quality` found in them."""
    for row in rows:
        defect = Defect(int(codes[row]))
        log.refuse(source, int(lines[row]), defect.name.lower(), "row", REASONS[defect], "a row that a market can have", text(row))
