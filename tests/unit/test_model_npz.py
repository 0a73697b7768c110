"""Arrays as bytes: what is written is read, numpy agrees, and nothing else gets in."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.errors import DecodeError
from tidemark.models.npz import read_npz, write_npz

LIMIT = 100_000
ARRAYS = {
    "x": np.arange(6, dtype=np.float32).reshape(2, 3),
    "s": np.arange(3, dtype=np.int16),
    "none": np.zeros((0, 4)),
    "one": np.array(7),
}


def test_arrays_come_back_as_they_were():
    """Shape, type and bytes, scalars and empty arrays included."""
    back = read_npz(write_npz(ARRAYS), bytes_max=LIMIT)
    assert set(back) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert np.array_equal(back[name], array)


def test_numpy_reads_ours_and_we_read_numpys():
    """The format is npz; callers need not have our code."""
    with np.load(io.BytesIO(write_npz(ARRAYS)), allow_pickle=False) as archive:
        assert all(np.array_equal(archive[name], array) for name, array in ARRAYS.items())
    out = io.BytesIO()
    np.savez(out, **ARRAYS)
    assert all(np.array_equal(read_npz(out.getvalue(), bytes_max=LIMIT)[name], array) for name, array in ARRAYS.items())


def test_the_same_arrays_give_the_same_bytes():
    """Versions are named by the hash of their bytes: no clock may get into the file."""
    assert write_npz(ARRAYS) == write_npz(dict(reversed(ARRAYS.items())))


def test_pickles_and_compression_are_refused():
    """An object array is a program; a compressed one may be a bomb."""
    for writer, array in ((np.savez, np.array([{}], dtype=object)), (np.savez_compressed, np.zeros(100_000))):
        out = io.BytesIO()
        writer(out, x=array)
        with pytest.raises(DecodeError):
            read_npz(out.getvalue(), bytes_max=10 * LIMIT)


def test_more_than_the_limit_is_refused_before_it_is_read():
    """A caller's size is never believed."""
    data = write_npz({"x": np.zeros(10_000)})
    with pytest.raises(DecodeError, match="OVERSIZE"):
        read_npz(data, bytes_max=len(data) - 1)


def test_every_damaged_byte_is_refused_or_changes_nothing():
    """Checksums catch the body; headers, names and sizes are checked one by one."""
    data = write_npz({name: ARRAYS[name] for name in ("x", "s")})
    refused = 0
    for i in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[i] ^= flip
            try:
                back = read_npz(bytes(damaged), bytes_max=LIMIT)
            except DecodeError:
                refused += 1
                continue
            assert set(back) == {"x", "s"}
            assert all(np.array_equal(back[name], ARRAYS[name]) and back[name].dtype == ARRAYS[name].dtype for name in back)
    assert refused > len(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 1_000), st.booleans())
def test_no_bytes_raise_anything_but_a_decode_error(noise: bytes, at: int, inside: bool):
    """Whatever comes in, the caller sees one kind of error."""
    good = write_npz({"x": ARRAYS["x"]})
    at = at % len(good)
    data = good[:at] + noise + good[at + len(noise) :] if inside else noise
    with contextlib.suppress(DecodeError):
        read_npz(data, bytes_max=LIMIT)
