"""A model version as a folder of plain files: written whole, read with suspicion, named by the hash of its contents.

Arrays are npz without pickle, everything else is JSON or text; `code/` holds the few modules that serve it. Loading
checks every file's hash, shapes, finiteness and the schema, and refuses any file that was not part of the version: a
model that does not verify does not serve.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tidemark.errors import DecodeError, bad_input
from tidemark.models.calibration import Calibration
from tidemark.models.description import ModelDescription, canonical_json, schema_id
from tidemark.models.npz import Array, read_npz, write_npz
from tidemark.models.scaler import Scaler
from tidemark.models.support import Support

FILES_BYTES_MAX = 256 * 1024 * 1024
FILES_MAX = 256
MANIFEST = "manifest.json"
REQUIRED = (
    "weights.npz",
    "support.npz",
    "golden.npz",
    "config.json",
    "scaler.json",
    "schema.json",
    "calibration.json",
    "metrics.json",
    "data_manifest.json",
    "card.md",
)
VERSION_CHARS = 16


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version in memory. `weights` by name with a prefix per member (`m0.stem.weight`); `golden` inputs and scores."""

    description: ModelDescription
    config: dict[str, Any]
    weights: Mapping[str, Array]
    scaler: Scaler
    calibration: Calibration
    support: Support
    golden: Mapping[str, Array]
    metrics: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """What a training run hands over to be written. `served` are the description's fields that hashes do not decide."""

    schema: dict[str, Any]
    served: dict[str, Any]
    config: dict[str, Any]
    weights: Mapping[str, Array]
    scaler: Scaler
    calibration: Calibration
    support: Support
    golden: Mapping[str, Array]
    metrics: dict[str, Any]
    data_manifest: dict[str, Any]
    card: str
    code: Mapping[str, bytes]


def input_schema(model: str, names: tuple[str, ...], window_rows: int, symbols: tuple[str, ...], catalogue: str) -> dict[str, Any]:
    """The exact input: what every request names by `schema_id`."""
    return {
        "model": model,
        "names": list(names),
        "window_rows": window_rows,
        "symbols": list(symbols),
        "dtype": "float32",
        "catalogue": catalogue,
    }


