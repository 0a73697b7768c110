"""The training loop: resumable, bounded, and it learns what is there and nothing that is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_worlds import FAST, world
from tidemark.errors import InputError
from tidemark.models.config import FitConfig
from tidemark.models.datasets import split_windows
from tidemark.models.fit import Epoch, epochs_of, fit, seed_everything
from tidemark.models.inputs import INPUT_NAMES
from tidemark.models.mirror import mirror
from tidemark.models.mlplob import BookMixer
from tidemark.models.scaler import fit_scaler
from tidemark.models.training import train_windows
from tidemark.models.trend import TrendTask, scaled_inputs


class Stopped(Exception):
    """What a spot interruption looks like from inside."""


def run(config: FitConfig, checkpoint: Path | None, stop_after: int = 0) -> BookMixer:
    windows = world(edge=1.0, sessions=3, rows=150)
    parts = split_windows(windows)
    scaler = fit_scaler({"ES": windows.x[parts.train]}, *mirror(INPUT_NAMES))
    seed_everything(5)
    net = BookMixer(FAST.net, INPUT_NAMES, 1)
    task = TrendTask(scaled_inputs(windows, scaler), windows, parts.train, parts.valid, FAST)

    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == stop_after:
            raise Stopped

    fit(net, task, config, seed=5, checkpoint=checkpoint, on_epoch=on_epoch)
    return net


def test_an_interrupted_run_that_resumes_ends_with_the_same_bytes(tmp_path: Path):
    """Spot capacity may be taken away after any epoch; the model must not depend on it."""
    config = replace(FAST.fit, epochs=5, patience=5)
    straight = run(config, None)
    with pytest.raises(Stopped):
        run(config, tmp_path / "c.npz", stop_after=2)
    resumed = run(config, tmp_path / "c.npz")
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path):
    """Silently starting anew, or from foreign weights, would both be wrong."""
    config = replace(FAST.fit, epochs=1)
    run(config, tmp_path / "c.npz")
    windows = world(edge=1.0, sessions=3, rows=150)
    parts = split_windows(windows)
    other = replace(FAST, net=replace(FAST.net, width=4))
    (tmp_path / "member0.npz").write_bytes((tmp_path / "c.npz").read_bytes())
    with pytest.raises(InputError, match="another network"):
        train_windows(windows, parts, other, checkpoint_dir=tmp_path)


def test_little_data_gets_more_passes():
    """Steps, not passes, make a network; a few sessions must not leave it half trained."""
    config = FitConfig(epochs=5, steps_min=400)
    assert epochs_of(config, batches_per_epoch=10) == 40
    assert epochs_of(config, batches_per_epoch=1_000) == 5


def test_it_finds_a_planted_signal_and_none_in_noise():
    """The point of it all, in small: what predicts gets weight, and in noise no direction is claimed."""
    windows = world(edge=1.0, sessions=8)
    model = train_windows(windows, split_windows(windows), FAST)
    p = model.forecast(model.split.test)
    y = windows.y[0, model.split.test]
    assert -np.log(p[np.arange(len(y)), y]).mean() < 0.95  # three classes alike cost 1.10
    assert model.calibration.evidence_z[0] > 3

    for seed in range(3):
        noise = world(edge=0.0, sessions=8, seed=seed)
        nothing = train_windows(noise, split_windows(noise), FAST)
        p = nothing.forecast(nothing.split.test)
        assert nothing.calibration.horizons[0].odd == 0.0 or nothing.calibration.evidence_z[0] < 3
        assert np.abs(p[:, 2] - p[:, 0]).max() < 0.3


def test_batches_cover_every_training_row_once_an_epoch():
    """Segments start anywhere, but no row is left out or counted twice, whatever the phase."""
    windows = world(edge=0.0, sessions=4, rows=101)
    parts = split_windows(windows)
    z = np.zeros_like(windows.x)
    z[:, 0] = np.arange(len(windows))
    task = TrendTask(z, windows, parts.train, parts.valid, FAST)
    for epoch in range(4):
        seen: list[int] = []
        for batch in task.batches(epoch):
            newest = batch.rows[:, FAST.net.window_rows - 1 :, 0]  # (R, P): the row each decision ends with
            seen += newest[batch.weight > 0].long().tolist()
        assert sorted(seen) == parts.train.tolist()


def test_a_loss_that_is_not_finite_stops_the_run():
    """A diverged network must not become a model."""
    with pytest.raises(InputError, match="loss"):
        run(replace(FAST.fit, lr=1e30, grad_norm_max=1e30, epochs=5), None)
