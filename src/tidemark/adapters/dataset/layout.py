"""Names, types and folders of the canonical data set, and its manifest. What the files mean stands in docs/data.md."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidemark.errors import InputError, bad_input
from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.instruments import Instrument
from tidemark.units import NS_PER_DAY, NS_PER_S

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
DEPTH, TRADES, BARS = "depth", "trades", "bars"
KINDS: dict[str, Kind] = {DEPTH: Kind.DEPTH, TRADES: Kind.TRADE}
BAR_TIMEFRAME = "1m"

# (column of the file, column of EventBlock.px_ticks and .qty), in the published order
LEVEL_COLUMNS: tuple[tuple[str, str, int], ...] = tuple(
    (f"{side}_px_{level:02d}", f"{side}_sz_{level:02d}", first + level)
    for side, first in (("bid", 0), ("ask", LEVELS))
    for level in range(LEVELS)
)
_HEAD = [("ts_event_ns", pa.int64()), ("ts_recv_ns", pa.int64()), ("seq", pa.int64())]
SCHEMAS: dict[str, Any] = {
    DEPTH: pa.schema(_HEAD + [column for px, sz, _ in LEVEL_COLUMNS for column in ((px, pa.int64()), (sz, pa.int32()))]),
    TRADES: pa.schema([*_HEAD, ("px", pa.int64()), ("sz", pa.int32()), ("aggressor", pa.int8())]),
    BARS: pa.schema(
        [
            *((name, pa.int64()) for name in ("ts_open_ns", "open", "high", "low", "close", "volume")),
            ("vwap_ticks", pa.float64()),
            ("n_trades", pa.int64()),
        ]
    ),
}


def date_of_ns(ts_ns: int) -> str:
    """UTC date of a time, the name of its partition."""
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).date().isoformat()


def day_of_date(text: str, *, source: str) -> int:
    """Days since 1970 of `YYYY-MM-DD`. Raises InputError."""
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days if len(text) == len("YYYY-MM-DD") else _no_date(text)
    except ValueError:
        raise bad_input(source, "date", text, "a date YYYY-MM-DD") from None


def _no_date(text: str) -> int:
    raise ValueError(text)


def partition_folder(kind: str, symbol: str, day: int) -> Path:
    """Relative folder of one kind, symbol and day (days since 1970)."""
    leaf = Path(f"symbol={symbol}") / f"date={date_of_ns(day * NS_PER_DAY)}"
    return Path(kind) / f"timeframe={BAR_TIMEFRAME}" / leaf if kind == BARS else Path(kind) / leaf


class ContentHash:
    """SHA-256 over the values of one kind and symbol, row after row, however they are cut into blocks and compressed."""

    def __init__(self) -> None:
        self._columns = [hashlib.sha256() for _ in range(6)]

    def update(self, rows: EventBlock) -> None:
        """Take rows of one kind and symbol in stored order."""
        width = 1 if len(rows) and rows.kind[0] == Kind.TRADE else 2 * LEVELS
        parts: tuple[tuple[npt.NDArray[Any], str], ...] = (
            (rows.event_ts_ns, "<i8"),
            (rows.recv_ts_ns, "<i8"),
            (rows.seq, "<i8"),
            (rows.px_ticks[:, :width], "<i8"),
            (rows.qty[:, :width], "<i4"),
            (rows.aggressor, "i1"),
        )
        for digest, (column, dtype) in zip(self._columns, parts, strict=True):
            digest.update(np.ascontiguousarray(column, dtype=dtype).data)

    def hexdigest(self) -> str:
        """Digest of the columns' digests."""
        return hashlib.sha256(b"".join(column.digest() for column in self._columns)).hexdigest()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the data set."""

    rows: int
    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a data set holds. `content` has one digest per symbol and kind; `data_hash` covers them and the instruments."""

    instruments: dict[str, Instrument]
    source: str
    licence: str
    rows: dict[str, dict[str, int]]  # symbol → kind → rows
    span_ns: dict[str, tuple[int, int]]  # symbol → first and last event time
    files: dict[str, FileEntry]
    content: dict[str, dict[str, str]]
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.instruments)

    @property
    def data_hash(self) -> str:
        """Equal for equal events of equal instruments, whatever the compression, the Parquet version or the source's name."""
        body = {"instruments": [spec.to_manifest() for spec in self.instruments.values()], "content": self.content}
        return hashlib.sha256(_canonical_json(body)).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form; `symbols` keeps the feed's tie-breaking order."""
        return {
            "schema": SCHEMA_VERSION,
            "symbols": list(self.symbols),
            "instruments": {symbol: spec.to_manifest() for symbol, spec in self.instruments.items()},
            "source": self.source,
            "licence": self.licence,
            "rows": self.rows,
            "span_ns": {symbol: list(span) for symbol, span in self.span_ns.items()},
            "files": {path: {"rows": entry.rows, "bytes": entry.size, "sha256": entry.sha256} for path, entry in self.files.items()},
            "content": self.content,
            "data_hash": self.data_hash,
            "extra": self.extra,
        }

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        (folder / MANIFEST_NAME).write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_manifest(root: Path) -> Manifest:
    """The manifest of the data set at `root`. Raises InputError that names the file and the field."""
    path = root / MANIFEST_NAME
    source = str(path)
    document = _read_json(root, path)
    if document.get("schema") != SCHEMA_VERSION:
        raise bad_input(
            source, "schema", document.get("schema"), str(SCHEMA_VERSION), "written by another version, or not a data set's manifest"
        )
    try:
        return Manifest(
            instruments=_instruments(document["instruments"], document["symbols"], source),
            source=str(document["source"]),
            licence=str(document["licence"]),
            rows={symbol: {kind: int(n) for kind, n in kinds.items()} for symbol, kinds in document["rows"].items()},
            span_ns={symbol: (int(span[0]), int(span[1])) for symbol, span in document["span_ns"].items()},
            files={name: _file_entry(name, entry, source) for name, entry in document["files"].items()},
            content={symbol: dict(kinds) for symbol, kinds in document["content"].items()},
            extra=dict(document.get("extra", {})),
        )
    except InputError:
        raise
    except KeyError as error:
        raise bad_input(source, str(error.args[0]), "nothing", "a value") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise bad_input(source, "content", str(error), "the fields of a data set's manifest") from error


