"""A loaded model that answers: the same object behind the endpoint, in backtests and in tests.

Items are answered one by one, each from its own window only, so an answer does not depend on its batch. Weights have
verified hashes, and before the first answer the golden inputs must give their golden scores.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tidemark.errors import DecodeError, bad_input
from tidemark.models.artifact import Artifact, load
from tidemark.models.brackets import VARIANCE_MIN, variance_per_s
from tidemark.models.description import ModelDescription
from tidemark.models.forward import NumpyMixer, decays
from tidemark.models.npz import Array
from tidemark.models.serving import Answer, Refusal, RefusalCode, Request, Response, Result
from tidemark.units import NS_PER_MS, NS_PER_S

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

GOLDEN_ERROR_MAX = 1e-5  # of a probability
VALUE_MAX = 1e9  # no feature of a true book is larger; also keeps float32 arithmetic finite
FUTURE_NS_MAX = 50 * NS_PER_MS


class LobPredictor:
    """The book model in this process (implements `serving.Predictor`)."""

    def __init__(self, artifact: Artifact) -> None:
        self._described = artifact.description
        self._scaler, self._calibration, self._support = artifact.scaler, artifact.calibration, artifact.support
        self._scaler_i = [artifact.scaler.symbols.index(symbol) for symbol in artifact.description.symbols]
        self._variance_column = artifact.description.names.index("rv_10s")
        self._nets = _members(artifact)
        self._check_golden(artifact.golden)

    @classmethod
    def load(cls, folder: Path) -> "LobPredictor":
        """From a model's folder. Raises InputError when anything about it does not verify."""
        return cls(load(folder))

    @property
    def description(self) -> ModelDescription:
        return self._described

    def predict(self, windows: F32, symbol_i: npt.NDArray[np.int16], event_ts_ns: I64, avail_ts_ns: I64) -> list[Result]:
        """One result per window. Time stands still here: ages are the business of whoever asks over a network."""
        return [self._item(window, int(i)) for window, i in zip(windows, symbol_i, strict=True)]

    def answer(self, request: Request) -> Response:
        """Answers of one request, in its order. Raises DecodeError (SCHEMA) when the request is for another input."""
        self._require_schema(request)
        began_ns = time.perf_counter_ns()
        items = tuple(self._refuse_age(request, i) or self._item(request.x[i], int(request.symbol_i[i])) for i in range(len(request)))
        d = self._described
        return Response(d.model, d.version, d.weights_sha, d.schema, request.request_id, time.perf_counter_ns() - began_ns, items)

    def scores(self, window: F32, symbol_i: int) -> F64:
        """Mean odd and even scores of the members per horizon, (H, 2), of one unscaled window."""
        z = self._scaler.transform(window, self._scaler_i[symbol_i])
        return np.asarray(sum(net.scores(z) for net in self._nets) / len(self._nets))

    def probabilities(self, scores: F64) -> F64:
        """Calibrated probabilities of the primary horizon, (..., 3), of (..., H, 2) scores."""
        primary = self._described.primary_i
        return self._calibration.horizons[primary].probabilities(scores[..., primary, :])

    def warm_up(self, calls: int) -> None:
        """Answer a window of zeros `calls` times, so that the first real one finds its code and caches warm."""
        for _ in range(calls):
            self.scores(np.zeros((self._described.window_rows, len(self._described.names)), np.float32), 0)

    def _require_schema(self, request: Request) -> None:
        d = self._described
        if request.schema != d.schema:
            raise DecodeError("SCHEMA", f"request of schema {request.schema!r}, this model has {d.schema!r}")
        expected = (d.window_rows, len(d.names))
        if request.x.shape[1:] != expected:
            raise DecodeError("SCHEMA", f"x of {request.x.shape[1:]} per item, expected {expected}")

    def _refuse_age(self, request: Request, i: int) -> Refusal | None:
        newest_ns = int(max(request.event_ts_ns[i], request.avail_ts_ns[i]))
        if newest_ns > request.now_ns + FUTURE_NS_MAX:
            return Refusal(RefusalCode.FUTURE, "ts_avail_ns", FUTURE_NS_MAX / NS_PER_MS, (newest_ns - request.now_ns) / NS_PER_MS)
        age_ns = request.now_ns - int(request.avail_ts_ns[i])
        if age_ns > self._described.age_ns_max:
            return Refusal(RefusalCode.STALE, "ts_avail_ns", self._described.age_ns_max / NS_PER_MS, age_ns / NS_PER_MS)
        return None

    def _item(self, window: F32, symbol_i: int) -> Result:
        if not 0 <= symbol_i < len(self._described.symbols):
            return Refusal(RefusalCode.SYMBOL, "symbol", float(len(self._described.symbols) - 1), float(symbol_i))
        if not np.isfinite(window).all():
            return Refusal(RefusalCode.NAN, "x", 0.0, float(window.size - np.isfinite(window).sum()))
        largest = float(np.abs(window).max())
        if largest > VALUE_MAX:
            return Refusal(RefusalCode.RANGE, "x", VALUE_MAX, largest)
        z = self._scaler.transform(window, self._scaler_i[symbol_i])
        distance = self._support.distance(z[-1])
        if distance > self._support.limit:
            return Refusal(RefusalCode.OOD, "x", self._support.limit, distance)
        return self._answer(window, np.asarray(sum(net.scores(z) for net in self._nets) / len(self._nets)))

    def _answer(self, window: F32, scores: F64) -> Answer:
        calibration, primary = self._calibration, self._described.primary_i
        p = [horizon.probabilities(scores[i]).tolist() for i, horizon in enumerate(calibration.horizons)]
        towards_up = 2.0 * calibration.horizons[primary].odd * float(scores[primary, 0])
        variance = float(variance_per_s(window[None, :, self._variance_column])[0])
        sd = (max(variance, VARIANCE_MIN) * self._described.horizon_ns / NS_PER_S) ** 0.5
        return Answer(
            p=tuple((down, flat, up) for down, flat, up in p),
            p_win_long=calibration.win(towards_up),
            p_win_short=calibration.win(-towards_up),
            expected_ticks=(p[primary][2] - p[primary][0]) * calibration.move_per_sd * sd,
        )

    def _check_golden(self, golden: Mapping[str, Array]) -> None:
        if set(golden) != {"x", "symbol", "scores"} or not len(golden["x"]):
            raise bad_input("golden.npz", "arrays", ", ".join(sorted(golden)), "x, symbol, scores")
        scores = np.stack([self.scores(x, int(i)) for x, i in zip(golden["x"], golden["symbol"], strict=True)])
        error = float("inf")
        if scores.shape == golden["scores"].shape:
            pairs = [
                (h.probabilities(scores[:, i]), h.probabilities(golden["scores"][:, i])) for i, h in enumerate(self._calibration.horizons)
            ]
            error = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
        if not error <= GOLDEN_ERROR_MAX:
            raise bad_input(
                "golden.npz", "scores", f"an error of {error:.3g}", f"at most {GOLDEN_ERROR_MAX}", "this machine computes another model"
            )


def _members(artifact: Artifact) -> list[NumpyMixer]:
    """The ensemble's networks. Raises InputError when weights and config are not of one shape."""
    net = artifact.config["net"]
    d = artifact.description
    prefixes = sorted({name.split(".", 1)[0] for name in artifact.weights})
    members = []
    for prefix in prefixes:
        weights = {name.split(".", 1)[1]: array for name, array in artifact.weights.items() if name.startswith(f"{prefix}.")}
        try:
            mixer = NumpyMixer(weights, d.names, d.window_rows, len(d.horizons_ns), decays(d.window_rows, int(net["skip_steps"])))
            mixer.scores(np.zeros((d.window_rows, len(d.names)), np.float32))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise bad_input("weights.npz", prefix, str(error), "the weights that config.json describes") from error
        members.append(mixer)
    if not members:
        raise bad_input("weights.npz", "members", 0, "at least one network")
    return members