def save(out: Path, content: Content) -> str:
    """Write a version whole or not at all and return its name. Raises InputError when `out` exists and is not empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise bad_input(str(out), "folder", "exists and is not empty", "a new or empty folder", "models are never overwritten")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        files = _files(content)
        for name, data in files.items():
            _write(partial / name, data)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
        _write(partial / MANIFEST, canonical_json({"files": hashes}))
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.rename(out)
        _sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return _version(hashes)


def _files(content: Content) -> dict[str, bytes]:
    documents = {
        "config.json": content.config,
        "schema.json": {"schema": schema_id(content.schema["model"], content.schema), "input": content.schema, "served": content.served},
        "scaler.json": content.scaler.to_json(content.schema["names"]),
        "calibration.json": content.calibration.to_json(),
        "metrics.json": content.metrics,
        "data_manifest.json": content.data_manifest,
    }
    files = {name: json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode() for name, document in documents.items()}
    files["weights.npz"] = write_npz(content.weights)
    files["support.npz"] = write_npz(content.support.arrays())
    files["golden.npz"] = write_npz(content.golden)
    files["card.md"] = content.card.encode()
    files |= {f"code/{name}": data for name, data in content.code.items()}
    return files


def load(folder: Path) -> Artifact:
    """Read and verify a version. Raises InputError naming the file and what is wrong with it; nothing of it is executed."""
    hashes = _verified(folder)
    weights = {name: _finite(folder / "weights.npz", name, array) for name, array in _arrays(folder, "weights.npz").items()}
    document = _document(folder, "schema.json")
    schema, served = document.get("input"), document.get("served")
    if (
        not isinstance(schema, dict)
        or not isinstance(served, dict)
        or document.get("schema") != schema_id(str(schema.get("model")), schema)
    ):
        raise bad_input(str(folder / "schema.json"), "schema", document.get("schema"), "the hash of the input it describes")
    try:
        description = ModelDescription.from_json(
            {
                **served,
                "model": schema["model"],
                "names": schema["names"],
                "window_rows": schema["window_rows"],
                "symbols": schema["symbols"],
                "catalogue": schema["catalogue"],
                "schema": document["schema"],
                "version": _version(hashes),
                "weights_sha": hashes["weights.npz"],
            }
        )
    except (DecodeError, KeyError, TypeError) as error:
        raise bad_input(str(folder / "schema.json"), "served", str(error), "a model's description") from error
    calibration = Calibration.from_json(_document(folder, "calibration.json"), str(folder / "calibration.json"))
    if len(calibration.horizons) != len(description.horizons_ns):
        raise bad_input(str(folder / "calibration.json"), "horizons", len(calibration.horizons), f"{len(description.horizons_ns)}")
    scaler = Scaler.from_json(_document(folder, "scaler.json"), description.names, str(folder / "scaler.json"))
    if set(scaler.symbols) != set(description.symbols):
        raise bad_input(str(folder / "scaler.json"), "symbols", ", ".join(scaler.symbols), ", ".join(description.symbols))
    return Artifact(
        description=description,
        config=_document(folder, "config.json"),
        weights=weights,
        scaler=scaler,
        calibration=calibration,
        support=Support.from_arrays(_arrays(folder, "support.npz"), len(description.names), str(folder / "support.npz")),
        golden=_arrays(folder, "golden.npz"),
        metrics=_document(folder, "metrics.json"),
    )


def pack(folder: Path) -> bytes:
    """`model.tar.gz` of a verified version; the same version gives the same bytes."""
    hashes = _verified(folder)
    out = io.BytesIO()
    with (
        GzipFile(fileobj=out, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted((*hashes, MANIFEST)):
            data = (folder / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def unpack(data: bytes, out: Path) -> None:
    """Inverse of `pack`, whole or not at all. Raises InputError for links, outside paths, too much or a version that does not verify."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise bad_input(str(out), "folder", "exists and is not empty", "a new or empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _extract(data, partial)
        load(partial)
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _extract(data: bytes, folder: Path) -> None:
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for count, entry in enumerate(archive):
                path = PurePosixPath(entry.name)
                total += entry.size
                if count >= FILES_MAX or total > FILES_BYTES_MAX:
                    raise bad_input("model.tar.gz", "size", f"{count} files, {total} bytes", f"at most {FILES_MAX} and {FILES_BYTES_MAX}")
                if entry.isdir():
                    continue
                if not entry.isfile() or path.is_absolute() or ".." in path.parts:
                    raise bad_input("model.tar.gz", "entry", entry.name, "plain files inside the folder")
                file = archive.extractfile(entry)
                assert file is not None
                _write(folder / path, file.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise bad_input("model.tar.gz", "archive", str(error), "a gzipped tar of a model version") from error


def _verified(folder: Path) -> dict[str, str]:
    """File hashes of a version whose files are exactly those of its manifest."""
    if not folder.is_dir():
        raise bad_input(str(folder), "model", "no such folder", "a model's folder", "train one with `tidemark models train lob`")
    spec = _document(folder, MANIFEST)
    hashes = spec.get("files")
    if not isinstance(hashes, dict) or not set(REQUIRED) <= set(hashes):
        raise bad_input(str(folder / MANIFEST), "files", "incomplete", f"hashes of {', '.join(REQUIRED)}")
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    if present != {*hashes, MANIFEST}:
        odd = sorted(present ^ {*hashes, MANIFEST})
        raise bad_input(str(folder), "files", ", ".join(odd)[:100], "exactly the files of its manifest", "missing or foreign")
    for name, expected in hashes.items():
        path = folder / name
        if path.stat().st_size > FILES_BYTES_MAX:
            raise bad_input(str(path), "size", path.stat().st_size, f"at most {FILES_BYTES_MAX} bytes")
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if actual != expected:
            raise bad_input(str(path), "sha256", actual, str(expected), "truncated or altered since it was written")
    return dict(sorted(hashes.items()))


def _version(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(canonical_json({"files": dict(hashes)})).hexdigest()[:VERSION_CHARS]


def _document(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise bad_input(str(path), "file", "missing", "a model's file") from None
    except (ValueError, RecursionError) as error:
        raise bad_input(str(path), "json", str(error), "a JSON object") from error
    if not isinstance(document, dict):
        raise bad_input(str(path), "json", type(document).__name__, "a JSON object")
    return document


def _arrays(folder: Path, name: str) -> dict[str, Array]:
    try:
        return read_npz((folder / name).read_bytes(), bytes_max=FILES_BYTES_MAX)
    except DecodeError as error:
        raise bad_input(str(folder / name), "arrays", str(error), "plain arrays") from error


def _finite(path: Path, name: str, array: Array) -> Array:
    if array.dtype != np.float32 or not np.isfinite(array).all():
        raise bad_input(str(path), name, f"{array.dtype} with NaN or infinite values", "finite float32 weights")
    return array


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    _write(partial, data)
    partial.replace(path)
    _sync_folder(path.parent)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
