"""From sessions of events to what a model trains on: windows by index, labels, and splits that time cannot leak through.

Windows are never materialised: a sample is a row number, its window the rows before it. Splits are by session; a set of
one session is cut by time instead, which makes it a benchmark and not evidence (`Split.by` says which it was).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tidemark.errors import bad_input
from tidemark.events import I16, I64, LEVELS, EventBlock, Kind
from tidemark.features.batch import grid_rows, usable_events
from tidemark.features.params import DEFAULT_PARAMS, FeatureParams
from tidemark.features.rows import FeatureRows
from tidemark.instruments import Instrument
from tidemark.models.brackets import BracketRule, variance_per_s
from tidemark.models.config import LabelConfig
from tidemark.models.inputs import WINDOW_GAP_NS_MAX, input_columns
from tidemark.models.labels import BracketOutcomes, Quotes, TrendLabels, bracket_outcomes, trend_by_events, trend_by_time

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SymbolSession:
    """One symbol's session: its feature rows, the quotes that labels come from, and what a fee costs in ticks."""

    session: str
    rows: FeatureRows
    quotes: Quotes
    fee_ticks: float

    @property
    def symbol(self) -> str:
        return self.rows.symbol


def symbol_sessions(
    block: EventBlock, session: str, instruments: Mapping[str, Instrument], params: FeatureParams | None = None
) -> list[SymbolSession]:
    """Every symbol of one session's events, in the block's order of symbols; symbols without a usable book are left out."""
    result = []
    for index, symbol in enumerate(block.symbols):
        one = _usable_events(block, index)
        depth = one.kind == Kind.DEPTH
        if not depth.any():
            continue
        quotes = Quotes(one.event_ts_ns[depth], one.px_ticks[depth, 0], one.px_ticks[depth, LEVELS])
        spec = instruments[symbol]
        rows = grid_rows(one, params or DEFAULT_PARAMS)
        result.append(SymbolSession(session, rows, quotes, spec.fee_micros / spec.tick_value_micros))
    return result


def _usable_events(block: EventBlock, symbol_i: int) -> EventBlock:
    """One symbol's usable events as a block of its own."""
    part = block[block.symbol_i == symbol_i]
    _, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty = part.columns()
    mine = np.zeros(len(part), np.int16)
    return usable_events(EventBlock((block.symbols[symbol_i],), mine, kind, aggressor, seq, event_ts_ns, recv_ts_ns, px_ticks, qty))


@dataclass(frozen=True, slots=True)
class WindowSet:
    """All rows of all sessions with their labels; sample i is the window that ends with row i.

    Shapes  `n` rows, `H` horizons. x (n, 48) float32 unscaled inputs; symbol_i, session_i (n,); decision_ns (n,) the grid time;
            first_row (n,) where the unbroken run of row i starts; y, move_ticks, threshold_ticks, end_ns, valid (H, n);
            stop_ticks, target_ticks (n,); long, short outcomes over n rows.
    Units   `variance` ticks² per second over each row's window.
    """

    window_rows: int
    symbols: tuple[str, ...]
    sessions: tuple[str, ...]
    x: F32
    symbol_i: I16
    session_i: I64
    decision_ns: I64
    first_row: I64
    y: I64
    move_ticks: F64
    threshold_ticks: F64
    end_ns: I64
    valid: Bool
    variance: F64
    stop_ticks: I64
    target_ticks: I64
    long: BracketOutcomes
    short: BracketOutcomes

    def __len__(self) -> int:
        return len(self.x)

    @property
    def full(self) -> Bool:
        """Rows whose window is complete, (n,)."""
        return np.arange(len(self)) - self.first_row >= self.window_rows - 1

    def windows(self, rows: I64) -> F32:
        """Unscaled windows (len(rows), window_rows, 48), a copy."""
        return np.asarray(self.x[rows[:, None] + np.arange(1 - self.window_rows, 1)])


def build_windows(sessions: Sequence[SymbolSession], labels: LabelConfig, bracket: BracketRule, window_rows: int) -> WindowSet:
    """Windows and labels of symbol sessions in any order. Raises InputError when there is no row at all."""
    parts = sorted((part for part in sessions if len(part.rows)), key=lambda part: (part.rows.grid_ts_ns[0], part.symbol))
    if not parts:
        raise bad_input("training", "rows", "none", "at least one grid row of a usable book")
    symbols = tuple(sorted({part.symbol for part in parts}))
    names = tuple(dict.fromkeys(part.session for part in parts))
    columns = input_columns()
    trends = [_trends(part, labels) for part in parts]
    variances = [_window_variance(part.rows, window_rows) for part in parts]
    brackets = [_outcomes(part, variance, labels, bracket) for part, variance in zip(parts, variances, strict=True)]
    lengths = [len(part.rows) for part in parts]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])

    def stacked(field: str) -> npt.NDArray[np.generic]:
        return np.concatenate([np.stack([getattr(trend, field) for trend in part]) for part in trends], axis=1)

    def outcomes(side: int) -> BracketOutcomes:
        both = [entry[2 + side] for entry in brackets]
        return BracketOutcomes(
            *(np.concatenate([getattr(one, name) for one in both]) for name in ("outcome", "pnl_ticks", "end_ns", "valid"))
        )

    return WindowSet(
        window_rows=window_rows,
        symbols=symbols,
        sessions=names,
        x=np.concatenate([part.rows.values[:, columns] for part in parts]),
        symbol_i=np.repeat(np.array([symbols.index(part.symbol) for part in parts], np.int16), lengths),
        session_i=np.repeat(np.array([names.index(part.session) for part in parts], np.int64), lengths),
        decision_ns=np.concatenate([part.rows.grid_ts_ns for part in parts]),
        first_row=np.concatenate([start + _run_starts(part.rows.grid_ts_ns) for part, start in zip(parts, starts, strict=True)]),
        y=stacked("y").astype(np.int64),
        move_ticks=stacked("move_ticks").astype(np.float64),
        threshold_ticks=stacked("threshold_ticks").astype(np.float64),
        end_ns=stacked("end_ns").astype(np.int64),
        valid=stacked("valid").astype(np.bool_),
        variance=np.concatenate(variances),
        stop_ticks=np.concatenate([entry[0] for entry in brackets]),
        target_ticks=np.concatenate([entry[1] for entry in brackets]),
        long=outcomes(0),
        short=outcomes(1),
    )


