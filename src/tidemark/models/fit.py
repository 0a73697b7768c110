"""The one training loop that all networks share: AdamW, warm-up and cosine, averaged weights, early stopping, resumable.

Everything random is drawn from (seed, epoch), so a run that was stopped after an epoch and resumed gives the same bytes
as one that was not, and the same seed gives the same weights on one machine.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tidemark.errors import bad_input
from tidemark.models.config import FitConfig
from tidemark.models.npz import Array, read_npz, write_npz
from tidemark.models.threads import limited_threads

CHECKPOINT_BYTES_MAX = 1 << 30
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
Batch = TypeVar("Batch")


class Task(Protocol[Batch]):
    """What is learnt: batches in an order that (seed, epoch) fixes, a loss, and a validation figure (lower is better)."""

    def batches_per_epoch(self) -> int: ...

    def batches(self, epoch: int) -> Iterator[Batch]: ...

    def loss(self, model: nn.Module, batch: Batch) -> Tensor: ...

    def validate(self, model: nn.Module) -> float: ...


@dataclass(frozen=True, slots=True)
class Epoch:
    """Figures of one epoch; losses as the task defines them."""

    epoch: int
    train_loss: float
    valid_loss: float
    best: bool


@dataclass(frozen=True, slots=True)
class History:
    """What a fit did. `best_epoch` 0 is the untrained network: nothing that was learnt helped on the validation part."""

    epochs: tuple[Epoch, ...]
    best_epoch: int
    best_loss: float


def seed_everything(seed: int) -> None:
    """Make torch deterministic and start its generator at `seed`."""
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def fit(
    model: nn.Module,
    task: Task[Batch],
    config: FitConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train `model` in place and leave it with the averaged weights that validated best.

    `checkpoint` is written after each epoch and resumed from when it is there; it must be of the same run.
    Raises InputError when a checkpoint is of another network, or when the loss is not finite.
    """
    with limited_threads(config.threads):
        return _Run(model, task, config, seed, checkpoint, on_epoch).run()


def epochs_of(config: FitConfig, batches_per_epoch: int) -> int:
    """Passes over the data: `epochs`, or as many more as little data needs for `steps_min` steps."""
    return max(config.epochs, -(-config.steps_min // batches_per_epoch))


class _Run:
    def __init__(
        self,
        model: nn.Module,
        task: Task[Batch],
        config: FitConfig,
        seed: int,
        checkpoint: Path | None,
        on_epoch: Callable[[Epoch], None] | None,
    ) -> None:
        self.model, self.task, self.config, self.seed, self.checkpoint = model, task, config, seed, checkpoint
        self.on_epoch = on_epoch
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names, self.parameters = [name for name, _ in trained], [p for _, p in trained]
        decayed = [p for p in self.parameters if p.dim() > 1]
        kept = [p for p in self.parameters if p.dim() <= 1]  # biases and norms
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99))
        self.average = self._copy()
        self.best = self._copy()
        self.steps = 0
        self.total_epochs = epochs_of(config, task.batches_per_epoch())
        self.epochs: list[Epoch] = []
        self.best_epoch = 0
        self.best_loss = math.inf

    def run(self) -> History:
        seed_everything(self.seed)
        self.best_loss = self.task.validate(self.model)
        if self.checkpoint is not None and self.checkpoint.exists():
            self._load(self.checkpoint)
        for epoch in range(len(self.epochs) + 1, self.total_epochs + 1):
            if epoch - self.best_epoch > max(self.config.patience, self.total_epochs // 3):
                break
            report = self._epoch(epoch)
            self.epochs.append(report)
            if self.checkpoint is not None:
                self._save(self.checkpoint)
            if self.on_epoch is not None:
                self.on_epoch(report)
        self._set(self.best)
        self.model.eval()
        return History(tuple(self.epochs), self.best_epoch, self.best_loss)

    def _epoch(self, epoch: int) -> Epoch:
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        self.model.train()
        total, count = 0.0, 0
        for batch in self.task.batches(epoch):
            total += self._step(batch)
            count += 1
        trained = self._copy()
        self._set(self.average)
        self.model.eval()
        loss = self.task.validate(self.model)
        better = loss < self.best_loss
        if better:
            self.best, self.best_loss, self.best_epoch = self._copy(), loss, epoch
        self._set(trained)
        return Epoch(epoch, total / max(count, 1), loss, better)

    def _step(self, batch: Any) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr()
        loss = self.task.loss(self.model, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise bad_input("training", "loss", value, "a finite loss", f"at step {self.steps}; lower the learning rate")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_max)
        self.optimiser.step()
        self.steps += 1
        keep = min(self.config.ema, (1.0 + self.steps) / (10.0 + self.steps))  # a short memory first: the start is not worth keeping
        with torch.no_grad():
            for average, p in zip(self.average, self.parameters, strict=True):
                average.lerp_(p, 1.0 - keep)
        return value

    def _lr(self) -> float:
        """Linear warm-up, then half a cosine down to a twentieth."""
        total = self.total_epochs * self.task.batches_per_epoch()
        warm = max(1, int(self.config.warmup_frac * total))
        if self.steps < warm:
            return self.config.lr * (self.steps + 1) / warm
        done = (self.steps - warm) / max(1, total - warm)
        return self.config.lr * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0))))

    def _copy(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters]

    def _set(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for p, value in zip(self.parameters, values, strict=True):
                p.copy_(value)

    def _save(self, path: Path) -> None:
        arrays: dict[str, Array] = {}
        for name, p, average, best in zip(self.names, self.parameters, self.average, self.best, strict=True):
            arrays[f"now.{name}"], arrays[f"average.{name}"], arrays[f"best.{name}"] = (v.detach().numpy() for v in (p, average, best))
            for key in ADAM_STATE:
                arrays[f"{key}.{name}"] = self.optimiser.state[p][key].numpy()
        arrays["epochs"] = np.array([[e.epoch, e.train_loss, e.valid_loss, e.best] for e in self.epochs], np.float64)
        arrays["progress"] = np.array([self.steps, self.best_epoch, self.best_loss], np.float64)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(write_npz(arrays))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def _load(self, path: Path) -> None:
        arrays = {name: np.array(value) for name, value in read_npz(path.read_bytes(), bytes_max=CHECKPOINT_BYTES_MAX).items()}
        for i, (name, p) in enumerate(zip(self.names, self.parameters, strict=True)):
            now = arrays.get(f"now.{name}")
            if now is None or now.shape != tuple(p.shape):
                raise bad_input(str(path), name, "missing or of another shape", f"an array of shape {tuple(p.shape)}", "another network's")
            with torch.no_grad():
                p.copy_(torch.from_numpy(now))
            self.average[i], self.best[i] = (torch.from_numpy(arrays[f"{part}.{name}"]) for part in ("average", "best"))
            self.optimiser.state[p] = {key: torch.from_numpy(arrays[f"{key}.{name}"]) for key in ADAM_STATE}
        self.epochs = [Epoch(int(e), float(train), float(valid), bool(best)) for e, train, valid, best in arrays["epochs"]]
        steps, best_epoch, best_loss = arrays["progress"].tolist()
        self.steps, self.best_epoch, self.best_loss = int(steps), int(best_epoch), best_loss
