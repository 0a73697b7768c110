"""The network: shapes, the mirror, eight samples, the serving form, and one seed one model."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_worlds import FAST, trained, world
from tidemark.models.config import CPU, DEMO, FitConfig, NetConfig
from tidemark.models.datasets import split_windows
from tidemark.models.fit import fit
from tidemark.models.forward import NumpyMixer, decays
from tidemark.models.inputs import INPUT_NAMES, INPUTS
from tidemark.models.mirror import mirror
from tidemark.models.mlplob import BookMixer, parameter_count
from tidemark.models.training import train_windows
from tidemark.models.trend import TrendTask, scaled_inputs, score_rows

HORIZONS = 3


def random_net(config: NetConfig, seed: int = 0) -> BookMixer:
    """A network whose every weight is random: zeros would hide mistakes."""
    torch.manual_seed(seed)
    net = BookMixer(config, INPUT_NAMES, HORIZONS).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net


def rows(count: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, count, INPUTS)).astype(np.float32))


def test_a_segment_gives_one_answer_per_full_window():
    """Shapes of the contract: (R, L, F) rows to (R, L - T + 1, H, 3) scores."""
    net = random_net(FAST.net)
    window = FAST.net.window_rows
    assert net(rows(window + 4)).shape == (1, 5, HORIZONS, 3)


def test_a_decision_in_a_segment_equals_the_decision_alone():
    """Rows that windows share are encoded once; that must not let the future, or a neighbour, into a window."""
    for config in (FAST.net, replace(FAST.net, latents=0, mix_blocks=2)):
        net = random_net(config)
        window = config.window_rows
        x = rows(window + 6)
        together = net(x)[0]
        for p in range(7):
            alone = net(x[:, p : p + window])[0, 0]
            assert torch.allclose(together[p], alone, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_mirrored_book_gets_the_mirrored_forecast(seed: int):
    """Up and down are only names: odd scores change their sign, even ones stay."""
    net = random_net(FAST.net)
    order, sign = mirror(INPUT_NAMES)
    x = rows(FAST.net.window_rows, seed)
    straight, mirrored = net(x)[0, 0], net(x[..., order] * torch.from_numpy(sign))[0, 0]
    assert torch.allclose(straight[:, 0], -mirrored[:, 0], atol=1e-5)
    assert torch.allclose(straight[:, 1], mirrored[:, 1], atol=1e-5)


def test_the_mirror_is_its_own_inverse():
    """Twice mirrored is the book itself."""
    order, sign = mirror(INPUT_NAMES)
    x = np.random.default_rng(0).standard_normal((5, INPUTS))
    once = x[:, order] * sign
    assert np.array_equal(once[:, order] * sign, x)
    assert not np.array_equal(once, x)


def test_the_serving_form_computes_the_same_scores():
    """numpy serves what torch trained, for every configuration: within 1e-5 at scores of ordinary size."""
    for config in (FAST.net, DEMO.net, CPU.net, replace(DEMO.net, skip_steps=0)):
        net = random_net(config)
        weights = {name: p.detach().numpy().copy() * 0.5 for name, p in net.named_parameters()}
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(0.5)
        mixer = NumpyMixer(weights, INPUT_NAMES, config.window_rows, HORIZONS, decays(config.window_rows, config.skip_steps))
        x = rows(config.window_rows)
        with torch.no_grad():
            expected = net(x)[0, 0, :, :2].double().numpy()
        assert np.abs(expected).max() > 0.01
        assert np.abs(mixer.scores(x[0].numpy()) - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())


def test_the_network_starts_from_no_opinion():
    """An untrained head says nothing: training begins at the linear answer, not at noise."""
    net = BookMixer(FAST.net, INPUT_NAMES, HORIZONS)
    assert torch.count_nonzero(net(rows(FAST.net.window_rows))) == 0


def test_it_overfits_eight_samples():
    """A network that cannot learn eight answers by heart has a broken gradient somewhere."""
    config = replace(
        FAST, fit=FitConfig(epochs=80, steps_min=0, patience=80, segment_rows=1, batch=8, lr=2e-2, weight_decay=0.0, aux_weight=0.0)
    )
    windows = world(edge=0.0, sessions=1, rows=60)
    eight = np.arange(20, 60, 5)
    task = TrendTask(scaled_inputs(windows, trained().scaler), windows, eight, eight, config)
    net = BookMixer(replace(FAST.net, width=16), INPUT_NAMES, 1)
    history = fit(net, task, config.fit, seed=0)
    assert history.best_loss < 0.05
    scores = score_rows(net, task.z, windows, eight)[:, 0]
    logits = np.stack([-scores[:, 0], scores[:, 1], scores[:, 0]], axis=-1)
    assert np.array_equal(logits.argmax(axis=-1), windows.y[0, eight])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    """Same data, code and seed, one machine: the same bytes. That is what a version's hash rests on."""
    windows = world(edge=1.0, sessions=4, rows=120)
    parts = split_windows(windows)

    def weights(seed: int) -> list[bytes]:
        net = train_windows(windows, parts, replace(FAST, seed=seed)).nets[0]
        return [p.detach().numpy().tobytes() for p in net.parameters()]

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def test_the_configurations_are_as_big_as_they_say():
    """The served one is small; the full-size one is the order of magnitude of the published one."""
    assert parameter_count(BookMixer(DEMO.net, INPUT_NAMES, HORIZONS)) < 30_000
    assert 100_000 < parameter_count(BookMixer(CPU.net, INPUT_NAMES, HORIZONS)) < 500_000