def _read_json(root: Path, path: Path) -> dict[str, Any]:
    hint = "`tidemark data import` or `tidemark data simulate` makes one"
    try:
        if not root.is_dir():
            raise bad_input(str(root), "data set", "a file" if root.exists() else "nothing", f"a folder with {MANIFEST_NAME}", hint)
        size = path.stat().st_size
        raw = path.read_bytes() if size <= MANIFEST_BYTES_MAX else b""
    except FileNotFoundError:
        raise bad_input(str(root), MANIFEST_NAME, "nothing", "a data set's folder", hint) from None
    except OSError as error:
        raise bad_input(str(root), "data set", error.strerror, "a readable folder") from error
    if size > MANIFEST_BYTES_MAX:
        raise bad_input(str(path), "size", size, f"at most {MANIFEST_BYTES_MAX} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise bad_input(str(path), "content", str(error), "a JSON document in UTF-8") from error
    if not isinstance(document, dict):
        raise bad_input(str(path), "content", type(document).__name__, "a JSON object")
    return document


def _instruments(specs: Mapping[str, dict[str, Any]], symbols: list[str], source: str) -> dict[str, Instrument]:
    if sorted(symbols) != sorted(specs) or len(set(symbols)) != len(symbols):
        raise bad_input(source, "symbols", symbols, f"each of {', '.join(sorted(specs))} once")
    return {symbol: Instrument.from_manifest(specs[symbol], source=source) for symbol in symbols}


def _file_entry(name: str, entry: Mapping[str, Any], source: str) -> FileEntry:
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts or not parts or parts[0] not in SCHEMAS:
        raise bad_input(source, "files", name, "a path inside the data set")
    return FileEntry(int(entry["rows"]), int(entry["bytes"]), str(entry["sha256"]))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
