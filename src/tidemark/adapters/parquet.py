"""Columns to a Parquet file, whole or not at all. For results; market data has its own layout in `dataset.store`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tidemark.adapters.dataset.atomic import atomic_file
from tidemark.errors import bad_input

COMPRESSION = "zstd"
Column = npt.NDArray[Any] | Sequence[Any]


def write_table(path: Path, columns: Mapping[str, Column], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write equally long columns in the given order; two-dimensional arrays become fixed-size lists.

    Raises InputError when the place cannot be written to. `metadata` is kept in the file's footer.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    assert len(set(lengths.values())) <= 1, f"columns of different lengths: {lengths}"
    table = pa.table({name: _array(column) for name, column in columns.items()})
    if metadata:
        table = table.replace_schema_metadata(dict(metadata))
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression=COMPRESSION)


def read_table(path: Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Columns of a Parquet file as numpy arrays (lists for nested types). Raises InputError when it cannot be read."""
    try:
        table = pq.read_table(path, columns=None if names is None else list(names), partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise bad_input(str(path), "content", first_line(error), "a readable Parquet file") from error
    for name in names or ():
        if name not in table.column_names:
            raise bad_input(str(path), name, "nothing", f"a column, one of {', '.join(table.column_names)}")
    return {name: _values(table[name]) for name in table.column_names}


def first_line(error: Exception) -> str:
    """The first line of an error's text; Arrow's go on for many."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _array(column: Column) -> Any:
    if isinstance(column, np.ndarray) and column.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(column).reshape(-1)), column.shape[1])
    return pa.array(column)


def _values(column: Any) -> Any:
    return column.to_pylist() if pa.types.is_nested(column.type) else column.to_numpy()
