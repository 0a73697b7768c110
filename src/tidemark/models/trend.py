"""The book network's task for the one training loop: trend at several horizons, learnt from segments of decisions.

A segment is `segment_rows` decisions in a row; they share the rows they look back on. Where segments start moves every
epoch, their order too. The loss is the cross-entropy of the classes, plus a small squared error of the move itself: a
class says only on which side of a threshold a move ended, the move says by how much.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tidemark.models.brackets import VARIANCE_MIN
from tidemark.models.config import LobConfig
from tidemark.models.datasets import WindowSet
from tidemark.models.mlplob import BookMixer, class_logits
from tidemark.models.scaler import Scaler
from tidemark.units import NS_PER_S

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MOVE_SD_MAX = 3.0  # a jump counts as this many of its sd
SECONDARY_WEIGHT = 0.5
VALID_SEGMENT_ROWS = 128


@dataclass(frozen=True, slots=True)
class Segments:
    """A batch. Shapes: rows (R, P + T - 1, F), y (R, P, H), move (R, P, H), weight (R, P)."""

    rows: Tensor
    y: Tensor
    move: Tensor
    weight: Tensor


class TrendTask:
    """Batches, loss and validation of the trend on one split. `z` are the set's scaled inputs (n, F)."""

    def __init__(self, z: F32, windows: WindowSet, train: I64, valid: I64, config: LobConfig) -> None:
        self.z, self.windows, self.config = torch.from_numpy(z), windows, config
        self.valid = valid
        self.weight = np.zeros(len(windows), np.float32)
        self.weight[train] = 1.0
        self.last_row = _last_rows(windows.first_row)
        self.y = torch.from_numpy(np.ascontiguousarray(windows.y.T))
        self.move = torch.from_numpy(_move_in_sd(windows, config).astype(np.float32))
        self.head_weight = torch.full((len(config.labels.horizons),), SECONDARY_WEIGHT)
        self.head_weight[config.labels.primary_i] = 1.0
        self.head_weight /= self.head_weight.sum()

    def batches_per_epoch(self) -> int:
        return max(1, -(-len(self._spans(0)) // self.config.fit.batch))

    def batches(self, epoch: int) -> Iterator[Segments]:
        rng = np.random.default_rng((self.config.seed, epoch))
        spans = rng.permutation(self._spans(int(rng.integers(self.config.fit.segment_rows))))
        for first in range(0, len(spans), self.config.fit.batch):
            yield self._gather(spans[first : first + self.config.fit.batch])

    def loss(self, model: nn.Module, batch: Segments) -> Tensor:
        out = model(batch.rows)  # (R, P, H, 3)
        each = nn.functional.cross_entropy(class_logits(out).flatten(0, 2), batch.y.flatten(), reduction="none")
        each = each.view(batch.y.shape) + self.config.fit.aux_weight * 0.5 * (out[..., 2] - batch.move) ** 2
        return torch.sum(each @ self.head_weight * batch.weight) / batch.weight.sum()

    def validate(self, model: nn.Module) -> float:
        assert isinstance(model, BookMixer)
        scores = score_rows(model, self.z, self.windows, self.valid)
        primary = self.config.labels.primary_i
        logits = torch.from_numpy(np.stack([-scores[:, primary, 0], scores[:, primary, 1], scores[:, primary, 0]], axis=-1))
        return float(nn.functional.cross_entropy(logits, self.y[self.valid, primary]))

    def _spans(self, phase: int) -> I64:
        """(segments, 2) first decision and end of every segment with a training row; cuts lie `phase` rows into each run.

        The first segment of a run is shorter by the phase, so that no decision is in two.
        """
        step = self.config.fit.segment_rows
        ready = np.arange(len(self.weight)) - self.windows.first_row - (self.windows.window_rows - 1)
        starts = np.flatnonzero((ready == 0) | ((ready > 0) & ((ready - phase) % step == 0)))
        following = np.append(starts[1:], len(self.weight))
        ends = np.minimum(np.minimum(starts + step, following), self.last_row[starts] + 1)
        used = np.concatenate([[0.0], np.cumsum(self.weight)])
        spans = np.stack([starts, ends], axis=1)
        return np.asarray(spans[used[ends] > used[starts]], np.int64)

    def _gather(self, spans: I64) -> Segments:
        starts, ends = spans[:, :1], spans[:, 1:]
        offsets = np.arange(self.config.fit.segment_rows)
        targets = starts + offsets
        inside = targets < ends
        targets = np.minimum(targets, ends - 1)
        rows = np.minimum(starts + np.arange(1 - self.windows.window_rows, len(offsets)), ends - 1)
        weight = torch.from_numpy(np.where(inside, self.weight[targets], 0.0).astype(np.float32))
        at = torch.from_numpy(targets)
        return Segments(self.z[torch.from_numpy(rows)], self.y[at], self.move[at], weight)


def score_rows(model: BookMixer, z: Tensor, windows: WindowSet, rows: I64) -> F64:
    """Odd and even score per horizon of the windows that end with `rows` (ascending): (len(rows), H, 2)."""
    last_row = _last_rows(windows.first_row)
    result = np.zeros((len(rows), model.horizons, 2))
    window = windows.window_rows
    model.eval()
    with torch.inference_mode():
        i = 0
        while i < len(rows):
            start = rows[i]
            end = min(start + VALID_SEGMENT_ROWS, last_row[start] + 1)  # one segment inside the run
            count = int(np.searchsorted(rows[i:], end))
            out = model(z[start - window + 1 : end][None])[0]  # (P, H, 3)
            result[i : i + count] = out[rows[i : i + count] - start, :, :2].double().numpy()
            i += count
    return result


def scaled_inputs(windows: WindowSet, scaler: Scaler) -> F32:
    """The set's inputs, each row scaled by its symbol's table, (n, F)."""
    z = np.empty_like(windows.x)
    for i, symbol in enumerate(windows.symbols):
        mine = windows.symbol_i == i
        z[mine] = scaler.transform(windows.x[mine], scaler.symbols.index(symbol))
    return z


def _last_rows(first_row: I64) -> I64:
    """Last row of each row's run, (n,)."""
    count = len(first_row)
    starts = np.append(np.flatnonzero(first_row == np.arange(count)), count)
    return np.asarray(starts[np.searchsorted(starts, np.arange(count), side="right")] - 1, np.int64)


def _move_in_sd(windows: WindowSet, config: LobConfig) -> F64:
    """Moves in units of what the recent variance lets expect over each horizon, clipped, (n, H)."""
    seconds = np.array(config.labels.horizons) / NS_PER_S if config.labels.unit == "ns" else np.ones(len(config.labels.horizons))
    sd = np.sqrt(np.maximum(windows.variance, VARIANCE_MIN)[:, None] * seconds / 3.0)  # / 3: the mean over the horizon, not its end
    return np.clip(windows.move_ticks.T / sd, -MOVE_SD_MAX, MOVE_SD_MAX)
