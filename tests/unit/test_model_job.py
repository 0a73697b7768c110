"""Training as a job and as a command: SageMaker's folders and arguments, one version per seed, one line per mistake."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tidemark.adapters.dataset.store import Dataset, write_dataset
from tidemark.cli.main import run
from tidemark.market.config import MarketConfig
from tidemark.market.simulator import simulate
from tidemark.models.artifact import load, unpack
from tidemark.models.predictor import LobPredictor

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "sagemaker" / "training" / "train.py"


def train_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_under_test", TRAIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short sessions of one symbol."""
    out = tmp_path_factory.mktemp("data") / "set"
    market = simulate(MarketConfig(market="planted", symbols=("ES",), minutes=2, sessions=4, seed=5))
    blocks = (block for _, block in market.sessions)
    write_dataset(out, market.instruments, blocks, source="simulated", licence="none", extra={"planted": market.planted})
    return out


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path) -> Iterator[ModuleType]:
    """The script as a training job finds it: channels, model folder, hyperparameters as text, a checkpoint folder."""
    script = train_script()
    (tmp_path / "hyperparameters.json").write_text(json.dumps({"config": "tiny", "seed": "3", "sagemaker_program": "train.py"}))
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setenv("SM_CHANNEL_TRAINING", str(data))
    monkeypatch.setenv("SM_MODEL_DIR", str(tmp_path / "model"))
    monkeypatch.setattr(script, "HYPERPARAMETERS", tmp_path / "hyperparameters.json")
    monkeypatch.setattr(script, "CHECKPOINTS", tmp_path / "checkpoints")
    return script


def test_a_job_finds_its_data_and_leaves_a_model_that_serves(job: ModuleType, tmp_path: Path, data: Path):
    """No flag is given: everything comes from SageMaker's places, and the result verifies, says what it saw, and answers."""
    assert job.main([]) == 0
    artifact = load(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "data_manifest.json").read_bytes())
    assert (artifact.config["name"], artifact.config["seed"]) == ("tiny", 3)
    assert manifest["data_hash"] == Dataset.open(data).data_hash
    assert artifact.description.trained_until_ns == manifest["test_start_ns"]
    assert list((tmp_path / "checkpoints").iterdir())
    LobPredictor.load(tmp_path / "model")


def test_the_job_and_the_command_make_the_same_version(job: ModuleType, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    """One way to train: same data, seed and code, the same bytes, whoever asked; another seed, another version."""
    assert job.main([]) == 0
    command = ["models", "train", "lob", "--data", str(data), "--config", "tiny", "--json"]
    assert run([*command, "--seed", "3", "--out", str(tmp_path / "same")]) == 0
    assert run([*command, "--seed", "4", "--out", str(tmp_path / "other")]) == 0
    versions = [load(tmp_path / name).description.version for name in ("model", "same", "other")]
    assert versions[0] == versions[1] != versions[2]


def test_the_other_commands_on_a_model(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    """Show verifies and describes, evaluate scores what lies after training, pack makes the archive an endpoint loads."""
    model = tmp_path / "m"
    assert run(["models", "train", "lob", "--data", str(data), "--out", str(model), "--config", "tiny"]) == 0
    assert "verdict: n/a" in capsys.readouterr().out
    assert run(["models", "show", str(model), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["version"] == load(model).description.version
    assert run(["models", "evaluate", "lob", "--data", str(data), "--model", str(model), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    trained = json.loads((model / "metrics.json").read_bytes())["lob"]
    assert figures["log_loss"]["model"] == pytest.approx(trained["log_loss"]["model"], abs=1e-5)
    assert run(["models", "pack", "--model", str(model), "--out", str(tmp_path / "model.tar.gz")]) == 0
    unpack((tmp_path / "model.tar.gz").read_bytes(), tmp_path / "again")
    assert load(tmp_path / "again").description.version == described["version"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models", "train", "lob", "--data", "DATA", "--out", "NEW", "--config", "huge"], "huge"),
        (["models", "train", "lob", "--data", "NOTHING", "--out", "NEW"], "NOTHING"),
        (["models", "train", "lob", "--data", "DATA", "--out", "DATA"], "not empty"),
        (["models", "train", "lob", "--data", "DATA", "--out", "NEW", "--symbols", "GC"], "GC"),
        (["models", "evaluate", "lob", "--data", "DATA", "--model", "DATA"], "manifest"),
        (["models", "show", "NOTHING"], "no such folder"),
        (["models", "pack", "--model", "NOTHING", "--out", "NEW"], "no such folder"),
        (["research", "planted", "--seeds", "5"], "5"),
        (["research", "planted", "--seeds", "3:3"], "3:3"),
        (["research", "planted", "--seeds", "0:1", "--market", "both ways"], "both ways"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], says: str, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    """Nothing is written, nothing is trained first."""
    places = {"DATA": str(data), "NEW": str(tmp_path / "NEW"), "NOTHING": str(tmp_path / "NOTHING")}
    assert run([places.get(word, word) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert list(tmp_path.iterdir()) == []


def test_the_scripts_folder_does_not_hide_the_sdk():
    """A folder named sagemaker with an __init__.py would shadow Amazon's package for everybody."""
    assert not list((ROOT / "sagemaker").rglob("__init__.py"))
    assert not {path.name for path in (ROOT / "sagemaker").iterdir()} & {"train", "serve", "core", "mlops", "lineage"}
    if importlib.util.find_spec("sagemaker.core") is not None:
        import sagemaker.core

        assert "site-packages" in str(sagemaker.core.__file__)
