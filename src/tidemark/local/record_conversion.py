"""What Firehose's record format conversion does: JSON rows to Parquet columns by a Glue schema, split by partition keys.

Columnar: a buffer is parsed as a whole, and only when that fails is it halved until the bad rows stand alone. Pure: no
files, no network.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from tidemark.errors import bad_input
from tidemark.local.resources import DeliverySpec

PARSE_BLOCK_BYTES = 8 << 20
FORMAT_FAILED = "format-conversion-failed"
PARTITION_FAILED = "processing-failed"
_GLUE_TYPES: dict[str, Any] = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.timestamp("ms"),
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that could not be converted. `kind` is the folder below the error prefix, `code` and `message` as Firehose has them."""

    row: bytes
    kind: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Converted:
    """Parquet files by the values of their partition keys, in order of first appearance, and what was rejected."""

    files: dict[tuple[str, ...], bytes]
    rows: int
    rejected: list[Rejected]


class Converter:
    """Conversion for one delivery stream. Raises InputError at once for a schema or query that it cannot apply."""

    def __init__(self, spec: DeliverySpec) -> None:
        self._columns = [name for name, _ in spec.columns]
        self.keys = partition_keys(spec.partition_query, spec.name)
        fields = [pa.field(name, _arrow_type(kind, spec.name, name)) for name, kind in spec.columns]
        fields += [pa.field(field, pa.string()) for field in self.keys.values() if field not in self._columns]
        self._options = pa_json.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore")

    def convert(self, rows: Sequence[bytes]) -> Converted:
        """JSON rows, one object each, to Parquet files."""
        rejected: list[Rejected] = []
        tables = list(self._parse(list(rows), rejected))
        if not tables:
            return Converted({}, 0, rejected)
        table = pa.concat_tables(tables)
        if not self.keys:
            return Converted({(): _parquet(table.select(self._columns))}, table.num_rows, rejected)
        return self._partition(table, rejected)

    def _parse(self, rows: list[bytes], rejected: list[Rejected]) -> "list[pa.Table]":
        data = b"\n".join(rows)
        try:
            if not data.isascii():
                data.decode("utf-8")  # the parser itself would let broken text through
            read = pa_json.ReadOptions(block_size=min(len(data) + 1, PARSE_BLOCK_BYTES))
            return [pa_json.read_json(io.BytesIO(data), read_options=read, parse_options=self._options)] if rows else []
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            if len(rows) == 1:
                rejected.append(Rejected(rows[0], FORMAT_FAILED, "DataFormatConversion.MalformedData", str(error)))
                return []
        middle = len(rows) // 2
        return self._parse(rows[:middle], rejected) + self._parse(rows[middle:], rejected)

    def _partition(self, table: "pa.Table", rejected: list[Rejected]) -> Converted:
        fields = list(self.keys.values())
        missing = pc.is_null(table[fields[0]])
        for field in fields[1:]:
            missing = pc.or_(missing, pc.is_null(table[field]))
        if pc.any(missing).as_py():
            for row in table.filter(missing).select(self._columns + [field for field in fields if field not in self._columns]).to_pylist():
                message = f"partition key is null: {', '.join(field for field in fields if row[field] is None)}"
                rejected.append(Rejected(_json(row), PARTITION_FAILED, "DynamicPartitioning.MetadataExtractionFailed", message))
            table = table.filter(pc.invert(missing))
        joined = pc.binary_join_element_wise(*(table[field] for field in fields), "\x1f")
        files = {}
        for value in pc.unique(joined).to_pylist():
            part = table.filter(pc.equal(joined, value))
            files[tuple(str(value).split("\x1f"))] = _parquet(part.select(self._columns))
        return Converted(files, table.num_rows, rejected)


def partition_keys(query: str | None, source: str) -> dict[str, str]:
    """{key: field} of a JQ object construction over plain fields, `{symbol: .symbol, date: .date}`; empty without a query."""
    if query is None:
        return {}
    body = re.fullmatch(r"\s*\{(.*)\}\s*", query)
    pairs = [re.fullmatch(r'\s*"?(\w+)"?\s*:\s*\.(\w+)\s*', part) for part in body.group(1).split(",")] if body else [None]
    found = {pair.group(1): pair.group(2) for pair in pairs if pair is not None}
    if not found or len(found) != len(pairs):
        raise bad_input(source, "MetadataExtractionQuery", query, "a JQ object over plain fields, such as {symbol: .symbol}")
    return found


def expand_prefix(prefix: str, now: datetime, keys: dict[str, str], error_type: str = "") -> str:
    """An S3 prefix with Firehose's `!{…}` replaced. Raises InputError for an expression that we do not know."""

    def replace(match: re.Match[str]) -> str:
        namespace, _, argument = match.group(1).partition(":")
        if namespace == "partitionKeyFromQuery" and argument in keys:
            return keys[argument]
        if namespace == "timestamp":
            return _java_time(argument, now)
        if (namespace, argument) == ("firehose", "error-output-type"):
            return error_type
        raise bad_input(prefix, "prefix", match.group(0), "partitionKeyFromQuery of a known key, timestamp or firehose:error-output-type")

    return re.sub(r"!\{([^}]+)\}", replace, prefix)


def _java_time(pattern: str, now: datetime) -> str:
    """The few letters of Java's DateTimeFormatter that prefixes use."""
    letters = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
    return re.sub(r"yyyy|MM|dd|HH|mm|ss", lambda match: now.astimezone(UTC).strftime(letters[match.group(0)]), pattern)


def split_rows(record: bytes) -> list[bytes]:
    """The rows of a record: objects joined by newlines, blank lines left out."""
    return [row for row in record.split(b"\n") if row and not row.isspace()]


def _arrow_type(kind: str, source: str, column: str) -> Any:
    decimal = re.fullmatch(r"decimal\((\d+),(\d+)\)", kind)
    if decimal:
        return pa.decimal128(int(decimal.group(1)), int(decimal.group(2)))
    if kind not in _GLUE_TYPES:
        raise bad_input(source, f"{column}.Type", kind, f"one of {', '.join(_GLUE_TYPES)} or decimal(p,s)")
    return _GLUE_TYPES[kind]


def _parquet(table: "pa.Table") -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue()


def _json(row: dict[str, Any]) -> bytes:
    import msgspec

    return msgspec.json.encode(row)
