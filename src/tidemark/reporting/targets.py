"""What was hoped for, from targets.json: hypotheses that only reports compare with. No model, signal or rule reads them."""

from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

FIRST_PHASE: Final = "year 1"
MEASURED_BY_RUNS: Final = ("trading", "data")


class TargetRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the table. Shares are fractions of one; `value_to` is the upper end where a range was named."""

    id: str
    task: str
    metric: str
    value: float
    value_to: float | None
    is_upper: bool
    phase: str
    note: str


@cache
def load_targets() -> tuple[TargetRow, ...]:
    """All rows, in the order of the file. Raises msgspec.ValidationError when the file is not such a table."""
    text = files("tidemark.reporting").joinpath("targets.json").read_bytes()
    return msgspec.json.decode(text, type=tuple[TargetRow, ...])


def kpi_targets() -> dict[str, dict[str, float]]:
    """What a run is measured against, by the name of the key figure, as {"min": value} or {"max": value}: the first year's targets."""
    return {row.metric: {"max" if row.is_upper else "min": row.value} for row in load_targets() if _is_of_a_run(row)}


def other_targets() -> tuple[TargetRow, ...]:
    """What no single run can measure: later years, minima, single models, the business."""
    return tuple(row for row in load_targets() if not _is_of_a_run(row))


def _is_of_a_run(row: TargetRow) -> bool:
    return row.task in MEASURED_BY_RUNS and row.phase == FIRST_PHASE
