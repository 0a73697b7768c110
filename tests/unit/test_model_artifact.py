"""A version on disk: whole, verified, named by its contents, and able to run on nothing but itself."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from model_worlds import FAST, model_folder, trained
from tidemark.errors import InputError
from tidemark.models.artifact import MANIFEST, load, pack, save, unpack
from tidemark.models.description import ModelDescription, canonical_json
from tidemark.models.npz import read_npz, write_npz
from tidemark.models.predictor import LobPredictor
from tidemark.models.training import content_of
from tidemark.models.vendored import serving_code

FILES = [
    "weights.npz", "support.npz", "golden.npz", "config.json", "scaler.json", "schema.json", "calibration.json", "metrics.json",
    "data_manifest.json", "card.md", "code/inference.py",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the model that a test may damage."""
    shutil.copytree(model_folder(), tmp_path / "m")
    return tmp_path / "m"


def resign(folder: Path) -> None:
    """Make the manifest agree with the files again: damage that hashes do not show."""
    spec = json.loads((folder / MANIFEST).read_bytes())
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in spec["files"]}
    (folder / MANIFEST).write_bytes(canonical_json({"files": hashes}))


def rewrite(folder: Path, name: str, change: object) -> None:
    """Apply `change` to one JSON or npz file and sign again."""
    path = folder / name
    if name.endswith(".npz"):
        arrays = {key: np.array(value) for key, value in read_npz(path.read_bytes(), bytes_max=1 << 30).items()}
        change(arrays)
        path.write_bytes(write_npz(arrays))
    else:
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))
    resign(folder)


def test_a_saved_model_answers_as_the_trained_one():
    """What is served is what was trained: probabilities equal within 1e-6 on rows it has never seen."""
    model, served = trained(), LobPredictor.load(model_folder())
    rows = model.split.test[:40]
    scores = np.stack([served.scores(model.windows.windows(np.array([i]))[0], 0) for i in rows])
    assert np.abs(served.probabilities(scores) - model.forecast(rows)).max() < 1e-6


def test_a_version_is_the_hash_of_its_contents(tmp_path: Path):
    """The same content has the same name wherever it lies; another word in the card makes another version."""
    content = content_of(trained(), metrics={}, data_manifest={}, card="A test's model.", code=serving_code())
    again = save(tmp_path / "again", content)
    other = save(tmp_path / "other", content_of(trained(), metrics={}, data_manifest={}, card="Another.", code=serving_code()))
    assert again == load(model_folder()).description.version
    assert other != again


def test_a_model_is_never_overwritten_and_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with a model stays as it is; a write that fails leaves nothing behind."""
    content = content_of(trained(), metrics={}, data_manifest={}, card="x", code=serving_code())
    save(tmp_path / "m", content)
    with pytest.raises(InputError, match="not empty"):
        save(tmp_path / "m", content)
    monkeypatch.setattr("tidemark.models.artifact.os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path / "n", content)
    assert {path.name for path in tmp_path.iterdir()} == {"m"}


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_in_any_file_is_refused(folder: Path, name: str):
    """One bit of any file, and the version is not the version."""
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match="altered"):
        load(folder)


@pytest.mark.parametrize("name", ["weights.pkl", "model.pth", "code/extra.py"])
def test_a_foreign_file_is_refused(folder: Path, name: str):
    """A pickle beside the weights is how other people's code gets in."""
    (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match="foreign"):
        load(folder)


def test_a_missing_file_or_folder_is_refused(folder: Path, tmp_path: Path):
    """Said in one line, with the way out."""
    (folder / "scaler.json").unlink()
    with pytest.raises(InputError, match=r"scaler\.json"):
        load(folder)
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "nothing")


def nan_weight(arrays: dict[str, np.ndarray]) -> None:
    arrays["m0.stem.weight"][0, 0] = np.nan


def wide_weight(arrays: dict[str, np.ndarray]) -> None:
    arrays["m0.stem.weight"] = np.zeros((8, 47), np.float32)


def no_head(arrays: dict[str, np.ndarray]) -> None:
    del arrays["m0.head.weight"]


