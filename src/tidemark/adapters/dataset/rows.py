"""What an importer hands on: events of one symbol with the line of the source that each stems from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tidemark.adapters.dataset.faults import FaultLog, Reason, RowText
from tidemark.events import I8, I64, EventBlock, empty_block
from tidemark.units import NO_PRICE

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Events in the order of the source. `seq` is 0 unless the source is canonical.

    Shapes  lines (n,), one per row of `block`; `text(i)` is the source's own text behind row i, for the quarantine file.
    """

    block: EventBlock
    lines: I64
    text: RowText

    def keep(self, mask: Mask) -> "Rows":
        """The rows where `mask` is true."""
        index = np.flatnonzero(mask)
        return Rows(self.block[index], self.lines[index], lambda row: self.text(int(index[row])))


class Source(Protocol):
    """One input of an import, all of one instrument."""

    name: str
    has_depth: bool
    has_trades: bool
    is_canonical: bool  # its seq numbers are ours

    def rows(self, log: FaultLog) -> Iterator[Rows]:
        """Its events; rows that cannot be events go to `log`. Raises InputError where the source as a whole is unusable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """A portion of a source's records, arrays of (n,), whatever they are made into."""

    lines: I64
    event_ts_ns: I64
    recv_ts_ns: I64
    seq: I64
    text: RowText


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Rows made from records: `from_record` (m,) says from which; `sizes` (m, 20) before they are cut to the data set's 32 bits."""

    from_record: I64
    kind: I8
    aggressor: I8
    px_ticks: I64
    sizes: I64


def interleave(is_trade: Mask, trade_ticks: I64, trade_qty: I64, aggressor: I8, is_depth: Mask, px_ticks: I64, sizes: I64) -> Made:
    """Rows of records (n,) that carry a trade, the book after it (n, 20), or both: then the trade stands first."""
    from_record = np.repeat(np.arange(len(is_trade)), is_trade.astype(np.int64) + is_depth)
    trades = is_trade[from_record] & (np.diff(from_record, prepend=-1) != 0)
    of_trade = from_record[trades]
    out_px, out_sizes = px_ticks[from_record], sizes[from_record]
    out_px[trades], out_sizes[trades] = NO_PRICE, 0
    out_px[trades, 0], out_sizes[trades, 0] = trade_ticks[of_trade], trade_qty[of_trade]
    out_aggressor = np.zeros(len(from_record), np.int8)
    out_aggressor[trades] = aggressor[of_trade]
    return Made(from_record=from_record, kind=trades.astype(np.int8), aggressor=out_aggressor, px_ticks=out_px, sizes=out_sizes)


def assemble(symbol: str, made: Made, records: Records, log: FaultLog, source: str) -> Rows:
    """Rows with their times. Rows with a size that does not fit 32 bits go to the log."""
    block = empty_block((symbol,), len(made.from_record))
    too_large = (made.sizes < INT32_MIN) | (made.sizes > INT32_MAX)
    block.kind[:], block.aggressor[:], block.px_ticks[:] = made.kind, made.aggressor, made.px_ticks
    block.qty[:] = np.where(too_large, 0, made.sizes)
    block.event_ts_ns[:] = records.event_ts_ns[made.from_record]
    block.recv_ts_ns[:] = records.recv_ts_ns[made.from_record]
    block.seq[:] = records.seq[made.from_record]
    rows = Rows(block, records.lines[made.from_record], lambda row: records.text(int(made.from_record[row])))
    unfit = np.logical_or.reduce(too_large, axis=1)
    for row in np.flatnonzero(unfit).tolist():
        largest = str(int(np.abs(made.sizes[row]).max()))
        expected = f"sizes of at most {INT32_MAX} quantity steps"
        log.refuse(source, int(rows.lines[row]), Reason.OUT_OF_RANGE.label, "size", largest, expected, rows.text(row))
    return rows.keep(~unfit) if unfit.any() else rows
