"""One training run of the book model, from sessions to something that can be served. Reads top to bottom.

Scaler, network, calibration, bracket map and support are all fitted here and nowhere else, each on the part of the split
it may see: the network and the scaler on training rows, everything that turns scores into claims on validation rows. The
test part is not touched.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tidemark.errors import bad_input
from tidemark.features.catalogue import SCHEMA_HASH
from tidemark.models.artifact import Content, input_schema
from tidemark.models.brackets import VARIANCE_MIN
from tidemark.models.calibration import Calibration, blocks_of, fit_horizon, fit_win_map, mean_loss_frac
from tidemark.models.config import MODEL_NAME, LobConfig
from tidemark.models.datasets import Split, SymbolSession, WindowSet, build_windows, split_windows
from tidemark.models.fit import Epoch, History, fit, seed_everything
from tidemark.models.inputs import INPUT_NAMES
from tidemark.models.labels import FLAT, WIN, uniqueness
from tidemark.models.linear import fit_linear
from tidemark.models.mirror import mirror
from tidemark.models.mlplob import BookMixer, parameter_count
from tidemark.models.npz import Array
from tidemark.models.scaler import Scaler, fit_scaler
from tidemark.models.support import Support, fit_support
from tidemark.models.threads import limited_threads
from tidemark.models.trend import TrendTask, scaled_inputs, score_rows
from tidemark.units import NS_PER_MIN, NS_PER_S

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

EVIDENCE_BLOCK_NS = NS_PER_MIN  # rows of one minute, all symbols together, count as one observation
GOLDEN_ITEMS = 64
AGE_NS_MAX = 2 * NS_PER_S
MEMBER_SEED_STEP = 7_919  # seeds of the members of an ensemble lie this far apart


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run leaves: everything to serve, and everything to judge it by. `z` are the set's scaled inputs (n, 48)."""

    config: LobConfig
    windows: WindowSet
    split: Split
    z: F32
    scaler: Scaler
    nets: tuple[BookMixer, ...]
    histories: tuple[History, ...]
    calibration: Calibration
    support: Support

    def scores(self, rows: I64) -> F64:
        """Mean odd and even scores of the members, (len(rows), H, 2); `rows` ascending."""
        z = torch.from_numpy(self.z)
        with limited_threads(self.config.fit.threads):
            return np.asarray(sum(score_rows(net, z, self.windows, rows) for net in self.nets) / len(self.nets))

    def forecast(self, rows: I64) -> F64:
        """Calibrated probabilities of the primary horizon's classes, (len(rows), 3)."""
        primary = self.config.labels.primary_i
        return self.calibration.horizons[primary].probabilities(self.scores(rows)[:, primary])


