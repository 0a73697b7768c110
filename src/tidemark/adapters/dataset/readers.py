"""Files of rows in portions: CSV as text cells with true line numbers, Parquet as typed columns. Meaning is given to them in `table`.

Faults of the whole file (not text, no header, truncated, doubled columns) are errors; faults of a row are logged and the row is
kept in its place, marked, because LOBSTER's two files are matched line by line.
"""

import bz2
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tidemark.adapters.dataset.faults import FaultLog, Reason, RowText
from tidemark.adapters.parquet import first_line
from tidemark.errors import InputError, bad_input
from tidemark.events import I64

ROWS_PER_CHUNK = 65_536
LINE_BYTES_MAX = 65_536
_COMPRESSED: dict[str, Any] = {".gz": gzip, ".bz2": bz2, ".xz": lzma}
_UTF8_BOM, _UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a source: Arrow columns by name, line numbers (n,), and which rows are ragged and hold only blanks."""

    source: str
    lines: I64
    columns: dict[str, Any]
    ragged: npt.NDArray[np.bool_]
    text: RowText

    def __len__(self) -> int:
        return len(self.lines)

    def cell(self, row: int, name: str) -> str:
        """The source's value, for messages; the whole text where no single column is at fault."""
        if name not in self.columns:
            return self.text(row)
        value = self.columns[name][row].as_py()
        return "" if value is None else str(value)


class CsvFile:
    """A CSV file with commas, in UTF-8, possibly compressed (.gz, .bz2, .xz). With `names` it has no header line."""

    def __init__(self, path: Path, names: Sequence[str] | None = None) -> None:
        self.path = path
        self.source = path.name
        self._headless = names is not None
        self.names = list(names) if names is not None else self._read_header()

    def first_row(self) -> list[str]:
        """Cells of the first line. Raises InputError when the file is empty."""
        with self._open() as file:
            line = self._line(file, 1)
        if not line.strip():
            raise bad_input(self.source, "content", "an empty file" if not line else "an empty first line", "rows")
        return next(csv.reader([self._decode([line], 1)]))

    def chunks(self, log: FaultLog, rows_max: int = ROWS_PER_CHUNK) -> Iterator[Chunk]:
        """Portions of exactly `rows_max` rows, but for the last. Blank lines are no rows but count as lines.

        Rows with another number of cells than the header go to the log and stay in their place as blanks, marked.
        """
        number = 0
        with self._open() as file:
            if not self._headless:
                self._line(file, 1)
                number = 1
            ended = False
            while not ended:
                lines: list[bytes] = []
                numbers: list[int] = []
                while len(lines) < rows_max:
                    number += 1
                    line = self._line(file, number)
                    if not line:
                        ended = True
                        break
                    if line.strip():
                        lines.append(line if number > 1 else line.removeprefix(_UTF8_BOM))
                        numbers.append(number)
                if lines:
                    yield self._chunk(lines, np.array(numbers, np.int64), log)

    def _read_header(self) -> list[str]:
        names = [name.strip() for name in self.first_row()]
        if len(names) == 1 and ";" in names[0]:
            raise bad_input(self.source, "header", names[0], "columns separated by commas", "and numbers with a decimal point")
        if len(names) == 1 and "\t" in names[0]:
            raise bad_input(self.source, "header", names[0], "columns separated by commas")
        require_distinct(names, self.source)
        return names

    def _open(self) -> IO[bytes]:
        opener: Callable[..., IO[bytes]] = getattr(_COMPRESSED.get(self.path.suffix, io), "open")  # noqa: B009
        try:
            return opener(self.path, "rb")
        except OSError as error:
            raise unreadable(self.path, error) from error

    def _line(self, file: IO[bytes], number: int) -> bytes:
        try:
            line = file.readline(LINE_BYTES_MAX + 1)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise bad_input(f"{self.source}:{number}", "content", first_line(error), "a readable file", "truncated or damaged") from error
        if len(line) > LINE_BYTES_MAX:
            raise bad_input(f"{self.source}:{number}", "row", f"more than {LINE_BYTES_MAX} bytes", "lines of text")
        if number == 1 and line.startswith(_UTF16_BOMS):
            raise bad_input(f"{self.source}:1", "encoding", "UTF-16", "UTF-8 text")
        return line

    def _decode(self, lines: Sequence[bytes], first: int) -> str:
        for number, line in enumerate(lines, first):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise bad_input(f"{self.source}:{number}", "encoding", f"byte 0x{line[error.start]:02x}", "UTF-8 text") from error
        text = b"".join(lines).decode().removeprefix("\ufeff")
        if "\0" in text:
            raise bad_input(f"{self.source}:{first}", "content", "a NUL byte", "text")
        return text

    def _chunk(self, lines: list[bytes], numbers: I64, log: FaultLog) -> Chunk:
        commas = len(self.names) - 1
        raw = lines.copy()
        ragged = np.zeros(len(lines), np.bool_)
        for row, line in enumerate(lines):
            if line.count(b",") != commas or (b'"' in line and line.count(b'"') % 2):
                ragged[row] = True
                lines[row] = b"," * commas + b"\n"
                self._refuse(line, int(numbers[row]), commas + 1, log)
        text = lambda row: raw[row].decode("utf-8", "replace").rstrip("\r\n")  # noqa: E731
        return Chunk(self.source, numbers, self._parse(lines, numbers), ragged, text)

    def _refuse(self, line: bytes, number: int, width: int, log: FaultLog) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        got = "an unbalanced quote" if text.count('"') % 2 else f"{text.count(',') + 1} cells"
        log.refuse(self.source, number, Reason.RAGGED_ROW.label, "row", got, f"{width} cells", text)

    def _parse(self, lines: list[bytes], numbers: I64) -> dict[str, Any]:
        data = b"".join(lines)
        try:
            data.decode()
        except UnicodeDecodeError:
            for line, number in zip(lines, numbers.tolist(), strict=True):
                self._decode([line], number)
        if b"\0" in data:
            raise bad_input(f"{self.source}:{numbers[0]}", "content", "a NUL byte", "text")
        try:
            table = pa_csv.read_csv(
                io.BytesIO(data),
                read_options=pa_csv.ReadOptions(column_names=self.names, use_threads=False, block_size=len(data) + 1),
                convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(self.names, pa.string()), strings_can_be_null=False),
            )
        except pa.ArrowInvalid as error:  # a comma inside quotes
            raise bad_input(f"{self.source}:{numbers[0]}", "content", first_line(error), f"rows of {len(self.names)} cells") from error
        assert table.num_rows == len(lines), f"{table.num_rows} rows of {len(lines)} lines"
        return {name: table[name].combine_chunks() for name in self.names}


