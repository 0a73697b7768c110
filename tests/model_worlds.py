"""Small made-up worlds for tests of models: rows whose future is known because it was drawn after them."""

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from tidemark.models.artifact import save
from tidemark.models.brackets import BracketRule
from tidemark.models.config import TINY, FitConfig, LabelConfig, LobConfig, NetConfig
from tidemark.models.datasets import WindowSet, split_windows
from tidemark.models.inputs import INPUT_NAMES, INPUTS
from tidemark.models.labels import BracketOutcomes
from tidemark.models.training import Trained, content_of, train_windows
from tidemark.models.vendored import serving_code
from tidemark.units import NS_PER_MS, NS_PER_S

STEP_NS = 250 * NS_PER_MS
OFI = INPUT_NAMES.index("ofi_1s")
RV = INPUT_NAMES.index("rv_10s")
FAST = replace(
    TINY,
    net=NetConfig(window_rows=8, width=8, latents=3, skip_steps=2, dropout=0.0),
    labels=LabelConfig(horizons=(2 * NS_PER_S,), primary_i=0, latency_ns=0),
    fit=FitConfig(epochs=3, steps_min=0, patience=3, segment_rows=16, batch=8, lr=1e-2),
)


def world(*, edge: float, sessions: int = 6, rows: int = 400, seed: int = 0, config: LobConfig = FAST) -> WindowSet:
    """`sessions` of one symbol; the mean of the last four `ofi_1s` shifts the coming move by `edge` sd. 0 is pure noise."""
    rng = np.random.default_rng(seed)
    n = sessions * rows
    x = rng.standard_normal((n, INPUTS)).astype(np.float32)
    x[:, RV] = 10.0
    horizons = len(config.labels.horizons)
    pushed = np.convolve(x[:, OFI], np.ones(4) / 2.0)[:n]
    move = edge * pushed + rng.standard_normal(n)
    session_i = np.repeat(np.arange(sessions), rows)
    decision_ns = session_i * 86_400 * NS_PER_S + np.tile(np.arange(rows), sessions) * STEP_NS + NS_PER_S
    y = np.where(move > 0.5, 2, np.where(move < -0.5, 0, 1))
    end_ns = decision_ns + STEP_NS
    bracket = config.bracket if config.bracket.horizon_ns else BracketRule()
    stop, target = bracket.distances(np.ones(n), np.ones(n))

    def outcomes(side: int) -> BracketOutcomes:
        won = (side * move > 0.5).astype(np.int8)
        return BracketOutcomes(won, np.where(won == 1, target, -stop), end_ns, np.ones(n, np.bool_))

    return WindowSet(
        window_rows=config.net.window_rows,
        symbols=("ES",),
        sessions=tuple(f"2026-01-{day + 5:02d}" for day in range(sessions)),
        x=x,
        symbol_i=np.zeros(n, np.int16),
        session_i=session_i,
        decision_ns=decision_ns,
        first_row=session_i * rows,
        y=np.tile(y, (horizons, 1)),
        move_ticks=np.tile(move, (horizons, 1)),
        threshold_ticks=np.full((horizons, n), 0.5),
        end_ns=np.tile(end_ns, (horizons, 1)),
        valid=np.ones((horizons, n), np.bool_),
        variance=np.ones(n),
        stop_ticks=stop,
        target_ticks=target,
        long=outcomes(1),
        short=outcomes(-1),
    )


@cache
def trained() -> Trained:
    """A model of a world with a strong edge; trained once for all tests of a process."""
    windows = world(edge=1.0)
    return train_windows(windows, split_windows(windows), FAST)


@cache
def model_folder() -> Path:
    """The same model as it is served. Tests must not write into it."""
    folder = Path(tempfile.mkdtemp(prefix="tidemark-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save(folder / "model", content_of(trained(), metrics={}, data_manifest={}, card="A test's model.", code=serving_code()))
    return folder / "model"
