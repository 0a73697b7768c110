"""What the Lambda functions ship: one layer with the locked libraries for all, and per function its handler with the modules it uses.

Built from the running environment, without network and without pip. The same inputs give the same bytes; an existing build is reused.
"""

import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cdk.closure import Distribution, check_lock, distribution_closure, extra_requirements, module_closure, source_files
from cdk.lambda_target import LambdaTarget
from tidemark.errors import bad_input

EXTRA = "lambda"
FORBIDDEN = frozenset({"torch", "pandas", "pyarrow", "numba", "llvmlite", "scipy", "scikit-learn"})
"""Too large for a zip; a function that reaches one of them has taken a wrong turn."""
MTIME_S = 946_684_800  # 2000-01-01: file times must not change the bytes
LEFT_OUT_FOLDERS = frozenset({"__pycache__", "tests", "test"})
LEFT_OUT_SUFFIXES = frozenset({".pyc", ".pyi", ".pxd", ".h", ".a"})
KEPT_METADATA = frozenset({"METADATA", "entry_points.txt"})
CERTIFICATES = "rds-global-bundle.pem"
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")
_OLD_MANYLINUX = {"manylinux1": "manylinux_2_5", "manylinux2010": "manylinux_2_12", "manylinux2014": "manylinux_2_17"}

Files = list[tuple[str, Path]]
"""(path in the package, file to copy)."""


@dataclass(frozen=True)
class LambdaPackage:
    """Built folders. `problems` say why the runtime could not load them: such a package is never deployed."""

    layer: Path
    functions: dict[str, Path]
    unzipped_bytes: int
    distributions: tuple[str, ...]
    problems: tuple[str, ...]


def build_lambda_package(project: Path, build_root: Path, target: LambdaTarget) -> LambdaPackage:
    """The layer and the functions below lambdas/, in `build_root`. Raises InputError when too large or not as locked."""
    distributions = distribution_closure(extra_requirements(project / "pyproject.toml", EXTRA), target.provides)
    check_lock(distributions, project / "requirements.lock")
    _refuse_forbidden(distributions)
    names = [f"{found.name}=={found.version}" for found in distributions]
    layer = _built(build_root, "layer", _layer_files(project, distributions), key="\n".join(names))
    functions = {
        handler.parent.name: _built(build_root, f"function-{handler.parent.name}", _function_files(project, handler))
        for handler in sorted((project / "lambdas").glob("*/handler.py"))
    }
    unzipped_bytes = _bytes_in(layer) + max(map(_bytes_in, functions.values()), default=0)
    if unzipped_bytes > target.unzipped_bytes_max:
        raise bad_input("lambda package", "size", f"{unzipped_bytes} bytes unzipped", f"at most {target.unzipped_bytes_max}")
    problems = (*_interpreter_problems(target), *_library_problems(distributions, target), *certificate_problems(project))
    return LambdaPackage(layer, functions, unzipped_bytes, tuple(names), problems)


def certificate_file(project: Path) -> Path:
    """Where the RDS certificate bundle is expected; `cdk/fetch_certificates.py` puts it there."""
    return project / ".tidemark" / "certificates" / CERTIFICATES


def certificate_problems(project: Path) -> tuple[str, ...]:
    """Without the bundle, no program can verify the database's certificate, and all refuse to connect."""
    if certificate_file(project).is_file():
        return ()
    return ("the RDS certificate bundle is missing: run `python cdk/fetch_certificates.py`",)


def _function_files(project: Path, handler: Path) -> Files:
    """The handler at the root, as Lambda's `handler.handler` wants it, and our modules beside it."""
    root = project / "src"
    own = sorted(handler.parent.glob("*.py"))
    modules = source_files(module_closure(own, root), root)
    return [*((path.name, path) for path in own), *((path.relative_to(root).as_posix(), path) for path in modules)]


def _layer_files(project: Path, distributions: Iterable[Distribution]) -> Files:
    """Libraries under python/, which the runtime has on its path; the database's certificates beside them."""
    files = [(f"python/{name}", path) for found in distributions for name, path in _library_files(found)]
    if certificate_file(project).is_file():
        files.append((f"certificates/{CERTIFICATES}", certificate_file(project)))
    return files


def _library_files(found: Distribution) -> Iterator[tuple[str, Path]]:
    for file in found.installed.files or ():
        outside = file.parts[0] == ".." or file.is_absolute()
        if outside or set(file.parts[:-1]) & LEFT_OUT_FOLDERS or file.suffix in LEFT_OUT_SUFFIXES:
            continue
        if file.parts[0].endswith(".dist-info") and file.name not in KEPT_METADATA:
            continue
        yield file.as_posix(), Path(str(found.installed.locate_file(file)))


def _built(build_root: Path, name: str, files: Files, key: str = "") -> Path:
    """The folder `name-HASH` with the files: made if it is not there, whole or not at all.

    The hash is of `key` and of our own files' content; libraries are told by the key, with name and version.
    """
    digest = hashlib.sha256(key.encode())
    for place, path in files:
        digest.update(f"\n{place}\0".encode())
        if not path.is_relative_to(sys.prefix):
            digest.update(path.read_bytes())
    folder = build_root / f"{name}-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        _copy(files, folder)
    return folder


def _copy(files: Files, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as scratch:
        staged = Path(scratch) / "package"
        for name, source in files:
            place = staged / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
            place.chmod(0o644)
            os.utime(place, (MTIME_S, MTIME_S))
        try:
            staged.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process has built the same package in the meantime
                raise


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _refuse_forbidden(distributions: Iterable[Distribution]) -> None:
    found = sorted({item.name for item in distributions} & FORBIDDEN)
    if found:
        raise bad_input("lambda package", "distributions", ", ".join(found), "none of " + ", ".join(sorted(FORBIDDEN)))


def _interpreter_problems(target: LambdaTarget) -> Iterator[str]:
    if sys.version_info[:2] != target.python:
        yield f"built with Python {platform.python_version()}, the runtime is {target.runtime}"
    if platform.machine() != target.machine:
        yield f"built on {platform.machine()}, the function runs on {target.machine}"


def _library_problems(distributions: Iterable[Distribution], target: LambdaTarget) -> Iterator[str]:
    """A wheel says by its tags which C library it needs; an import fails where the runtime's is older."""
    for found in distributions:
        needed = glibc_needed(found.installed.read_text("WHEEL") or "")
        if needed > target.glibc:
            have, want = (".".join(map(str, version)) for version in (target.glibc, needed))
            yield f"{found.name} {found.version} needs glibc {want}, the {target.runtime} runtime has {have}"


def glibc_needed(wheel: str) -> tuple[int, int]:
    """Least glibc that one of a WHEEL file's tags asks for; (0, 0) for pure Python."""
    versions = []
    for line in wheel.splitlines():
        if line.startswith("Tag:"):
            tag = line.removeprefix("Tag:").strip()
            for old, new in _OLD_MANYLINUX.items():
                tag = tag.replace(f"{old}_", f"{new}_")
            match = _MANYLINUX.search(tag)
            if match is not None:
                versions.append((int(match.group(1)), int(match.group(2))))
            else:
                versions.append(_glibc_here() if tag.split("-")[-1].startswith("linux_") else (0, 0))
    return min(versions, default=(0, 0))


def _glibc_here() -> tuple[int, int]:
    """Of this machine: what a wheel that was compiled on it may need."""
    major, _, minor = platform.libc_ver()[1].partition(".")
    return int(major or 0), int(minor or 0)
