"""`tidemark data …`: simulate a market, import vendors' files, check a data set."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemark.errors import bad_input

if TYPE_CHECKING:
    from tidemark.adapters.dataset.check import QualityReport
    from tidemark.adapters.dataset.intake import ImportReport
    from tidemark.adapters.dataset.rows import Source
    from tidemark.events import EventBlock
    from tidemark.instruments import Instrument

EXIT_OK, EXIT_NO = 0, 1
RECV_DELAY_MS_MAX = 60_000

app = typer.Typer(no_args_is_help=True, help="Market data: simulate, import, check.")
import_app = typer.Typer(no_args_is_help=True, help="Import a vendor's files as a data set; all or nothing unless --quarantine is given.")
app.add_typer(import_app, name="import")

Sources = Annotated[list[Path], typer.Argument(metavar="SRC...", help="Files to import, of one instrument.")]
Symbol = Annotated[str, typer.Option(help="The instrument's name in the data set.")]
Out = Annotated[Path | None, typer.Option(help="Folder to write: a new or an empty one.")]
Check = Annotated[bool, typer.Option("--check", help="Read and judge every row, write nothing. Exit 1 when a row would be refused.")]
Quarantine = Annotated[
    Path | None, typer.Option(help="Import the good rows and write the others, with line and reason, to this file (JSON lines).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TickSize = Annotated[str | None, typer.Option(help="Tick in the price's unit, for an instrument that is no known future.")]
TickValue = Annotated[int | None, typer.Option(help="Micro-dollars per tick and quantity step; default tick size x step, in dollars.")]
QtyStep = Annotated[str | None, typer.Option(help="Smallest size, for fractional sizes such as 0.001; default 1.")]
Contract = Annotated[str | None, typer.Option(help="linear or inverse; default linear.")]
Licence = Annotated[str, typer.Option(help="Licence of the data, kept in the manifest.")]
RecvDelay = Annotated[
    int | None, typer.Option(help="Set every receive time to the event time plus this, where the file has none or a wrong clock.")
]
RawSymbol = Annotated[str | None, typer.Option(help="The vendor's name of the instrument, where it is not told by --symbol.")]
TimeUnit = Annotated[str | None, typer.Option(help="Unit of integer times: ns, us, ms or s; default ns, for Tardis columns us.")]


@import_app.command("lobster")
def import_lobster(
    sources: Sources,
    symbol: Symbol,
    out: Out = None,
    day: Annotated[str | None, typer.Option("--date", help="Date YYYY-MM-DD, where the file's name does not tell it.")] = None,
    tick_size: TickSize = None,
    recv_delay_ms: RecvDelay = None,
    licence: Licence = "not stated",
    check: Check = False,
    quarantine: Quarantine = None,
    as_json: AsJson = False,
) -> int:
    """LOBSTER message and orderbook CSV pairs (.csv, .csv.gz): NASDAQ stocks, tick 0.01 USD unless told otherwise."""
    from tidemark.adapters.dataset.described import STOCK_TICK, Described, instrument_of
    from tidemark.adapters.dataset.lobster import LobsterSource, find_pairs

    instrument = instrument_of(Described(symbol=symbol, tick_size=tick_size), default_tick=STOCK_TICK, default_venue="XNAS")
    pairs = find_pairs(_existing(sources), _date(day))
    files = [file for pair in pairs for file in (pair.message, pair.orderbook)]
    how = How(out, licence, check, quarantine, recv_delay_ms, as_json)
    return _import("lobster", instrument, files, lambda: [LobsterSource(pair, instrument) for pair in pairs], how)


@import_app.command("databento")
def import_databento(
    sources: Sources,
    symbol: Symbol,
    out: Out = None,
    raw_symbol: RawSymbol = None,
    tick_size: TickSize = None,
    tick_value_micros: TickValue = None,
    recv_delay_ms: RecvDelay = None,
    licence: Licence = "not stated",
    check: Check = False,
    quarantine: Quarantine = None,
    as_json: AsJson = False,
) -> int:
    """Databento DBN files (.dbn, .dbn.zst): mbo is rebuilt into ten-level books; mbp-10, mbp-1, tbbo and trades are taken as they are."""
    from tidemark.adapters.dataset.databento import DbnSource
    from tidemark.adapters.dataset.described import Described, instrument_of

    instrument = instrument_of(Described(symbol=symbol, tick_size=tick_size, tick_value_micros=tick_value_micros))
    files = _existing(sources)
    how = How(out, licence, check, quarantine, recv_delay_ms, as_json)
    return _import("databento", instrument, files, lambda: [DbnSource(file, instrument, raw_symbol) for file in files], how)


def _table_command(format_name: str, help_text: str) -> None:
    """`import csv` and `import parquet` take the same options and the same layouts."""

    @import_app.command(format_name, help=help_text)
    def import_table(
        sources: Sources,
        symbol: Symbol,
        out: Out = None,
        raw_symbol: RawSymbol = None,
        tick_size: TickSize = None,
        tick_value_micros: TickValue = None,
        qty_step: QtyStep = None,
        contract: Contract = None,
        time_unit: TimeUnit = None,
        recv_delay_ms: RecvDelay = None,
        licence: Licence = "not stated",
        check: Check = False,
        quarantine: Quarantine = None,
        as_json: AsJson = False,
    ) -> int:
        from tidemark.adapters.dataset.described import Described, instrument_of
        from tidemark.adapters.dataset.table import TableSource

        said = Described(symbol=symbol, tick_size=tick_size, tick_value_micros=tick_value_micros, qty_step=qty_step, contract_kind=contract)
        instrument = instrument_of(said)
        files = _existing(sources)

        def open_all() -> list["Source"]:
            return [TableSource.open(file, format_name, instrument, time_unit=time_unit, raw_symbol=raw_symbol) for file in files]

        return _import(format_name, instrument, files, open_all, How(out, licence, check, quarantine, recv_delay_ms, as_json))


_table_command("csv", "CSV files with named columns, in a layout of docs/data.md; a file of books and one of trades belong together.")
_table_command(
    "parquet", "Parquet files with named columns, in a layout of docs/data.md; a file of books and one of trades belong together."
)


@app.command("check")
def check_data(data: Annotated[Path, typer.Argument(metavar="DIR", help="Data set folder.")], as_json: AsJson = False) -> int:
    """Quality report: hashes, counts by defect, score, verdict against 99.5 %. Exit 1 when the data set falls short."""
    from tidemark.adapters.dataset.check import check_dataset

    report = check_dataset(data)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=1))
    else:
        _print_quality(report)
    return EXIT_OK if report.passed else EXIT_NO


@app.command("simulate")
def simulate_data(
    out: Annotated[Path, typer.Option(help="Folder to write: a new or an empty one.")],
    market: Annotated[str, typer.Option(help="null: nothing to predict. planted: a known edge, recorded in the manifest.")] = "null",
    symbols: Annotated[str, typer.Option(help="Comma-separated futures.")] = "NQ,ES,YM,ZN,DX",
    minutes: Annotated[int, typer.Option(help="Minutes per session, from 08:30 Chicago.")] = 10,
    sessions: Annotated[int, typer.Option(help="Trading days.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 0,
    rate: Annotated[float, typer.Option(help="Factor on all event rates.")] = 1.0,
    first_date: Annotated[str | None, typer.Option(help="First trading day, YYYY-MM-DD.")] = None,
    as_json: AsJson = False,
) -> int:
    """Simulate a market and write it as a data set."""
    from tidemark.adapters.dataset.atomic import require_free
    from tidemark.adapters.dataset.writer import write_dataset
    from tidemark.market.config import FIRST_DATE, MarketConfig
    from tidemark.market.simulator import iter_sessions, planted_of

    names = tuple(name.strip() for name in symbols.split(","))
    start = _date(first_date, "--first-date") or FIRST_DATE
    config = MarketConfig(market=market, symbols=names, minutes=minutes, sessions=sessions, seed=seed, rate=rate, first_date=start)
    require_free(out)

    def sessions_of() -> Iterator["EventBlock"]:
        """The sessions, made anew for every reader: cheaper than to keep them all."""
        return (block for _, block in iter_sessions(config))

    manifest = write_dataset(
        out,
        config.instruments,
        sessions_of(),
        source=f"simulated market: {market}, seed {seed}",
        licence="simulated; free to use",
        extra={
            "market": market,
            "seed": seed,
            "minutes": minutes,
            "sessions": sessions,
            "rate": rate,
            "first_date": start.isoformat(),
            "planted": planted_of(config, sessions_of()),
        },
    )
    if as_json:
        typer.echo(json.dumps({"out": str(out), "data_hash": manifest.data_hash, "rows": manifest.rows}, indent=1))
    else:
        _print_rows(f"{market} market, seed {seed}", manifest.rows, out, manifest.data_hash)
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class How:
    """The options that all imports share. Raises InputError for those that contradict each other."""

    out: Path | None
    licence: str
    check: bool
    quarantine: Path | None
    recv_delay_ms: int | None
    as_json: bool

    def __post_init__(self) -> None:
        from tidemark.adapters.dataset.atomic import require_free

        if self.check and self.quarantine is not None:
            raise bad_input("--quarantine", "flag", str(self.quarantine), "no such flag beside --check", "--check writes nothing")
        if not self.check and self.out is None:
            raise bad_input("--out", "folder", "nothing", "a folder to write", "or --check to write nothing")
        if self.quarantine is not None and self.quarantine.exists():
            raise bad_input(str(self.quarantine), "--quarantine", "a file that is there already", "a new file")
        if self.recv_delay_ms is not None and not 0 <= self.recv_delay_ms <= RECV_DELAY_MS_MAX:
            raise bad_input("--recv-delay-ms", "delay", self.recv_delay_ms, f"0 to {RECV_DELAY_MS_MAX} milliseconds")
        if self.out is not None:
            require_free(self.out)


def _import(format_name: str, instrument: "Instrument", files: Sequence[Path], open_all: Callable[[], "Sequence[Source]"], how: How) -> int:
    from tidemark.adapters.dataset.intake import Intake, check_sources, import_sources
    from tidemark.adapters.dataset.writer import require_symbol
    from tidemark.units import NS_PER_MS

    require_symbol(instrument.symbol)
    intake = Intake(
        instrument=instrument,
        sources=open_all(),
        files=files,
        format=format_name,
        licence=how.licence,
        recv_delay_ns=None if how.recv_delay_ms is None else how.recv_delay_ms * NS_PER_MS,
    )
    if how.check or how.out is None:
        report = check_sources(intake)
    else:
        report = import_sources(intake, how.out, how.quarantine)
    if how.as_json:
        typer.echo(json.dumps(report.to_json(), indent=1))
    else:
        _print_import(report, None if how.check else how.out, how.quarantine)
    return EXIT_NO if how.check and report.refused else EXIT_OK


def _existing(sources: Sequence[Path]) -> list[Path]:
    """The files, each once. Raises InputError for one that is no file."""
    for i, path in enumerate(sources):
        try:
            found = "a folder" if path.is_dir() else "a file" if path.is_file() else "nothing"
        except OSError as error:
            found = error.strerror or "an unreadable path"
        if found != "a file":
            raise bad_input(str(path), "SRC", found, "a file")
        if path.resolve() in [other.resolve() for other in sources[:i]]:
            raise bad_input(str(path), "SRC", "the file twice", "each file once")
    return list(sources)


def _date(text: str | None, flag: str = "--date") -> date | None:
    if text is None:
        return None
    try:
        if len(text) == len("YYYY-MM-DD"):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise bad_input(flag, "date", text, "a date YYYY-MM-DD")


def _print_import(report: "ImportReport", out: Path | None, quarantine: Path | None) -> None:
    from rich.console import Console

    rows = {report.symbol: {"depth": report.depth, "trades": report.trades}}
    _print_rows(f"{report.format}: {', '.join(report.files)}", rows, out, report.data_hash)
    console = Console(soft_wrap=True, highlight=False)
    _print_counts(console, "refused rows", report.refused)
    for line in report.shown:
        console.print(line, markup=False)
    _print_counts(console, "notes", report.notes)
    if quarantine is not None:
        console.print(f"quarantine: {report.refused_count} rows in {quarantine}", markup=False)
    if out is None:
        console.print("checked only, nothing written", markup=False)


def _print_rows(title: str, rows: dict[str, dict[str, int]], out: Path | None, data_hash: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("symbol", "depth", "trades", title=title, title_justify="left")
    for symbol, kinds in rows.items():
        table.add_row(symbol, f"{kinds['depth']:,}", f"{kinds['trades']:,}")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    if data_hash is not None:
        console.print(f"{out}: data hash {data_hash}", markup=False)


def _print_counts(console: Any, title: str, counts: dict[str, int]) -> None:
    from rich.table import Table

    if not counts:
        return
    table = Table(title, "count")
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}")
    console.print(table)


def _print_quality(report: "QualityReport") -> None:
    from rich.console import Console
    from rich.table import Table

    document = report.to_json()
    table = Table("", *document["symbols"], title=f"data hash {report.data_hash}", title_justify="left")
    measures = (
        "events",
        "depth",
        "trades",
        "quality_ppm",
        "missing_seq",
        "repeated_books",
        "recv_before_event",
        "full_books_ppm",
        "levels_filled_ppm",
    )
    for measure in measures:
        values = [symbol[measure] for symbol in document["symbols"].values()]
        table.add_row(measure.replace("_", " "), *("none" if value is None else f"{value:,}" for value in values))
    table.add_row("longest silence", *(f"{symbol['longest_silence_ns'] / 1e9:,.1f} s" for symbol in document["symbols"].values()))
    found = sorted({defect for symbol in document["symbols"].values() for defect in symbol["defects"]})
    for defect in found:
        table.add_row(f"defect: {defect}", *(f"{symbol['defects'].get(defect, 0):,}" for symbol in document["symbols"].values()))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    for name in report.altered:
        console.print(f"altered since it was written: {name}", markup=False)
    score, target = report.quality_ppm / 10_000, document["target_ppm"] / 10_000
    console.print(f"score {score:.4f} %, target {target:.1f} % for every symbol: {document['verdict']}", markup=False)