class ParquetFile:
    """A Parquet file of flat columns. Line numbers are row numbers from 1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.name
        with self._file() as file:
            self.names = list(file.schema_arrow.names)
            self.rows = int(file.metadata.num_rows)
        require_distinct(self.names, self.source)

    def chunks(self, log: FaultLog, rows_max: int = ROWS_PER_CHUNK) -> Iterator[Chunk]:
        """Portions of at most `rows_max` rows."""
        first = 1
        with self._file() as file:
            for batch in self._batches(file, rows_max):
                columns = {name: _plain(batch.column(name)) for name in self.names}
                lines = np.arange(first, first + batch.num_rows, dtype=np.int64)
                first += batch.num_rows
                text = lambda row, columns=columns: str({name: column[row].as_py() for name, column in columns.items()})  # noqa: E731
                yield Chunk(self.source, lines, columns, np.zeros(batch.num_rows, np.bool_), text)

    def _file(self) -> Any:
        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.path, error) from error

    def _batches(self, file: Any, rows_max: int) -> Iterator[Any]:
        try:
            yield from file.iter_batches(rows_max)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.path, error) from error


def _plain(column: Any) -> Any:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def require_distinct(names: Sequence[str], source: str) -> None:
    """Raises InputError for a name that occurs twice."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise bad_input(source, name or "header", "the column twice", "each column once")


def unreadable(path: Path, error: Exception) -> InputError:
    """The InputError for a source that cannot be opened or decoded."""
    if isinstance(error, FileNotFoundError):
        return bad_input(str(path), "file", "nothing", "a file")
    if isinstance(error, IsADirectoryError):
        return bad_input(str(path), "file", "a folder", "a file")
    return bad_input(str(path), "content", first_line(error), f"a readable {path.suffix.lstrip('.') or 'file'}", "truncated or damaged?")
