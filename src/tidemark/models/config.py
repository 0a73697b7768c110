"""Everything a training run of the book model can choose, as one frozen value that is saved beside the weights.

`demo` trains in seconds on a few simulated sessions and is what the laptop's demo serves; `cpu` is the full-size form
for hours of real books; `tiny` exists for tests. They differ in figures only.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from tidemark.errors import bad_input
from tidemark.models.brackets import BracketRule
from tidemark.units import NS_PER_MS, NS_PER_S

MODEL_NAME = "lob"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConfig:
    """Shape of the network (see `mlplob`). `latents` 0 keeps every row of the window as a time step of its own."""

    window_rows: int = 96
    width: int = 32
    row_blocks: int = 1
    latents: int = 6
    mix_blocks: int = 1
    expand: int = 2
    dropout: float = 0.0
    skip_steps: int = 5  # exponential averages that the linear skip sees; 0 leaves it out


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """What is predicted. Horizons count from one latency after the decision; `events` counts depth events instead of time."""

    horizons: tuple[int, ...] = (2 * NS_PER_S, 5 * NS_PER_S, 10 * NS_PER_S)
    primary_i: int = 1
    unit: str = "ns"
    latency_ns: int = 250 * NS_PER_MS

    def __post_init__(self) -> None:
        if self.unit not in ("ns", "events"):
            raise bad_input("labels", "unit", self.unit, "ns or events")
        if not self.horizons or min(self.horizons) <= 0 or not 0 <= self.primary_i < len(self.horizons):
            raise bad_input("labels", "horizons", self.horizons, "positive horizons and the index of the primary one")
        if self.latency_ns < 0:
            raise bad_input("labels", "latency_ns", self.latency_ns, "zero or more nanoseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """The one training loop's figures (see `fit`). `segment_rows` decisions in a row share their encoded rows."""

    epochs: int = 5
    steps_min: int = 400
    patience: int = 3
    batch: int = 8
    segment_rows: int = 64
    lr: float = 4e-3
    weight_decay: float = 0.5
    warmup_frac: float = 0.1
    grad_norm_max: float = 1.0
    ema: float = 0.98
    aux_weight: float = 0.25
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LobConfig:
    """One training run. `members` networks with different seeds are averaged."""

    name: str = "demo"
    seed: int = 0
    members: int = 1
    net: NetConfig = field(default_factory=NetConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    bracket: BracketRule = field(default_factory=BracketRule)

    def to_json(self) -> dict[str, Any]:
        """Plain form, saved with the weights."""
        return asdict(self)

    @classmethod
    def from_json(cls, spec: dict[str, Any], source: str = "config.json") -> "LobConfig":
        """Inverse of `to_json`. Raises InputError naming the unknown field."""
        parts: dict[str, type[Any]] = {"net": NetConfig, "labels": LabelConfig, "fit": FitConfig, "bracket": BracketRule}
        _require_known(cls, spec, source)
        values = dict(spec)
        for name, kind in parts.items():
            if name in spec:
                _require_known(kind, spec[name], f"{source}: {name}")
                values[name] = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in spec[name].items()})
        return cls(**values)


def _require_known(kind: type[Any], spec: object, source: str) -> None:
    known = {entry.name for entry in fields(kind)}
    if not isinstance(spec, dict):
        raise bad_input(source, "value", spec, "an object")
    for key in spec:
        if key not in known:
            raise bad_input(source, str(key), spec[key], f"one of {', '.join(sorted(known))}")


DEMO = LobConfig()
TINY = LobConfig(
    name="tiny",
    net=NetConfig(window_rows=16, width=8, latents=3, skip_steps=3),
    fit=FitConfig(epochs=2, steps_min=30, segment_rows=16),
)
CPU = LobConfig(
    name="cpu",
    net=NetConfig(window_rows=100, width=40, row_blocks=1, latents=0, mix_blocks=3, expand=4),
    fit=FitConfig(epochs=20, patience=4, batch=32, segment_rows=8, lr=1e-3, threads=2),
)
CONFIGS: dict[str, LobConfig] = {config.name: config for config in (DEMO, TINY, CPU)}


def named_config(name: str, seed: int | None = None) -> LobConfig:
    """A config by name. Raises InputError that lists the names."""
    if name not in CONFIGS:
        raise bad_input("config", "name", name, f"one of {', '.join(CONFIGS)}")
    return CONFIGS[name] if seed is None else replace(CONFIGS[name], seed=seed)