def train_lob(
    sessions: Sequence[SymbolSession],
    config: LobConfig,
    *,
    split: Callable[[WindowSet], Split] = split_windows,
    checkpoint_dir: Path | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> Trained:
    """Train on some symbol sessions. `on_epoch` hears (member, epoch); `checkpoint_dir` makes the run resumable.

    Raises InputError when there is too little data for the split.
    """
    windows = build_windows(sessions, config.labels, config.bracket, config.net.window_rows)
    return train_windows(windows, split(windows), config, checkpoint_dir=checkpoint_dir, on_epoch=on_epoch)


def train_windows(
    windows: WindowSet,
    parts: Split,
    config: LobConfig,
    *,
    checkpoint_dir: Path | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> Trained:
    """`train_lob` on windows and a split that are already there."""
    with limited_threads(config.fit.threads):
        return _train(windows, parts, config, checkpoint_dir, on_epoch)


def _train(
    windows: WindowSet, parts: Split, config: LobConfig, checkpoint_dir: Path | None, on_epoch: Callable[[int, Epoch], None] | None
) -> Trained:
    scaler = _fit_scaler(windows, parts.train)
    z = scaled_inputs(windows, scaler)
    linear = fit_linear(z, windows, parts, config) if config.net.skip_steps else None
    nets, histories = [], []
    for member in range(config.members):
        seeded = replace(config, seed=config.seed + MEMBER_SEED_STEP * member)
        seed_everything(seeded.seed)
        net = BookMixer(config.net, INPUT_NAMES, len(config.labels.horizons))
        if linear is not None:
            net.set_linear(linear)
        task = TrendTask(z, windows, parts.train, parts.valid, seeded)
        checkpoint = checkpoint_dir / f"member{member}.npz" if checkpoint_dir is not None else None
        report = (lambda epoch, m=member: on_epoch(m, epoch)) if on_epoch is not None else None
        histories.append(fit(net, task, config.fit, seed=seeded.seed, checkpoint=checkpoint, on_epoch=report))
        nets.append(net)
    zt = torch.from_numpy(z)
    scores = np.asarray(sum(score_rows(net, zt, windows, parts.valid) for net in nets) / len(nets))
    calibration = calibrate(windows, parts, scores, config)
    return Trained(config, windows, parts, z, scaler, tuple(nets), tuple(histories), calibration, fit_support(z[parts.train]))


def _fit_scaler(windows: WindowSet, train: I64) -> Scaler:
    """Scaler on every row that a training window sees."""
    seen = np.zeros(len(windows) + 1, np.int64)
    np.add.at(seen, train - windows.window_rows + 1, 1)
    np.add.at(seen, train + 1, -1)
    inside = np.cumsum(seen[:-1]) > 0
    rows = {symbol: windows.x[inside & (windows.symbol_i == i)] for i, symbol in enumerate(windows.symbols)}
    return fit_scaler(rows, *mirror(INPUT_NAMES))


def calibrate(windows: WindowSet, split: Split, scores: F64, config: LobConfig) -> Calibration:
    """Everything that turns scores into claims, from the validation rows' scores (len(split.valid), H, 2)."""
    rows, primary = split.valid, config.labels.primary_i
    block = blocks_of(windows.decision_ns[rows], EVIDENCE_BLOCK_NS)
    fitted = [fit_horizon(scores[:, i], windows.y[i, rows], block) for i in range(scores.shape[1])]
    horizons = tuple(horizon for horizon, _ in fitted)
    towards_up = 2.0 * horizons[primary].odd * scores[:, primary, 0]
    score, won, pnl, stop, weight = [], [], [], [], []
    for side, outcomes in ((1.0, windows.long), (-1.0, windows.short)):
        kept = outcomes.valid[rows] & (outcomes.end_ns[rows] < split.test_start_ns)
        mine = rows[kept]
        score.append(side * towards_up[kept])
        won.append(outcomes.outcome[mine] == WIN)
        pnl.append(outcomes.pnl_ticks[mine])
        stop.append(windows.stop_ticks[mine])
        weight.append(_uniqueness(windows, mine, outcomes.end_ns[mine]) / 2.0)  # long and short of one moment are one
    joined = [np.concatenate(part) for part in (score, won, pnl, stop, weight)]
    return Calibration(
        horizons=horizons,
        evidence_z=tuple(z for _, z in fitted),
        win=fit_win_map(joined[0], joined[1], joined[4]),
        loss_frac=mean_loss_frac(joined[2], joined[3], joined[1], joined[4]),
        move_per_sd=_move_per_sd(windows, split.train, config),
    )


def _uniqueness(windows: WindowSet, rows: I64, end_ns: I64) -> F64:
    """Uniqueness of the labels of some rows among those of the same symbol."""
    result = np.zeros(len(rows))
    for symbol_i in range(len(windows.symbols)):
        mine = np.flatnonzero(windows.symbol_i[rows] == symbol_i)
        if len(mine):
            result[mine] = uniqueness(windows.decision_ns[rows[mine]], end_ns[mine])
    return result


def _move_per_sd(windows: WindowSet, train: I64, config: LobConfig) -> float:
    """Mean size of moves that passed their threshold, in sd over the primary horizon; 0 when none did."""
    primary = config.labels.primary_i
    moved = train[windows.y[primary, train] != FLAT]
    if not len(moved):
        return 0.0
    sd = np.sqrt(np.maximum(windows.variance[moved], VARIANCE_MIN) * primary_horizon_ns(windows, config) / NS_PER_S)
    return float(np.mean(np.abs(windows.move_ticks[primary, moved]) / sd))


def primary_horizon_ns(windows: WindowSet, config: LobConfig) -> int:
    """The primary horizon in time; for a horizon of events the median time they took."""
    return horizons_ns(windows, config)[config.labels.primary_i]


def horizons_ns(windows: WindowSet, config: LobConfig) -> tuple[int, ...]:
    """Every horizon in time."""
    if config.labels.unit == "ns":
        return config.labels.horizons
    lasted = [
        (end - windows.decision_ns)[valid] - config.labels.latency_ns for end, valid in zip(windows.end_ns, windows.valid, strict=True)
    ]
    return tuple(max(1, int(np.median(part))) for part in lasted)


def content_of(
    trained: Trained, *, metrics: dict[str, Any], data_manifest: dict[str, Any], card: str, code: Mapping[str, bytes]
) -> Content:
    """What `artifact.save` writes."""
    config, windows = trained.config, trained.windows
    primary = config.labels.primary_i
    thresholds = {
        symbol: float(np.median(windows.threshold_ticks[primary, trained.split.train[windows.symbol_i[trained.split.train] == i]]))
        for i, symbol in enumerate(windows.symbols)
    }
    return Content(
        schema=input_schema(MODEL_NAME, INPUT_NAMES, config.net.window_rows, windows.symbols, SCHEMA_HASH),
        served={
            "horizons_ns": list(horizons_ns(windows, config)),
            "primary_i": primary,
            "latency_ns": config.labels.latency_ns,
            "age_ns_max": AGE_NS_MAX,
            "threshold_ticks": thresholds,
            "bracket": asdict(config.bracket),
            "loss_frac": trained.calibration.loss_frac,
            "trained_until_ns": trained.split.test_start_ns,
        },
        config={**config.to_json(), "parameters": parameter_count(trained.nets[0]), "torch": torch.__version__, "numpy": np.__version__},
        weights=_weights(trained.nets),
        scaler=trained.scaler,
        calibration=trained.calibration,
        support=trained.support,
        golden=_golden(trained),
        metrics=metrics,
        data_manifest=data_manifest,
        card=card,
        code=code,
    )


def _weights(nets: Sequence[BookMixer]) -> dict[str, Array]:
    return {f"m{i}.{name}": p.detach().numpy().copy() for i, net in enumerate(nets) for name, p in net.named_parameters()}


def _golden(trained: Trained) -> dict[str, Array]:
    """GOLDEN_ITEMS validation windows with the network's own scores: the serving form must reproduce them."""
    rows = trained.split.valid[np.linspace(0, len(trained.split.valid) - 1, GOLDEN_ITEMS).astype(np.int64)]
    rows = np.unique(rows)
    if not len(rows):
        raise bad_input("training", "validation", "no rows", "rows to keep as golden inputs")
    return {"x": trained.windows.windows(rows), "symbol": trained.windows.symbol_i[rows], "scores": trained.scores(rows)}
