"""The same network in numpy, one window at a time: what is served.

No training framework in the serving process: it starts in a blink, answers one window in a fraction of a millisecond,
and the answer cannot depend on what else is in the batch, because there is no batch. A test holds it to the network's
own output within 1e-5 of a logit.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tidemark.models.mirror import mirror

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

_GELU_A = np.float32(0.7978845608028654)  # sqrt(2 / pi)
_GELU_B = np.float32(0.044715)
_NORM_EPS = np.float32(1e-5)


class NumpyMixer:
    """`BookMixer` for one window, from its weights by name. Assertion errors mean the weights are not of that shape."""

    def __init__(self, weights: Mapping[str, F32], names: Sequence[str], window_rows: int, horizons: int, skip_pool: F32) -> None:
        self.order, self.sign = mirror(names)
        self._w = {
            name: np.ascontiguousarray(value.T if value.ndim == 2 and name.endswith("weight") else value) for name, value in weights.items()
        }
        self._rows = _count(weights, "rows.")
        self._mix = _count(weights, "mix.")
        self._skip_pool = np.ascontiguousarray(skip_pool.T)  # (K, T)
        self._pool = np.ascontiguousarray(weights["pool"].T) if "pool" in weights else None
        self.window_rows = window_rows
        self.horizons = horizons

    def scores(self, z: F32) -> F64:
        """Odd and even score per horizon, (H, 2), of one scaled window (T, F)."""
        both = np.stack([z, z[:, self.order] * self.sign])
        straight, mirrored = self._one_way(both).astype(np.float64).reshape(2, self.horizons, 3)
        return np.stack([straight[:, 0] - mirrored[:, 0], straight[:, 1] + mirrored[:, 1]], axis=-1)

    def _one_way(self, rows: F32) -> F32:
        h = self._linear(rows, "stem")  # (2, T, d)
        for i in range(self._rows):
            h = self._row_block(h, f"rows.{i}")
        if self._pool is not None:
            h = np.matmul(self._pool, h)  # (2, K, d)
        for i in range(self._mix):
            h = self._row_block(h, f"mix.{i}.feature")
            t = self._norm(h, f"mix.{i}.norm").transpose(0, 2, 1)
            t = self._linear(_gelu(self._linear(t, f"mix.{i}.time_up")), f"mix.{i}.time_down")
            h = np.add(h, t.transpose(0, 2, 1))
        out = self._linear(self._norm(h, "norm").reshape(2, -1), "head")
        if "skip.weight" in self._w:
            out += self._linear(np.matmul(self._skip_pool, rows).reshape(2, -1), "skip")
        return out

    def _linear(self, x: F32, name: str) -> F32:
        y = x @ self._w[f"{name}.weight"]
        y += self._w[f"{name}.bias"]
        return np.asarray(y)

    def _norm(self, x: F32, name: str) -> F32:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.einsum("...i,...i->...", centred, centred)[..., None] / np.float32(x.shape[-1])
        centred *= self._w[f"{name}.weight"] / np.sqrt(variance + _NORM_EPS)
        centred += self._w[f"{name}.bias"]
        return np.asarray(centred)

    def _row_block(self, x: F32, name: str) -> F32:
        return x + self._linear(_gelu(self._linear(self._norm(x, f"{name}.norm"), f"{name}.up")), f"{name}.down")


def decays(window_rows: int, steps: int) -> F32:
    """(window_rows, steps) weights of rows, newest row last: the newest alone, then exponential averages with half-lives from
    one row to half a window; each sums to 1."""
    if not steps:
        return np.zeros((window_rows, 0), np.float32)
    age = np.arange(window_rows - 1, -1, -1, dtype=np.float64)
    half_lives = np.concatenate([[0.01], np.geomspace(1.0, window_rows / 2, steps - 1)])
    weights = 0.5 ** (age[:, None] / half_lives)
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def softmax(logits: F64) -> F64:
    """Probabilities over the last axis, in double precision: rows sum to one within 1e-15."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _count(weights: Mapping[str, F32], prefix: str) -> int:
    return len({name.split(".")[1] for name in weights if name.startswith(prefix)})


def _gelu(x: F32) -> F32:
    return np.asarray(np.float32(0.5) * x * (np.float32(1.0) + np.tanh(_GELU_A * (x + _GELU_B * x * x * x))), np.float32)
