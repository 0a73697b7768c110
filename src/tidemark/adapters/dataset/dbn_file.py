"""The bytes of a DBN file: metadata by the vendor's library, records as arrays of packed structs (DBN's record layouts).

One Python object per record would make a day of ES take minutes. A test holds this reading and the vendor's equal.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidemark.adapters.dataset.readers import unreadable
from tidemark.adapters.parquet import first_line
from tidemark.errors import UnavailableError, bad_input
from tidemark.events import I64, LEVELS

BYTES_PER_READ = 4 * 1024 * 1024
METADATA_BYTES_MAX = 64 * 1024 * 1024
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PRELUDE_BYTES = 8  # "DBN", version, length of the metadata
_LENGTH_UNIT = 4  # a record's first byte counts 4-byte words

_HEAD = [("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8")]
_TAIL = [("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4")]
_LETTERS = [("action", "u1"), ("side", "u1")]
_LEVEL = [("bid_px", "<i8"), ("ask_px", "<i8"), ("bid_sz", "<u4"), ("ask_sz", "<u4"), ("bid_ct", "<u4"), ("ask_ct", "<u4")]
_MBO: list[Any] = [*_HEAD, ("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel_id", "u1"), *_LETTERS, *_TAIL]
_TRADE: list[Any] = [*_HEAD, ("price", "<i8"), ("size", "<u4"), *_LETTERS, ("flags", "u1"), ("depth", "u1"), *_TAIL]

# schema → (record type, struct, levels of book in it)
SCHEMAS: dict[str, tuple[int, list[Any], int]] = {
    "mbo": (0xA0, _MBO, 0),
    "mbp-10": (0x0A, [*_TRADE, ("levels", _LEVEL, (LEVELS,))], LEVELS),
    "mbp-1": (0x01, [*_TRADE, ("levels", _LEVEL, (1,))], 1),
    "tbbo": (0x01, [*_TRADE, ("levels", _LEVEL, (1,))], 1),
    "trades": (0x00, _TRADE, 0),
}


class DbnFile:
    """A DBN file, compressed or not. Raises InputError when it is none, damaged, or of a schema that holds no book and no trades."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.metadata = self._read_metadata()
        self.schema = str(self.metadata.schema)
        if self.schema not in SCHEMAS:
            raise bad_input(self.name, "schema", self.schema, f"one of {', '.join(SCHEMAS)}")

    def batches(self) -> Iterator[tuple[I64, npt.NDArray[Any], int]]:
        """(record numbers from 1, records of the file's schema, number of records of other types), in file order."""
        rtype, fields, _ = SCHEMAS[self.schema]
        dtype = np.dtype(fields + ([("ts_out", "<u8")] if self.metadata.ts_out else []))
        carry, count = b"", 0
        with self._open() as stream:
            self._read(stream, _PRELUDE_BYTES + self._metadata_bytes)
            while fresh := self._read(stream, BYTES_PER_READ):
                data = carry + fresh
                starts, used = self._record_starts(data, count + 1)
                carry = data[used:]
                fitting = np.frombuffer(data, np.uint8)[starts].astype(np.int64) * _LENGTH_UNIT == dtype.itemsize
                lines = count + 1 + np.flatnonzero(fitting)
                count += len(starts)
                records = _structs(data, starts[fitting], dtype)
                wanted = records["rtype"] == rtype
                yield lines[wanted], records[wanted], len(starts) - int(wanted.sum())
        if carry:
            raise bad_input(f"{self.name}:{count + 1}", "record", f"{len(carry)} bytes", "a whole record", "truncated file")

    def _record_starts(self, data: bytes, first: int) -> tuple[I64, int]:
        """(where each whole record starts, bytes they take)."""
        size = np.dtype(SCHEMAS[self.schema][1]).itemsize + (8 if self.metadata.ts_out else 0)
        whole = len(data) // size * size
        uniform = np.arange(0, whole, size)
        if (np.frombuffer(data, np.uint8)[uniform].astype(np.int64) * _LENGTH_UNIT == size).all():
            return uniform, whole  # records of one type, as in every file of a historical request
        starts: list[int] = []
        at = 0
        while at < len(data) and at + data[at] * _LENGTH_UNIT <= len(data):
            if data[at] == 0:
                raise bad_input(f"{self.name}:{first + len(starts)}", "record", "length 0", "a record's length", "damaged file")
            starts.append(at)
            at += data[at] * _LENGTH_UNIT
        return np.array(starts, np.int64), at

    def _read_metadata(self) -> Any:
        try:
            from databento_dbn import DBNDecoder, DBNError
        except ImportError as error:
            raise UnavailableError("databento-dbn is not installed; it comes with `pip install 'tidemark[databento]'`") from error
        with self._open() as stream:
            prelude = self._read(stream, _PRELUDE_BYTES)
            if len(prelude) < _PRELUDE_BYTES or not prelude.startswith(b"DBN"):
                raise bad_input(
                    self.name, "content", prelude.hex() or "an empty file", "a DBN file", "older DBZ files need the vendor's converter"
                )
            self._metadata_bytes = int.from_bytes(prelude[4:], "little")
            if self._metadata_bytes > METADATA_BYTES_MAX:
                raise bad_input(self.name, "metadata", f"{self._metadata_bytes} bytes", f"at most {METADATA_BYTES_MAX}")
            body = self._read(stream, self._metadata_bytes)
        if len(body) < self._metadata_bytes:
            raise bad_input(self.name, "metadata", f"{len(body)} bytes", f"{self._metadata_bytes} bytes", "truncated file")
        decoder = DBNDecoder()
        try:
            decoder.write(prelude + body)
            return decoder.decode()[0]
        except (DBNError, ValueError, IndexError) as error:
            raise bad_input(self.name, "metadata", first_line(error), "readable DBN metadata") from error

    def _open(self) -> Any:
        try:
            with self.path.open("rb") as file:
                compression = "zstd" if file.read(len(_ZSTD_MAGIC)) == _ZSTD_MAGIC else None
            return pa.input_stream(str(self.path), compression=compression)
        except OSError as error:
            raise unreadable(self.path, error) from error

    def _read(self, stream: Any, count: int) -> bytes:
        try:
            data: bytes = stream.read(count)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.path, error) from error
        return data


def _structs(data: bytes, starts: I64, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if len(starts) and int(starts[-1]) == (len(starts) - 1) * dtype.itemsize:
        return np.frombuffer(data, dtype, len(starts))
    return np.frombuffer(b"".join(data[start : start + dtype.itemsize] for start in starts.tolist()), dtype)
