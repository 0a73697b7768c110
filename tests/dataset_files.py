"""Small market files and blocks for the tests of data sets and importers, and the command line in-process."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidemark.cli.main import run
from tidemark.events import EventBlock, Kind, empty_block
from tidemark.units import NO_PRICE, NS_PER_S

START_NS = 1_709_303_400_000_000_000  # 2024-03-01T14:30:00Z
CSV_HEADER = "ts_event,ts_recv,update_id,bid_px_00,bid_sz_00,ask_px_00,ask_sz_00,bid_px_01,bid_sz_01,ask_px_01,ask_sz_01"


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return self.err.splitlines()


def tidemark(*argv: object) -> Outcome:
    """Run `tidemark …` in this process, as a shell would see it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(word) for word in argv])
    return Outcome(code, out.getvalue(), err.getvalue())


def csv_row(number: int, *, bid: str = "4800.25", ask: str = "4800.50", event_ns: int | None = None) -> str:
    """A good row of CSV_HEADER, one second after the one before."""
    ts = START_NS + number * NS_PER_S if event_ns is None else event_ns
    return f"{ts},{ts + 1000},{number},{bid},3,{ask},4,4800.00,5,4800.75,6"


def csv_text(rows: Sequence[str] | None = None, header: str = CSV_HEADER) -> str:
    """A whole file; by default four good rows."""
    return "\n".join([header, *([csv_row(i) for i in range(1, 5)] if rows is None else rows)]) + "\n"


def entries(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too: what a failed command may not add to."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def market_block(
    symbols: tuple[str, ...], count: int, *, seed: int = 0, step_ns: int = NS_PER_S // 10, trade_share: float = 0.2
) -> EventBlock:
    """Sound events of some symbols in feed order: full books around a walking mid, trades between them."""
    rng = np.random.default_rng(seed)
    block = empty_block(symbols, count)
    block.symbol_i[:] = rng.integers(0, len(symbols), count)
    block.event_ts_ns[:] = START_NS + np.cumsum(rng.integers(0, 2 * step_ns, count))
    block.symbol_i[:] = block.symbol_i[np.lexsort((block.symbol_i, block.event_ts_ns))]
    block.recv_ts_ns[:] = block.event_ts_ns + rng.integers(0, 1_000_000, count)
    bid = 19_000 + np.cumsum(rng.integers(-1, 2, count))
    for level in range(10):
        block.px_ticks[:, level], block.px_ticks[:, 10 + level] = bid - level, bid + 1 + level
    block.qty[:] = rng.integers(1, 200, block.qty.shape)
    trades = rng.random(count) < trade_share
    block.kind[trades] = Kind.TRADE
    block.px_ticks[trades, 1:], block.qty[trades, 1:] = NO_PRICE, 0
    block.aggressor[trades] = rng.integers(-1, 2, int(trades.sum()))
    for i in range(len(symbols)):
        rows = block.symbol_i == i
        block.seq[rows] = np.arange(1, rows.sum() + 1)
    return block


def same(left: EventBlock, right: EventBlock) -> bool:
    """Whether two blocks hold the same events."""
    pairs = zip(left.columns(), right.columns(), strict=True)
    return left.symbols == right.symbols and all(np.array_equal(a, b) for a, b in pairs)
