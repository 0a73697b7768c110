"""The straight answer: logistic regressions on the newest row and a few averages, fitted before the network trains.

Up against down is asked of what changes sign in the mirror, flat against moving of what does not. Both are convex, so
they find on little data what gradient steps would miss; the network then learns only what they leave. If it learns
nothing that validates, this is the model.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidemark.models.config import LobConfig
from tidemark.models.datasets import Split, WindowSet
from tidemark.models.forward import decays
from tidemark.models.inputs import INPUT_NAMES
from tidemark.models.labels import FLAT, UP
from tidemark.models.mirror import mirror

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

ROWS_MAX = 12_000  # per fit, thinned evenly: neighbouring labels overlap almost wholly
PENALTIES = (0.0003, 0.003, 0.03)  # sklearn's C, on standardised inputs
MOVED_MIN = 50  # fewer moves teach no direction
NEWTON_STEPS_MAX = 12
STEP_MIN = 1e-4
CURVATURE_MIN = 1e-3  # of one row: keeps a step finite where every row is already certain


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights of `BookMixer`'s skip. Shapes: weight (3H, S x F), bias (3H,); rows 3h and 3h + 1 are odd and even of horizon h."""

    weight: F32
    bias: F32


def fit_linear(z: F32, windows: WindowSet, split: Split, config: LobConfig) -> Linear:
    """Fit every horizon; the penalties are picked on validation rows at the primary horizon."""
    horizons, primary = len(config.labels.horizons), config.labels.primary_i
    train, valid = _thinned(split.train), _thinned(split.valid)
    odd_train, even_train = _parts(z, windows, train, config)
    odd_valid, even_valid = _parts(z, windows, valid, config)
    weight = np.zeros((3 * horizons, odd_train.shape[1]))
    bias = np.zeros(3 * horizons)
    y_train, y_valid = windows.y[:, train], windows.y[:, valid]
    moved, moved_valid = y_train[primary] != FLAT, y_valid[primary] != FLAT
    penalty_odd = _best(odd_train[moved], y_train[primary, moved] == UP, odd_valid[moved_valid], y_valid[primary, moved_valid] == UP, False)
    penalty_even = _best(even_train, y_train[primary] == FLAT, even_valid, y_valid[primary] == FLAT, True)
    for h in range(horizons):
        moved = y_train[h] != FLAT
        w, _ = _logistic(odd_train[moved], y_train[h, moved] == UP, penalty_odd, intercept=False)
        weight[3 * h] = w / 4.0  # up - down is twice the odd score, and the score takes the row and its mirror image
        w, b = _logistic(even_train, y_train[h] == FLAT, penalty_even, intercept=True)
        weight[3 * h + 1] = w / 2.0
        bias[3 * h + 1] = (b + np.log(2.0)) / 2.0  # flat stands against two classes
    return Linear(weight.astype(np.float32), bias.astype(np.float32))


def _parts(z: F32, windows: WindowSet, rows: I64, config: LobConfig) -> tuple[F32, F32]:
    """Odd and even halves of the pooled windows, (len(rows), S x F) each."""
    pool = decays(config.net.window_rows, config.net.skip_steps)
    order, sign = mirror(INPUT_NAMES)
    pooled = np.empty((len(rows), config.net.skip_steps, z.shape[1]), np.float32)
    span = np.arange(1 - windows.window_rows, 1)
    for first in range(0, len(rows), 1_024):  # windows are copied out, so not all at once
        some = rows[first : first + 1_024]
        pooled[first : first + len(some)] = np.einsum("ts,ntf->nsf", pool, z[some[:, None] + span], optimize=True)
    mirrored = pooled[..., order] * sign
    odd, even = np.subtract(pooled, mirrored) / np.float32(2.0), np.add(pooled, mirrored) / np.float32(2.0)
    return np.asarray(odd.reshape(len(rows), -1), np.float32), np.asarray(even.reshape(len(rows), -1), np.float32)


def _best(x: F32, y: npt.NDArray[np.bool_], x_valid: F32, y_valid: npt.NDArray[np.bool_], intercept: bool) -> float:
    losses = []
    for penalty in PENALTIES:
        w, b = _logistic(x, y, penalty, intercept=intercept)
        losses.append(float(np.logaddexp(0.0, -np.where(y_valid, 1.0, -1.0) * (x_valid @ w + b)).mean()) if len(y_valid) else 0.0)
    return PENALTIES[int(np.argmin(losses))]


def _logistic(x: F32, y: npt.NDArray[np.bool_], penalty: float, *, intercept: bool) -> tuple[F64, float]:
    """(weights, intercept) of a ridge logistic regression; zeros where there is too little or only one class.

    Minimises sum of losses + |w|² / (2 penalty) by Newton's steps: a few hundred columns make a small Hessian, and a
    dozen steps reach what quasi-Newton needs hundreds for on columns as alike as these.
    """
    if min(int(y.sum()), int((~y).sum())) < MOVED_MIN:
        share = min(max(float(y.mean()) if len(y) else 0.5, 1e-3), 1.0 - 1e-3)
        return np.zeros(x.shape[1]), float(np.log(share / (1.0 - share))) if intercept else 0.0
    inputs = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1) if intercept else x
    ridge = np.full(inputs.shape[1], 1.0 / penalty)
    if intercept:
        ridge[-1] = 1e-6
    theta = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS_MAX):
        p = 1.0 / (1.0 + np.exp(-np.clip(inputs @ theta.astype(np.float32), -30.0, 30.0)))
        gradient = inputs.T @ (p - y) + ridge * theta
        curvature = (inputs * np.maximum(p * (1.0 - p), CURVATURE_MIN)[:, None].astype(np.float32)).T @ inputs + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        theta -= step
        if np.abs(step).max() < STEP_MIN:
            break
    return (theta[:-1], float(theta[-1])) if intercept else (theta, 0.0)


def _thinned(rows: I64) -> I64:
    return rows[:: -(-len(rows) // ROWS_MAX)]
