"""Outputs that appear whole or not at all: written beside their place, forced to disk, then renamed into it."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemark.errors import InputError, bad_input

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Path to write to; becomes `path` when the block ends well and vanishes when it does not.

    Raises InputError when the folder is missing or cannot be written to.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise _not_writable(path, error) from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # mkstemp keeps its files private
        _force_to_disk(partial)
        try:
            partial.replace(path)
        except OSError as error:
            raise _not_writable(path, error) from error
        _force_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Folder to fill; becomes `out` when the block ends well and vanishes when it does not.

    Raises InputError when `out` is a file or a folder with content, or when its place cannot be written to.
    """
    require_free(out)
    made = _missing_parents(out)
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        except OSError as error:
            raise _not_writable(out, error) from error
        try:
            yield partial
            partial.chmod(0o777 & ~_umask())
            _force_to_disk(partial)
            partial.replace(out)
            _force_to_disk(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except BaseException:
        for folder in made:  # innermost first; one that somebody else filled meanwhile stays
            with_content = not folder.is_dir() or any(folder.iterdir())
            if not with_content:
                folder.rmdir()
        raise


def require_free(out: Path) -> None:
    """Raises InputError unless `out` is absent or an empty folder: results are never mixed with what is there."""
    try:
        if out.is_dir():
            present = sum(1 for _ in out.iterdir())
            if present:
                raise bad_input(str(out), "--out", f"a folder with {present} entries", "a new or an empty folder")
        elif out.exists():
            raise bad_input(str(out), "--out", "a file", "a new or an empty folder")
    except OSError as error:
        raise _not_writable(out, error) from error


def _missing_parents(out: Path) -> list[Path]:
    try:
        return [folder for folder in out.absolute().parents if not folder.exists()]
    except OSError as error:
        raise _not_writable(out, error) from error


def _not_writable(path: Path, error: OSError) -> InputError:
    if error.errno in _DISK_FULL:
        raise error  # nothing is wrong with what the user typed
    return bad_input(str(path), "output", error.strerror or str(error), "a place that can be written to")


def _force_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
