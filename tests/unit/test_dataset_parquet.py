"""Result tables: what goes in comes out, and a failed write leaves the old file."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset_files import entries
from tidemark.adapters.dataset.atomic import atomic_file
from tidemark.adapters.parquet import read_table, write_table
from tidemark.errors import InputError


def test_columns_come_back_in_order_with_their_types(tmp_path: Path) -> None:
    """Reports and trainers read them by name; integers stay integers."""
    columns = {
        "ts_ns": np.array([2**62, 5]),
        "px": np.array([0.1, np.nan]),
        "name": ["a", "b"],
        "row": np.arange(6, dtype=np.float32).reshape(2, 3),
    }
    write_table(tmp_path / "t.parquet", columns, metadata={"seed": "7"})
    back = read_table(tmp_path / "t.parquet")
    assert list(back) == list(columns)
    assert back["ts_ns"].tolist() == [2**62, 5]
    assert back["row"] == [[0, 1, 2], [3, 4, 5]]
    assert pq.read_schema(tmp_path / "t.parquet").metadata == {b"seed": b"7"}


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    """A reader sees the old result or the new one, never a half."""
    path = tmp_path / "t.parquet"
    path.write_text("old")

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        fail(partial)
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["t.parquet"]


def test_bad_places_and_files_are_one_line(tmp_path: Path) -> None:
    """No folder, no such column, no Parquet."""
    with pytest.raises(InputError, match="expected a place that can be written to"):
        write_table(tmp_path / "no" / "t.parquet", {"a": [1]})
    write_table(tmp_path / "t.parquet", {"a": [1]})
    with pytest.raises(InputError, match=r"t\.parquet: "):
        read_table(tmp_path / "t.parquet", ["b"])
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(InputError, match="expected a readable Parquet file"):
        read_table(tmp_path / "t.parquet")
