"""Feature rows in, predictions and signals out: the one core that the signal processor and the backtest both run.

Deterministic: the same rows lead to the same signals however they are cut into calls, because windows, predictions and
decisions follow row by row, and a signal's times and id come from its inputs, never from a clock. State is a window per
symbol; a call that fails leaves it as it was, so it can be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec
import numpy as np
import numpy.typing as npt

from tidemark.errors import DecodeError, bad_input
from tidemark.features.catalogue import COLUMN, COUNT, SCHEMA_HASH
from tidemark.features.rows import FeatureRows
from tidemark.instruments import Instrument
from tidemark.models.brackets import variance_per_s
from tidemark.models.inputs import WINDOW_GAP_NS_MAX
from tidemark.models.serving import ITEMS_MAX, Answer, Predictor, Refusal
from tidemark.signals.candidates import CandidateConfig, propose
from tidemark.signals.messages import Prediction, Signal
from tidemark.signals.tiers import Cell, TierGate, score_bin

F32 = npt.NDArray[np.float32]

STATE_VERSION = 1
SETUP = "trend"
ANY_REGIME = "any"
_MID2 = COLUMN["mid2"]
_RV = COLUMN["rv_10s"]
_SPREAD = COLUMN["spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalConfig:
    """How predictions become signals. One live candidate per symbol: after a signal, none for `cooldown_ns` (default: the
    bracket's own life)."""

    candidates: CandidateConfig = field(default_factory=CandidateConfig)
    cooldown_ns: int | None = None


@dataclass(slots=True)
class _Window:
    """The last rows of one symbol. `values` (T, COUNT) float32, newest last; `count` of them are filled."""

    values: F32
    count: int = 0
    grid_ts_ns: int = 0
    seq: int = -1
    quiet_until_ns: int = 0


class _Saved(msgspec.Struct, frozen=True):
    version: int
    schema: str
    values: bytes
    count: int
    grid_ts_ns: int
    seq: int
    quiet_until_ns: int


class SignalPipeline:
    """Windows, predictions, candidates of every symbol of the model.

    Raises InputError when the model was trained on other features than this program computes, or when an instrument of
    the model's symbols is not described.
    """

    def __init__(
        self, predictor: Predictor, instruments: Mapping[str, Instrument], config: SignalConfig | None = None, gate: TierGate | None = None
    ) -> None:
        described = predictor.description
        if described.catalogue != SCHEMA_HASH:
            raise bad_input("model", "catalogue", described.catalogue[:12], SCHEMA_HASH[:12], "trained on other features: train it anew")
        self._predictor, self._described = predictor, described
        self._instruments = dict(instruments)
        self._config = config or SignalConfig()
        self._gate = gate or TierGate()
        self._columns = np.array([COLUMN[name] for name in described.names], np.int64)
        self._symbol_i = {symbol: i for i, symbol in enumerate(described.symbols)}
        self._windows: dict[str, _Window] = {}
        self.refusals: dict[str, int] = {}

    def on_rows(self, rows: FeatureRows) -> tuple[list[Prediction], list[Signal]]:
        """Take one symbol's next rows. Rows already taken are repeats and change nothing.

        Raises UnavailableError or DecodeError as the predictor does; the state is then as before the call.
        """
        if rows.symbol not in self._symbol_i or rows.symbol not in self._instruments:
            self._refuse("SYMBOL", len(rows))
            return [], []
        window = self._windows.get(rows.symbol) or _Window(np.zeros((self._described.window_rows, COUNT), np.float32))
        rows = rows[(rows.seq > window.seq) & (rows.grid_ts_ns > window.grid_ts_ns)]
        if not len(rows):
            return [], []
        history = np.concatenate([window.values, rows.values])
        ready = self._ready_rows(window, rows)
        results = self._ask(history, rows, ready)
        quiet_until_ns = window.quiet_until_ns
        predictions: list[Prediction] = []
        signals: list[Signal] = []
        for i, result in zip(ready.tolist(), results, strict=True):
            if isinstance(result, Refusal):
                self._refuse(result.code.value, 1)
                continue
            predictions.append(self._prediction(rows, i, result))
            if rows.event_ts_ns[i] >= quiet_until_ns:
                signal = self._signal(rows, i, result, history[i + 1 : i + 1 + self._described.window_rows])
                if signal is not None:
                    signals.append(signal)
                    quiet_until_ns = signal.input_ts_ns + self._cooldown_ns
        self._refuse("WARMUP", len(rows) - len(ready))
        self._windows[rows.symbol] = _Window(
            history[-self._described.window_rows :].copy(),
            self._count_after(window, rows),
            int(rows.grid_ts_ns[-1]),
            int(rows.seq[-1]),
            quiet_until_ns,
        )
        return predictions, signals

    @property
    def _cooldown_ns(self) -> int:
        return self._described.bracket.horizon_ns if self._config.cooldown_ns is None else self._config.cooldown_ns

    def _run_lengths(self, window: _Window, rows: FeatureRows) -> npt.NDArray[np.int64]:
        """Rows without a break up to and with each row, (n,)."""
        before = np.concatenate([[window.grid_ts_ns], rows.grid_ts_ns[:-1]])
        broken = rows.grid_ts_ns - before > WINDOW_GAP_NS_MAX
        at = np.arange(len(rows))
        last_break = np.maximum.accumulate(np.where(broken, at, -1))
        return np.asarray(np.where(last_break >= 0, at - last_break + 1, window.count + at + 1), np.int64)

    def _ready_rows(self, window: _Window, rows: FeatureRows) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self._run_lengths(window, rows) >= self._described.window_rows)

    def _count_after(self, window: _Window, rows: FeatureRows) -> int:
        return int(min(self._run_lengths(window, rows)[-1], self._described.window_rows))

    def _ask(self, history: F32, rows: FeatureRows, ready: npt.NDArray[np.int64]) -> list[Answer | Refusal]:
        """Results for the windows that end with the `ready` rows; `history` is the old window followed by the new rows."""
        symbol_i = np.int16(self._symbol_i[rows.symbol])
        inputs = history[:, self._columns]
        results: list[Answer | Refusal] = []
        for first in range(0, len(ready), ITEMS_MAX):
            some = ready[first : first + ITEMS_MAX]
            windows = inputs[some[:, None] + 1 + np.arange(self._described.window_rows)]
            results += self._predictor.predict(windows, np.full(len(some), symbol_i), rows.event_ts_ns[some], rows.grid_ts_ns[some])
        return results

    def _prediction(self, rows: FeatureRows, i: int, answer: Answer) -> Prediction:
        d = self._described
        down, flat, up = answer.p[d.primary_i]
        return Prediction(
            symbol=rows.symbol,
            model=d.model,
            model_version=d.version,
            seq=int(rows.seq[i]),
            input_ts_ns=int(rows.event_ts_ns[i]),
            target_ts_ns=int(rows.grid_ts_ns[i]) + d.latency_ns + d.horizon_ns,
            mid2=int(rows.values[i, _MID2]),
            p_down=down,
            p_flat=flat,
            p_up=up,
            p_win_long=answer.p_win_long,
            p_win_short=answer.p_win_short,
            expected_ticks=answer.expected_ticks,
        )

    def _signal(self, rows: FeatureRows, i: int, answer: Answer, window: F32) -> Signal | None:
        d, instrument = self._described, self._instruments[rows.symbol]
        stop, target = d.bracket.distances(variance_per_s(window[None, :, _RV]), window[-1:, _SPREAD].astype(np.float64))
        proposal = propose(answer, instrument, int(stop[0]), int(target[0]), d.loss_frac, self._config.candidates)
        if proposal is None:
            return None
        cell = Cell(SETUP, instrument.group or rows.symbol, d.bracket.horizon_ns, ANY_REGIME, score_bin(proposal.p_win))
        tier, evidence_id = self._gate.tier(cell)
        return Signal(
            signal_id=signal_id(rows.symbol, int(rows.seq[i]), d.version),
            symbol=rows.symbol,
            side=proposal.side,
            tier=tier,
            p_win=proposal.p_win,
            expectancy_micros=proposal.expectancy_micros,
            stop_ticks=proposal.stop_ticks,
            target_ticks=proposal.target_ticks,
            horizon_ns=d.bracket.horizon_ns,
            input_ts_ns=int(rows.event_ts_ns[i]),
            created_ts_ns=int(rows.grid_ts_ns[i]),
            model=d.model,
            model_version=d.version,
            mid2=int(rows.values[i, _MID2]),
            evidence_id=evidence_id,
        )

    def _refuse(self, code: str, count: int) -> None:
        if count:
            self.refusals[code] = self.refusals.get(code, 0) + count

    def to_bytes(self, symbol: str) -> bytes:
        """One symbol's state, for its checkpoint."""
        window = self._windows.get(symbol) or _Window(np.zeros((self._described.window_rows, COUNT), np.float32))
        return msgspec.msgpack.encode(
            _Saved(
                STATE_VERSION,
                self._described.schema,
                window.values.tobytes(),
                window.count,
                window.grid_ts_ns,
                window.seq,
                window.quiet_until_ns,
            )
        )

    def from_bytes(self, symbol: str, data: bytes) -> None:
        """Take up one symbol's state again. Raises DecodeError for damage or a state of another model's input."""
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except msgspec.DecodeError as error:
            raise DecodeError("CHECKPOINT", str(error)) from error
        shape = (self._described.window_rows, COUNT)
        if saved.version != STATE_VERSION or saved.schema != self._described.schema:
            raise DecodeError("SCHEMA", f"checkpoint of {saved.schema!r}, this model has {self._described.schema!r}")
        if len(saved.values) != 4 * shape[0] * shape[1] or not 0 <= saved.count <= shape[0]:
            raise DecodeError("CHECKPOINT", "window of another shape")
        values = np.frombuffer(saved.values, np.float32).reshape(shape).copy()
        self._windows[symbol] = _Window(values, saved.count, saved.grid_ts_ns, saved.seq, saved.quiet_until_ns)


def signal_id(symbol: str, seq: int, model_version: str) -> str:
    """Name of the one signal that a model version can make from one row: `ES-123456-1f2e3d4c`."""
    return f"{symbol}-{seq}-{blake2b(f'{symbol}|{seq}|{model_version}'.encode(), digest_size=4).hexdigest()}"
