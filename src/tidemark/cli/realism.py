"""Hold the simulated market against the real books that lie beside the project: `python -m tidemark.cli.realism ../shared/data/l2`.

Reads the prepared Parquet books of shared/data directly (columns bid_px_00 .., see its README), not through the importers: the statistics
want nothing but touch, sizes and trades.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tidemark.events import EventBlock

MINUTES, SEED = 60, 1  # of the simulated sample
ES_TRADES = "es_trades_ESH4_20231225.parquet"
LOBSTER_EXECUTION = 4  # message type of a visible execution
REAL_BOOKS: dict[str, tuple[str, str, float, float]] = {
    # name: (book file, trades file or "" where the book's own rows tell the trades, tick, size step)
    "ES 2023": ("es_mbp10_ESH4_20231225.parquet", ES_TRADES, 0.25, 1.0),
    "GOOG 2012": ("lobster_GOOG_20120621_0930-1400_book10.parquet", "", 0.01, 1.0),
    "AAPL 2012": ("lobster_AAPL_20120621_0930-1010_book10.parquet", "", 0.01, 1.0),
    "BTC USD-M": ("binance_usdm_btcusdt_20240808_book10.parquet", "binance_usdm_btcusdt_20240808_trades.parquet", 0.1, 0.001),
    "BTC COIN-M": ("binance_cm_btcusd_perp_20240808_book10.parquet", "binance_cm_btcusd_perp_20240808_trades.parquet", 0.1, 1.0),
    "BTC spot": ("binance_spot_btcusdt_20240808_book10.parquet", "binance_spot_btcusdt_20240808_trades.parquet", 0.01, 0.00001),
}


def real_block(folder: Path, name: str) -> "EventBlock":
    """One real book as a block of one symbol, in time order, trades before the depth row of the same instant.

    Raises InputError where a file is missing.
    """
    import numpy as np
    import pyarrow.parquet as pq

    from tidemark.errors import bad_input
    from tidemark.events import empty_block

    book_file, trade_file, tick, step = REAL_BOOKS[name]
    for file in filter(None, (book_file, trade_file)):
        if not (folder / file).is_file():
            raise bad_input(str(folder), "file", file, "the prepared books of shared/data/l2")
    table = pq.read_table(folder / book_file)
    ts_ns = table["ts_event"].to_numpy()
    crossed = np.flatnonzero(table["bid_px_00"].to_numpy() >= table["ask_px_00"].to_numpy())
    opened = np.arange(crossed.max(initial=-1) + 1, table.num_rows)  # ES begins with a crossed pre-open; nothing else is ever crossed
    trades = _trades(folder, name, table)
    count = len(opened)
    block = empty_block((name,), count + len(trades[0]))
    for side, first in (("bid", 0), ("ask", 10)):
        for level in range(10):
            block.px_ticks[:count, first + level] = np.rint(table[f"{side}_px_{level:02d}"].to_numpy()[opened] / tick)
            block.qty[:count, first + level] = np.rint(table[f"{side}_sz_{level:02d}"].to_numpy()[opened] / step)
    block.event_ts_ns[:] = np.concatenate((ts_ns[opened], trades[0]))
    block.kind[count:], block.aggressor[count:] = 1, trades[1]
    block.px_ticks[count:, 0], block.qty[count:, 0] = np.rint(trades[2] / tick), np.rint(trades[3] / step)
    first_ns, last_ns = ts_ns[opened[0]], ts_ns[opened[-1]]
    order = np.lexsort((1 - block.kind, block.event_ts_ns))
    order = order[(block.event_ts_ns[order] >= first_ns) & (block.event_ts_ns[order] <= last_ns)]
    block = block[order]
    block.seq[:] = np.arange(1, len(block) + 1)
    block.recv_ts_ns[:] = block.event_ts_ns
    return block


def _trades(folder: Path, name: str, book: Any) -> tuple[Any, Any, Any, Any]:
    """(time, aggressor sign, price, size) of a real book's trades."""
    import numpy as np
    import pyarrow.parquet as pq

    trade_file = REAL_BOOKS[name][1]
    if trade_file:
        table = pq.read_table(folder / trade_file)
        side = table["aggressor_side"].to_numpy(zero_copy_only=False)
        sign = np.where(side == "B", 1, np.where(side == "A", -1, 0))
        qty = table["qty" if "qty" in table.column_names else "size"].to_numpy()
        return table["ts_event"].to_numpy(), sign, table["price"].to_numpy(), qty
    visible = book["msg_type"].to_numpy() == LOBSTER_EXECUTION
    resting = book["direction" if "direction" in book.column_names else "msg_direction"].to_numpy()[visible]
    return book["ts_event"].to_numpy()[visible], -resting, book["msg_price"].to_numpy()[visible], book["msg_size"].to_numpy()[visible]


def figures(folder: Path) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """(real, simulated) statistics by book and by symbol; the simulated sample is the null market's."""
    from tidemark.market import MarketConfig, simulate
    from tidemark.market.statistics import statistics_of

    real = {name: statistics_of(real_block(folder, name)) for name in REAL_BOOKS}
    _, block = simulate(MarketConfig(minutes=MINUTES, seed=SEED)).sessions[0]
    simulated = {symbol: statistics_of(block[block.symbol_i == i]) for i, symbol in enumerate(block.symbols)}
    return real, simulated


def realism(
    folder: Annotated[Path, typer.Argument(help="The folder of the real books, shared/data/l2.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare the simulated market with the real books, statistic by statistic, as a Markdown table."""
    import json

    from tidemark.market.statistics import markdown_table

    real, simulated = figures(folder)
    if as_json:
        typer.echo(json.dumps({"real": real, "simulated": simulated}))
    else:
        typer.echo(markdown_table(real, simulated))


if __name__ == "__main__":
    typer.run(realism)
