"""A predictor that knows by heart, and feature rows to ask it about."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tidemark.errors import UnavailableError
from tidemark.features.catalogue import COLUMN, COUNT, SCHEMA_HASH
from tidemark.features.rows import FeatureRows
from tidemark.models.brackets import BracketRule
from tidemark.models.description import ModelDescription
from tidemark.models.inputs import INPUT_NAMES
from tidemark.models.serving import Answer, Refusal, RefusalCode, Result
from tidemark.units import NS_PER_MS, NS_PER_S

STEP_NS = 250 * NS_PER_MS
WINDOW = 4
OFI = INPUT_NAMES.index("ofi_1s")

DESCRIPTION = ModelDescription(
    model="lob", version="v1", weights_sha="0" * 64, schema="lob-fake", catalogue=SCHEMA_HASH, names=INPUT_NAMES, window_rows=WINDOW,
    symbols=("ES", "NQ"), horizons_ns=(2 * NS_PER_S,), primary_i=0, latency_ns=NS_PER_S, age_ns_max=2 * NS_PER_S,
    threshold_ticks={"ES": 1.0, "NQ": 1.0}, bracket=BracketRule(horizon_ns=5 * NS_PER_S), loss_frac=1.0, trained_until_ns=0,
)  # fmt: skip


@dataclass
class KnownPredictor:
    """Keeps the promise of `serving.Predictor`: each answer depends on its window only. P(win) long is its newest `ofi_1s`;
    a negative one is short's chance; above 10 it refuses."""

    description: ModelDescription = DESCRIPTION
    down: bool = False
    asked: list[int] = field(default_factory=list)

    def predict(self, windows: np.ndarray, symbol_i: np.ndarray, event_ts_ns: np.ndarray, avail_ts_ns: np.ndarray) -> list[Result]:
        if self.down:
            raise UnavailableError("endpoint: no answer")
        assert windows.shape[1:] == (WINDOW, len(INPUT_NAMES))
        assert windows.dtype == np.float32
        self.asked.append(len(windows))
        return [self.answer(float(window[-1, OFI])) for window in windows]

    @staticmethod
    def answer(x: float) -> Result:
        if x > 10:
            return Refusal(RefusalCode.OOD, "x", 10.0, x)
        p = min(abs(x), 1.0)
        long, short = (p, 0.1) if x > 0 else (0.1, p)
        return Answer(((0.25, 0.5, 0.25),), long, short, x)


def feature_rows(ofi: Sequence[float], *, symbol: str = "ES", first: int = 1, mid2: Sequence[int] | None = None) -> FeatureRows:
    """Rows number `first` on: one each 250 ms, `ofi_1s` as given, quiet otherwise."""
    n = len(ofi)
    number = np.arange(first, first + n)
    values = np.zeros((n, COUNT), np.float32)
    values[:, COLUMN["ofi_1s"]] = ofi
    values[:, COLUMN["rv_10s"]] = 10.0
    values[:, COLUMN["spread"]] = 1.0
    values[:, COLUMN["mid2"]] = 10_001 if mid2 is None else mid2
    grid = number * STEP_NS
    return FeatureRows(symbol, grid, grid - 10 * NS_PER_MS, grid - 9 * NS_PER_MS, 3 * number, values)
