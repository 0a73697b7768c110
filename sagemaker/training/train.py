"""SageMaker's folders and arguments; the work is tidemark's.

In a training job the channel is SM_CHANNEL_TRAINING, the result goes to SM_MODEL_DIR, hyperparameters come as flags or as
/opt/ml/input/config/hyperparameters.json, and checkpoints go where SageMaker keeps them through a spot interruption. On a
laptop the same file takes the same things as flags: `python sagemaker/training/train.py --training DIR --model-dir OUT`.
Exit codes: 0 trained, 2 bad input.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidemark.adapters.dataset.store import Dataset
from tidemark.errors import InputError, bad_input
from tidemark.models.artifact import save
from tidemark.models.config import CONFIGS, named_config
from tidemark.models.datasets import load_sessions
from tidemark.models.fit import Epoch
from tidemark.models.training import content_of, train_lob
from tidemark.models.vendored import serving_code
from tidemark.research.lob_evaluation import evaluate, forecasts_on_test
from tidemark.research.model_card import model_card

HYPERPARAMETERS = Path("/opt/ml/input/config/hyperparameters.json")
CHECKPOINTS = Path("/opt/ml/checkpoints")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        version = train(args)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    _say(f"model {args.model} version {version} in {args.model_dir}")
    return 0


def train(args: argparse.Namespace) -> str:
    """One run: data, model, figures, artefact. Returns the version."""
    config = named_config(args.config, args.seed)
    source = Dataset.open(args.training)
    trained = train_lob(list(load_sessions(source, args.symbols)), config, checkpoint_dir=args.checkpoint_dir, on_epoch=_report)
    evaluation = evaluate(forecasts_on_test(trained, seed=args.seed), seed=args.seed)
    data = {
        "source": str(source.manifest.source),
        "licence": str(source.manifest.licence),
        "data_hash": source.data_hash,
        "sessions": list(trained.windows.sessions),
        "symbols": list(trained.windows.symbols),
        "split": trained.split.by,
        "valid_start_ns": trained.split.valid_start_ns,
        "test_start_ns": trained.split.test_start_ns,
    }
    content = content_of(
        trained,
        metrics={"lob": evaluation.to_json(), "seed": args.seed},
        data_manifest=data,
        card=model_card(trained, evaluation, data),
        code=serving_code(),
    )
    return save(args.model_dir, content)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Flags, with hyperparameters of a job as their defaults; a job's unknown hyperparameter is an error like a flag's."""
    parser = argparse.ArgumentParser(description="Train a model from a canonical data set.")
    parser.add_argument("--model", choices=["lob"], default="lob")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--symbols", type=lambda text: text.split(","), default=None, help="comma-separated; default: all")
    parser.add_argument("--training", type=Path, default=_folder("SM_CHANNEL_TRAINING"), help="data set folder")
    parser.add_argument("--model-dir", type=Path, default=_folder("SM_MODEL_DIR"), help="new or empty folder")
    parser.add_argument("--checkpoint-dir", type=Path, default=CHECKPOINTS if CHECKPOINTS.is_dir() else None)
    args = parser.parse_args([*_job_flags(), *argv])
    if args.training is None or args.model_dir is None:
        parser.error("--training and --model-dir are needed outside a SageMaker job")
    return args


def _job_flags() -> list[str]:
    """A job's hyperparameters (all of them text) as flags."""
    if not HYPERPARAMETERS.exists():
        return []
    spec: Any = json.loads(HYPERPARAMETERS.read_text())
    if not isinstance(spec, dict):
        raise bad_input(str(HYPERPARAMETERS), "json", type(spec).__name__, "an object")
    ours = {str(name): str(value).strip('"') for name, value in spec.items() if not str(name).startswith("sagemaker_")}
    return [part for name, value in ours.items() for part in (f"--{name.replace('_', '-')}", value)]


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _report(member: int, epoch: Epoch) -> None:
    # `name: value;` pairs are what the job's metric definitions look for.
    mark = " best" if epoch.best else ""
    _say(f"member: {member}; epoch: {epoch.epoch}; train_loss: {epoch.train_loss:.5f}; valid_loss: {epoch.valid_loss:.5f};{mark}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
