"""What a model has to beat before anyone listens to it. Same rows, same inputs, same splits; each fitted in earnest.

B0 climatology, B1 persistence, B2 multinomial logistic on the newest row, B3 gradient boosting on the newest row with lag
summaries, B4 logistic on the best level's queue imbalance (Gould & Bonart 2016). B2 picks its penalty and B3 its number
of trees on the validation part, as the network picks its epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.models.datasets import Split, WindowSet
from tidemark.models.inputs import INPUT_NAMES
from tidemark.models.labels import CLASSES
from tidemark.models.threads import limited_threads

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

ROWS_MAX = 16_000  # training rows a baseline sees: thinned evenly, since neighbouring labels overlap almost wholly
PENALTIES = (0.003, 0.03, 0.3)  # sklearn's C
LAGS = (4, 16)  # rows averaged, beside the whole window
TREES_MAX = 120
PRIOR_ROWS = 3.0
PROBABILITY_MIN = 1e-4


@dataclass(frozen=True, slots=True)
class BaselineData:
    """What baselines may see: scaled inputs z (n, 48), the windows, the split and which horizon counts."""

    z: F32
    windows: WindowSet
    split: Split
    horizon_i: int

    @property
    def y(self) -> I64:
        return np.asarray(self.windows.y[self.horizon_i])

    @property
    def train(self) -> I64:
        """Training rows, thinned to at most ROWS_MAX."""
        step = -(-len(self.split.train) // ROWS_MAX)
        return self.split.train[::step]


Forecast = Callable[[I64], F64]
"""Rows → probabilities (len(rows), 3)."""


def climatology(data: BaselineData) -> Forecast:
    """B0: how often each class came before the test part."""
    share = _shares(data.y[np.concatenate([data.split.train, data.split.valid])])
    return lambda rows: np.tile(share, (len(rows), 1))


def persistence(data: BaselineData) -> Forecast:
    """B1: what followed the class of the newest label that had ended at the decision, counted on training rows."""
    state = _last_ended(data)
    table = np.stack([_shares(data.y[data.split.train[state[data.split.train] == k]]) for k in range(CLASSES + 1)])
    return lambda rows: table[state[rows]]


def logistic(data: BaselineData, seed: int) -> Forecast:
    """B2: multinomial logistic on the newest row."""
    return _best_logistic(data, data.z, seed)


def boosting(data: BaselineData, seed: int) -> Forecast:
    """B3: histogram gradient boosting on the newest row and means over the last 4 and 16 rows and the whole window."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=TREES_MAX,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(lag_summaries(data, data.train), data.y[data.train])
    rows = data.split.valid[:: -(-len(data.split.valid) // ROWS_MAX)]
    losses = [_loss(_all_classes(p, model.classes_), data.y[rows]) for p in model.staged_predict_proba(lag_summaries(data, rows))]
    trees = int(np.argmin(losses))

    def forecast(asked: I64) -> F64:
        for number, p in enumerate(model.staged_predict_proba(lag_summaries(data, asked))):
            if number == trees:
                return _all_classes(p, model.classes_)
        raise AssertionError("the number of trees comes from the same model")

    return forecast


def queue_imbalance(data: BaselineData, seed: int) -> Forecast:
    """B4: logistic on (qb - qa) / (qb + qa) of the best level."""
    bid, ask = (np.expm1(data.windows.x[:, INPUT_NAMES.index(f"lob_{side}_qty_0")].astype(np.float64)) for side in ("bid", "ask"))
    imbalance = (bid - ask) / np.maximum(bid + ask, 1e-9)
    return _best_logistic(data, imbalance[:, None].astype(np.float32), seed)


def fit_baselines(data: BaselineData, seed: int) -> dict[str, Forecast]:
    """All five by name."""
    with limited_threads(1):
        return {
            "B0 climatology": climatology(data),
            "B1 persistence": persistence(data),
            "B2 logistic": logistic(data, seed),
            "B3 boosting": boosting(data, seed),
            "B4 queue imbalance": queue_imbalance(data, seed),
        }


def lag_summaries(data: BaselineData, rows: I64) -> F32:
    """(len(rows), 48 x 4): the newest row, and means over the last LAGS rows and over the whole window."""
    running = np.concatenate([np.zeros((1, data.z.shape[1])), np.cumsum(data.z, axis=0, dtype=np.float64)])
    spans = (*LAGS, data.windows.window_rows)
    means = [(running[rows + 1] - running[rows + 1 - span]) / span for span in spans]
    return np.concatenate([data.z[rows], *means], axis=1).astype(np.float32)


def _best_logistic(data: BaselineData, inputs: F32, seed: int) -> Forecast:
    from sklearn.linear_model import LogisticRegression

    best: tuple[float, Any] | None = None
    for penalty in PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=300, random_state=seed).fit(inputs[data.train], data.y[data.train])
        loss = _loss(_all_classes(model.predict_proba(inputs[data.split.valid]), model.classes_), data.y[data.split.valid])
        if best is None or loss < best[0]:
            best = (loss, model)
    assert best is not None
    chosen = best[1]
    return lambda rows: _all_classes(chosen.predict_proba(inputs[rows]), chosen.classes_)


def _last_ended(data: BaselineData) -> I64:
    """Class of the newest label of the same run that had ended at each row's decision, (n,); CLASSES where there is none."""
    windows = data.windows
    result = np.full(len(windows), CLASSES, np.int64)
    starts = np.append(np.flatnonzero(windows.first_row == np.arange(len(windows))), len(windows))
    for first, last in zip(starts[:-1], starts[1:], strict=True):
        run = slice(first, last)
        ended = np.searchsorted(windows.end_ns[data.horizon_i, run], windows.decision_ns[run], side="right") - 1
        usable = (ended >= 0) & windows.valid[data.horizon_i, run][np.maximum(ended, 0)]
        result[run] = np.where(usable, data.y[run][np.maximum(ended, 0)], CLASSES)
    return result


def _shares(y: I64) -> F64:
    """Class shares with a little of "all alike", so that none is zero."""
    counts = np.bincount(y, minlength=CLASSES) + PRIOR_ROWS / CLASSES
    return np.asarray(counts / counts.sum())


def _all_classes(p: F64, classes: npt.NDArray[Any]) -> F64:
    """Probabilities over all three classes, where the training rows held fewer, and none below PROBABILITY_MIN."""
    full = np.zeros((len(p), CLASSES))
    full[:, classes] = p
    full = np.maximum(full, PROBABILITY_MIN)
    return np.asarray(full / full.sum(axis=1, keepdims=True))


def _loss(p: F64, y: I64) -> float:
    return float(-np.log(p[np.arange(len(y)), y]).mean())