def _trends(part: SymbolSession, labels: LabelConfig) -> list[TrendLabels]:
    common = {"latency_ns": labels.latency_ns, "fee_ticks": part.fee_ticks}
    if labels.unit == "events":
        return [trend_by_events(part.quotes, part.rows.grid_ts_ns, horizon_events=h, **common) for h in labels.horizons]  # type: ignore[arg-type]
    return [trend_by_time(part.quotes, part.rows.grid_ts_ns, horizon_ns=h, **common) for h in labels.horizons]  # type: ignore[arg-type]


def _outcomes(
    part: SymbolSession, variance: F64, labels: LabelConfig, bracket: BracketRule
) -> tuple[I64, I64, BracketOutcomes, BracketOutcomes]:
    stop, target = bracket.distances(variance, part.rows.column("spread").astype(np.float64))
    at = part.rows.grid_ts_ns
    long, short = (
        bracket_outcomes(part.quotes, at, side, stop, target, latency_ns=labels.latency_ns, horizon_ns=bracket.horizon_ns)
        for side in (1, -1)
    )
    return stop, target, long, short


def _run_starts(grid_ts_ns: I64) -> I64:
    """Row number at which the unbroken run of each row starts, (n,)."""
    rows = np.arange(len(grid_ts_ns))
    broken = np.concatenate([[True], np.diff(grid_ts_ns) > WINDOW_GAP_NS_MAX])
    return np.maximum.accumulate(np.where(broken, rows, 0))


def _window_variance(rows: FeatureRows, window_rows: int) -> F64:
    """Variance over each row's window, (n,); rows before the first full window take what there is of it."""
    rv = rows.column("rv_10s")
    padded = np.concatenate([np.full(window_rows - 1, rv[0], np.float32), rv])
    return variance_per_s(np.lib.stride_tricks.sliding_window_view(padded, window_rows))


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers to train, validate and test on. A row belongs where its decision falls; `by` is "session" or "time"."""

    train: I64
    valid: I64
    test: I64
    valid_start_ns: int
    test_start_ns: int
    by: str


def split_windows(windows: WindowSet, *, valid_frac: float = 0.2, test_frac: float = 0.25) -> Split:
    """Later sessions test, the ones before them validate, the first train; never the other way round.

    Purge: a row whose longest label ends in the next part is dropped from the earlier one. With one session the earlier
    60 % of its time trains and validates (the last fifth of that validates) and the later 40 % tests; with two, the second
    tests and the last fifth of the first validates.
    Raises InputError when a part is left without a row.
    """
    starts = np.sort([windows.decision_ns[windows.session_i == i].min() for i in range(len(windows.sessions))])
    count = len(starts)
    by = "session"
    if count <= 2:
        usable = windows.decision_ns[windows.full & windows.valid.all(axis=0)]  # a lone row before the open must not move the cut
        if not len(usable):
            raise bad_input("split", "rows", "none with a full window", "rows in every part", "longer sessions are needed")
        first, last = int(usable.min()), int(usable.max())
        test_start = int(starts[1]) if count == 2 else first + 6 * (last - first) // 10
        before = int(usable[usable < test_start].max(initial=first))
        valid_start = first + 8 * (before - first) // 10
        by = "time"
    else:
        tests = max(1, round(count * test_frac))
        valids = max(1, round(count * valid_frac))
        if tests + valids >= count:
            tests, valids = 1, 1
        test_start, valid_start = int(starts[count - tests]), int(starts[count - tests - valids])
    return split_at(windows, valid_start, test_start, by=by)


def split_at(windows: WindowSet, valid_start_ns: int, test_start_ns: int, *, by: str = "session") -> Split:
    """Split at two times, with purge. Raises InputError when a part is left without a row."""
    usable = windows.full & windows.valid.all(axis=0)
    end = windows.end_ns.max(axis=0)
    at = windows.decision_ns
    train = np.flatnonzero(usable & (end < valid_start_ns))
    valid = np.flatnonzero(usable & (at >= valid_start_ns) & (end < test_start_ns))
    test = np.flatnonzero(usable & (at >= test_start_ns))
    for name, rows in (("training", train), ("validation", valid), ("test", test)):
        if not len(rows):
            raise bad_input("split", name, "no rows", "rows in every part", "more sessions or longer ones are needed")
    return Split(train, valid, test, valid_start_ns, test_start_ns, by)


class EventSource(Protocol):
    """A data set as training reads it (`adapters.dataset.store.Dataset` is one)."""

    @property
    def instruments(self) -> Mapping[str, Instrument]: ...

    def dates(self) -> list[str]: ...

    def block(self, symbols: Sequence[str] | None = None, date: str | None = None) -> EventBlock: ...


def load_sessions(source: EventSource, symbols: Sequence[str] | None = None) -> Iterator[SymbolSession]:
    """Every symbol's sessions of a data set, date by date, with one date's events in memory at a time."""
    for date in source.dates():
        yield from symbol_sessions(source.block(symbols, date), date, source.instruments)