def other_net(arrays: dict[str, np.ndarray]) -> None:
    arrays["m0.head.bias"] += 1.0


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("weights.npz", nan_weight, "NaN"),
        ("weights.npz", wide_weight, "weights"),
        ("weights.npz", no_head, "weights"),
        ("weights.npz", other_net, "golden"),
        ("golden.npz", lambda arrays: arrays.pop("scores"), "golden"),
        ("scaler.json", lambda spec: spec["names"].reverse(), "another model"),
        ("scaler.json", lambda spec: spec["symbols"]["ES"]["scale"].__setitem__(3, 0.0), "positive"),
        ("schema.json", lambda spec: spec["input"]["names"].reverse(), "hash"),
        ("schema.json", lambda spec: spec.__setitem__("schema", "lob-00000000"), "hash"),
        ("schema.json", lambda spec: spec["served"].__setitem__("primary_i", 7), "primary_i"),
        ("schema.json", lambda spec: spec["served"]["bracket"].__setitem__("reward_risk", -1), "bracket"),
        ("calibration.json", lambda spec: spec["win"].__setitem__("p", [1.0] * 2), "calibration"),
        ("support.npz", lambda arrays: arrays.pop("limit"), "support"),
    ],
)
def test_a_well_signed_lie_is_refused(folder: Path, name: str, change: object, says: str):
    """Hashes only say that nothing changed since signing; shapes, schema, finiteness and golden answers say that it can be true."""
    rewrite(folder, name, change)
    with pytest.raises(InputError, match=says):
        LobPredictor.load(folder)


def test_the_archive_holds_the_same_version_and_the_same_bytes(tmp_path: Path):
    """`model.tar.gz` out and in again; packed twice it is the same file."""
    data = pack(model_folder())
    unpack(data, tmp_path / "out")
    assert load(tmp_path / "out").description == load(model_folder()).description
    assert pack(tmp_path / "out") == data


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt"])
def test_an_archive_that_points_outside_is_refused(tmp_path: Path, name: str):
    """A path in an archive is a wish of whoever made it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(InputError, match="inside"):
        unpack(out.getvalue(), tmp_path / "deep" / "out")
    assert not (tmp_path / "evil.txt").exists()
    assert not (tmp_path / "deep" / "out").exists()


def test_damaged_archives_are_refused(tmp_path: Path):
    """Truncated, no archive at all, links: one error, nothing left behind."""
    data = pack(model_folder())
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w:gz") as archive:
        entry = tarfile.TarInfo("weights.npz")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    for bad in (data[: len(data) // 2], b"not an archive", b"", link.getvalue()):
        with pytest.raises(InputError):
            unpack(bad, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


def test_a_description_survives_json_and_refuses_what_it_does_not_know():
    """The signal processor builds on it; a field more or less is another contract."""
    described = load(model_folder()).description
    spec = json.loads(json.dumps(described.to_json()))
    assert ModelDescription.from_json(spec) == described
    for change in ({"extra": 1}, {"window_rows": "8"}, {"horizons_ns": []}, {"symbols": "ES"}, {"loss_frac": float("inf")}):
        with pytest.raises(Exception, match="DESCRIPTION"):
            ModelDescription.from_json({**spec, **change})


def test_the_vendored_code_serves_without_the_project(tmp_path: Path):
    """In a container there is numpy and the archive, nothing else: no torch, no msgspec, no checkout."""
    unpack(pack(model_folder()), tmp_path / "m")
    program = (
        "import sys; sys.path = [p for p in sys.path if not p.endswith('/src')]; sys.path.insert(0, sys.argv[1] + '/code')\n"
        "import importlib.abc\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'msgspec', 'scipy', 'sklearn', 'pandas', 'numba'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import inference, tidemark, json\n"
        "assert tidemark.__file__.startswith(sys.argv[1]), tidemark.__file__\n"
        "model = inference.model_fn(sys.argv[1])\n"
        "question = inference.input_fn(b'{\"describe\":true}', 'application/json')\n"
        "body, kind = inference.output_fn(inference.predict_fn(question, model), '')\n"
        "print(json.loads(body)['version'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path / "m")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == load(model_folder()).description.version


def test_every_golden_row_is_a_full_window():
    """They are real inputs of the contract's shape."""
    golden = load(model_folder()).golden
    assert golden["x"].shape[1:] == (FAST.net.window_rows, 48)
    assert 1 <= len(golden["x"]) <= 64
