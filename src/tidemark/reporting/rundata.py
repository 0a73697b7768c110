"""What a report is made from: the content of a run's folder, in memory. Reading it is an adapter's business."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = Mapping[str, Sequence[Any] | npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class RunData:
    """A run. Tables are columns of equal length; one that the run did not write is empty.

    `trades`, `equity`: the fields of `TradeClosed` and `EquityMark`; `predictions`: of `Prediction`, None without a model;
    `signals`, `refusals`: of `SignalSeen` and `Refused`; `instruments`: {symbol: manifest form}.
    """

    name: str
    summary: Mapping[str, Any]
    config: Mapping[str, Any]
    trades: Columns
    equity: Columns
    predictions: Columns | None = None
    signals: Columns = field(default_factory=dict)
    refusals: Columns = field(default_factory=dict)
    instruments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, Any]:
        """A part of the summary that is a table by name; empty where it is missing or null."""
        part = self.summary.get(name)
        return part if isinstance(part, Mapping) else {}


def rows_of(columns: Columns) -> int:
    """How many rows a table has."""
    return len(next(iter(columns.values()))) if columns else 0


def column(columns: Columns, name: str) -> npt.NDArray[Any]:
    """A column as an array; without the column, one with no rows."""
    return np.asarray(columns.get(name, ()))
