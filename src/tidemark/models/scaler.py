"""Robust scaling of the inputs, one table per symbol, fitted on training rows only.

z = (x - median) / (1.4826 MAD), clipped to +-8. Medians and MADs are taken over the rows and their mirror images, so
scaling and mirroring commute. A column that hardly varies (MAD 0: most prices of a dense book) falls back to its
standard deviation, and to 1 where it never varies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemark.errors import bad_input

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

CLIP = np.float32(8.0)
MAD_TO_SD = 1.4826
SCALE_MIN = 1e-6


@dataclass(frozen=True, slots=True)
class Scaler:
    """Centres and scales per symbol. Shapes: both (symbols, columns), float32."""

    symbols: tuple[str, ...]
    center: F32
    scale: F32

    def transform(self, x: F32, symbol_i: int) -> F32:
        """Scaled copy of one symbol's rows, (..., columns)."""
        z = (x - self.center[symbol_i]) / self.scale[symbol_i]
        np.clip(z, -CLIP, CLIP, out=z)
        return np.asarray(z, np.float32)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain form, with the columns named."""
        table = {
            symbol: {"center": self.center[i].astype(float).tolist(), "scale": self.scale[i].astype(float).tolist()}
            for i, symbol in enumerate(self.symbols)
        }
        return {"names": list(names), "clip": float(CLIP), "symbols": table}

    @classmethod
    def from_json(cls, spec: Mapping[str, Any], names: Sequence[str], source: str = "scaler.json") -> "Scaler":
        """Inverse of `to_json`. Raises InputError when a name, a width or a number is not as it must be."""
        if list(spec.get("names", ())) != list(names) or spec.get("clip") != float(CLIP) or not isinstance(spec.get("symbols"), dict):
            raise bad_input(
                source, "names", spec.get("names"), "the schema's columns in their order", "this scaler belongs to another model"
            )
        symbols = tuple(spec["symbols"])
        try:
            center = np.array([spec["symbols"][symbol]["center"] for symbol in symbols], np.float32)
            scale = np.array([spec["symbols"][symbol]["scale"] for symbol in symbols], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise bad_input(source, "symbols", str(error), "center and scale per symbol") from error
        good = center.shape == scale.shape == (len(symbols), len(names)) and np.isfinite(center).all()
        if not good or not np.isfinite(scale).all() or (scale <= 0).any():
            raise bad_input(source, "symbols", str(center.shape), f"finite centers and positive scales, {len(names)} per symbol")
        return cls(symbols, center, scale)


def fit_scaler(rows_by_symbol: Mapping[str, F32], order: I64, sign: F32) -> Scaler:
    """Scaler of each symbol's training rows (n, columns); `order` and `sign` are the mirror (`models.mirror`).

    Raises InputError for a symbol without rows.
    """
    centers, scales = [], []
    for symbol, rows in rows_by_symbol.items():
        if not len(rows):
            raise bad_input("training", "rows", f"none of {symbol}", "at least one training row per symbol")
        both = np.concatenate([rows, rows[:, order] * sign])
        center = np.median(both, axis=0)
        scale = MAD_TO_SD * np.median(np.abs(both - center), axis=0)
        spread = both.std(axis=0, dtype=np.float64)
        scale = np.where(scale > SCALE_MIN, scale, np.where(spread > SCALE_MIN, spread, 1.0))
        centers.append(center)
        scales.append(np.maximum(scale, scale[order]))  # sums in another order differ in the last bit; a mirror must not
    return Scaler(tuple(rows_by_symbol), np.array(centers, np.float32), np.array(scales, np.float32))
