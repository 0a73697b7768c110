"""What a served model says about itself: everything a caller must know to ask it and to use its answers.

The signal processor holds no weights; it asks the endpoint for this once and refuses answers that disagree with it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any

from tidemark.errors import DecodeError
from tidemark.models.brackets import BracketRule

HASH_CHARS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """One model version as its callers see it.

    `schema` names the exact input (columns, order, window, symbols); `catalogue` is the feature catalogue's hash that
    its columns come from. `horizons_ns[primary_i]` is the horizon that expectations and `expected_ticks` are about.
    `threshold_ticks` per symbol is what a typical move must exceed to be one; `loss_frac` is how much of a stop a
    bracket that does not win loses on average.
    """

    model: str
    version: str
    weights_sha: str
    schema: str
    catalogue: str
    names: tuple[str, ...]
    window_rows: int
    symbols: tuple[str, ...]
    horizons_ns: tuple[int, ...]
    primary_i: int
    latency_ns: int
    age_ns_max: int
    threshold_ticks: Mapping[str, float]
    bracket: BracketRule
    loss_frac: float
    trained_until_ns: int

    @property
    def horizon_ns(self) -> int:
        """The primary horizon."""
        return self.horizons_ns[self.primary_i]

    def to_json(self) -> dict[str, Any]:
        """Plain form, as answered by an endpoint."""
        return {**asdict(self), "threshold_ticks": dict(self.threshold_ticks)}

    @classmethod
    def from_json(cls, spec: Any) -> "ModelDescription":
        """Inverse of `to_json`. Raises DecodeError naming the first field that is not as promised."""
        known = {field.name for field in fields(cls)}
        if not isinstance(spec, dict) or set(spec) != known:
            raise DecodeError("DESCRIPTION", f"expected exactly the fields {', '.join(sorted(known))}")
        for field in ("model", "version", "weights_sha", "schema", "catalogue"):
            _require(field, spec[field], isinstance(spec[field], str) and 0 < len(spec[field]) <= 128)
        for field in ("window_rows", "primary_i", "latency_ns", "age_ns_max", "trained_until_ns"):
            _require(field, spec[field], _is_count(spec[field]))
        for field in ("names", "symbols"):
            _require(field, spec[field], _is_list_of(spec[field], str))
        _require("horizons_ns", spec["horizons_ns"], _is_list_of(spec["horizons_ns"], int) and min(spec["horizons_ns"]) > 0)
        _require("primary_i", spec["primary_i"], spec["primary_i"] < len(spec["horizons_ns"]))
        _require("loss_frac", spec["loss_frac"], _is_number(spec["loss_frac"]))
        thresholds = spec["threshold_ticks"]
        _require("threshold_ticks", thresholds, isinstance(thresholds, dict) and all(_is_number(value) for value in thresholds.values()))
        try:
            bracket = BracketRule(**spec["bracket"])
        except (TypeError, ValueError) as error:
            raise DecodeError("DESCRIPTION", f"bracket: {error}") from error
        lists = {field: tuple(spec[field]) for field in ("names", "symbols", "horizons_ns")}
        return cls(**{**spec, **lists, "bracket": bracket})


def schema_id(name: str, spec: Mapping[str, Any]) -> str:
    """`name` and the first characters of the hash of an input's canonical description."""
    return f"{name}-{sha256(canonical_json(spec)).hexdigest()[:HASH_CHARS]}"


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON document that hashes are taken of; NaN has none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _require(field: str, got: object, good: bool) -> None:
    if not good:
        raise DecodeError("DESCRIPTION", f"{field}: got {str(got)[:60]}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e12


def _is_list_of(value: object, kind: type) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= 1_024
        and all(isinstance(entry, kind) and not isinstance(entry, bool) for entry in value)
    )
