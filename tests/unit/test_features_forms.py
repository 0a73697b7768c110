"""Compiled and plain kernels give the same bits; the plain form is what a zip Lambda runs."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from feature_worlds import SYMBOL, random_events
from tidemark.book.quality import fresh_state, scan_block
from tidemark.features.arith import arith_tables, exp_neg, ln, ln1p_count
from tidemark.features.batch import all_rows
from tidemark.features.params import DEFAULT_PARAMS
from tidemark.features.stream import FeatureStream
from tidemark.features.warmup import warm_up
from tidemark.jit import JIT_ENABLED
from tidemark.units import INT64_MAX

SEEDS = (21, 22, 23)
PINNED_WORLD, PINNED_ROWS = "c11acc9d84159861", "af2a41373d98a4c1"


def digests() -> list[str]:
    """Of everything that the kernels of book/ and features/ give on three worlds, damaged rows included."""
    return [hashlib.sha256(_outputs(seed)).hexdigest() for seed in SEEDS]


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _outputs(seed: int) -> bytes:
    block = random_events(seed, 250)
    stream = FeatureStream(SYMBOL, DEFAULT_PARAMS)
    rows = [stream.update(block[:100], 0), stream.update(block[100:], INT64_MAX)]
    rng = np.random.default_rng(seed)
    damaged = random_events(seed, 250)
    hit = rng.integers(0, 250, 120)
    damaged.px_ticks[hit, rng.integers(0, 20, 120)] += rng.integers(-40, 40, 120)
    damaged.qty[hit[:60], rng.integers(0, 20, 60)] = rng.integers(-1, 1, 60)
    state = fresh_state(1)
    codes = scan_block(damaged, *state)
    parts = [all_rows(block, DEFAULT_PARAMS), *(row.values for row in rows), codes, *state]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts) + stream.to_bytes()


@pytest.mark.skipif(not JIT_ENABLED, reason="numba is switched off: there is one form only")
def test_plain_and_compiled_kernels_give_the_same_bits() -> None:
    """One interpreter with TIDEMARK_JIT=off, one without, over rows, state, checkpoint and defect codes."""
    folder = Path(__file__).parents[1]
    paths = os.pathsep.join([str(folder.parent / "src"), str(folder), str(folder / "unit")])
    code = "import test_features_forms as t; print(*t.digests())"
    environment = {**os.environ, "TIDEMARK_JIT": "off", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == digests()


def test_the_kernels_still_give_what_their_version_promised() -> None:
    """Whoever changes a result must raise KERNEL_VERSION, so that no model meets features it was not trained on."""
    block = random_events(21, 250)
    assert _short(b"".join(column.tobytes() for column in block.columns())) == PINNED_WORLD, "not the kernels: the random world changed"
    values = all_rows(block, DEFAULT_PARAMS)
    assert _short(values[~np.isnan(values).any(axis=1)].tobytes()) == PINNED_ROWS, "results changed: raise KERNEL_VERSION"


def test_exponential_and_logarithm_are_exact_to_the_last_digits() -> None:
    """They replace the C library's; a relative error of 1e-14 would already show in a decay of a million events."""
    tables = arith_tables()
    x = np.r_[np.linspace(0, 3, 500), np.geomspace(1e-12, 700, 500)]
    np.testing.assert_allclose([exp_neg(v, tables) for v in x], np.exp(-x), rtol=2e-15)
    assert exp_neg(701.0, tables) == 0.0
    y = np.geomspace(1, 1e18, 1_000)
    np.testing.assert_allclose([ln(v, tables) for v in y], np.log(y), rtol=2e-15, atol=2e-15)
    counts = [0, 1, 7, 8_190, 8_191, 8_192, 8_193, 10**6, 2**31, 2**40]
    np.testing.assert_allclose([ln1p_count(c, tables) for c in counts], np.log1p(counts), rtol=2e-15)


def test_warming_up_runs_in_both_forms() -> None:
    """`make setup` calls it; a kernel that it cannot run would fail there and not in the first trading minute."""
    warm_up()
