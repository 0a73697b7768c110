"""Named arrays as bytes: the npz format, written the same way every time and read without trusting a byte of it.

numpy's own reader evaluates headers, may unpickle and believes sizes. This one knows eight plain types in C order,
checks every size before it reads, and so cannot be made to run anything or to allocate more than it was sent. It
reads what `numpy.savez` writes (uncompressed); numpy reads what it writes.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.errors import DecodeError

Array = npt.NDArray[Any]

TYPES = ("<f4", "<f8", "<i8", "<i4", "<i2", "|i1", "|u1", "|b1")
ENTRIES_MAX = 4_096
_HEADER = re.compile(r"\{'descr': '([<|][a-z][0-9])', 'fortran_order': False, 'shape': \(((?:[0-9]{1,12},? ?)*)\), \} *\n")
# What zipfile raises on damaged archives, found by fuzzing (`test_model_npz`).
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)
_MAGIC = b"\x93NUMPY\x01\x00"
_DATE = (1980, 1, 1, 0, 0, 0)  # the zip format's zero: the same arrays give the same bytes


def write_npz(arrays: Mapping[str, Array]) -> bytes:
    """Bytes of the arrays, in name order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name]).reshape(np.shape(arrays[name]))
            assert array.dtype.str in TYPES, f"{name} has type {array.dtype.str}, which the reader refuses"
            text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape!r}, }}"
            padding = -(len(_MAGIC) + 2 + len(text) + 1) % 64
            header = (text + " " * padding + "\n").encode()
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), _MAGIC + struct.pack("<H", len(header)) + header + array.tobytes())
    return out.getvalue()


def read_npz(data: bytes, *, bytes_max: int) -> dict[str, Array]:
    """Inverse of `write_npz`. Raises DecodeError for anything else; arrays are read-only views of what was read."""
    if len(data) > bytes_max:
        raise DecodeError("OVERSIZE", f"{len(data)} bytes, at most {bytes_max}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > ENTRIES_MAX or len(entries) != _promised(data):
                raise DecodeError("NPZ", f"{len(entries)} arrays found, {_promised(data)} promised, at most {ENTRIES_MAX}")
            if sum(entry.file_size for entry in entries) > bytes_max:
                raise DecodeError("OVERSIZE", f"arrays of more than {bytes_max} bytes")
            return {_name(entry): _array(entry.filename, archive.read(entry)) for entry in entries}
    except _UNREADABLE as error:
        raise DecodeError("NPZ", f"not a readable npz archive: {error}") from error


def _promised(data: bytes) -> int:
    """Entries that the archive's last record promises; zipfile skips directory entries that damage has swallowed."""
    return int.from_bytes(data[-12:-10], "little") if data[-22:-18] == b"PK\x05\x06" else -1


def _name(entry: zipfile.ZipInfo) -> str:
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise DecodeError("NPZ", "arrays must be stored plain, neither compressed nor encrypted")
    if not re.fullmatch(r"[A-Za-z0-9_.]{1,100}\.npy", entry.filename):
        raise DecodeError("NPZ", f"array name {entry.filename[:40]!r}")
    return entry.filename[: -len(".npy")]


def _array(name: str, raw: bytes) -> Array:
    start = len(_MAGIC) + 2
    if not raw.startswith(_MAGIC) or len(raw) < start:
        raise DecodeError("NPZ", f"{name} is not a version 1 npy array")
    (header_bytes,) = struct.unpack_from("<H", raw, len(_MAGIC))
    match = _HEADER.fullmatch(raw[start : start + header_bytes].decode("latin-1"))
    if match is None or match.group(1) not in TYPES:
        raise DecodeError("DTYPE", f"{name}: only C-ordered arrays of {', '.join(TYPES)} are read")
    shape = tuple(int(size) for size in match.group(2).replace(",", " ").split())
    kind = np.dtype(match.group(1))
    body = memoryview(raw)[start + header_bytes :]
    if len(body) != prod(shape) * kind.itemsize:
        raise DecodeError("SHAPE", f"{name}: {len(body)} bytes for shape {shape} of {kind.str}")
    if kind.str == "|b1" and len(body) and max(body) > 1:
        raise DecodeError("DTYPE", f"{name}: a truth value is neither 0 nor 1")
    return np.frombuffer(body, kind).reshape(shape)
