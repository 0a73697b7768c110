"""Has the model ever seen a row like this one? A distance, and the limit that one training row in a thousand exceeded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidemark.errors import bad_input
from tidemark.models.npz import Array

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

QUANTILE = 0.999
RIDGE_FRAC = 0.05  # of the mean variance: directions that never vary must not decide
MARGIN = 1.5  # on the limit: the same market on another day is not another market. Chosen: no source


@dataclass(frozen=True, slots=True)
class Support:
    """Mahalanobis distance of a scaled row. Shapes: center (F,), factor (F, F) with factor factor' the precision."""

    center: F64
    factor: F64
    limit: float

    def distance(self, z: F32) -> float:
        """Distance of one scaled row (F,)."""
        turned = (z - self.center) @ self.factor
        return float(np.sqrt(turned @ turned))

    def arrays(self) -> dict[str, Array]:
        """Plain form."""
        return {"center": self.center, "factor": self.factor, "limit": np.array([self.limit])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], columns: int, source: str = "support.npz") -> "Support":
        """Inverse of `arrays`. Raises InputError."""
        if set(arrays) != {"center", "factor", "limit"}:
            raise bad_input(source, "arrays", ", ".join(sorted(arrays)), "center, factor, limit")
        center, factor, limit = arrays["center"], arrays["factor"], arrays["limit"]
        shapes = (center.shape, factor.shape, limit.shape)
        if shapes != ((columns,), (columns, columns), (1,)) or not all(np.isfinite(a).all() for a in (center, factor, limit)):
            raise bad_input(source, "shapes", str(shapes), f"finite arrays for {columns} columns")
        return cls(center.astype(np.float64), factor.astype(np.float64), float(limit[0]))


def fit_support(z: F32) -> Support:
    """Support of scaled training rows (n, F)."""
    rows = z.astype(np.float64)
    center = rows.mean(axis=0)
    covariance = np.cov(rows - center, rowvar=False) if len(rows) > 1 else np.eye(rows.shape[1])
    ridge = RIDGE_FRAC * max(float(np.trace(covariance)) / len(covariance), 1e-6)
    factor = np.linalg.cholesky(np.linalg.inv(covariance + ridge * np.eye(len(covariance))))
    distances = np.sqrt((((rows - center) @ factor) ** 2).sum(axis=1))
    return Support(center, factor, MARGIN * float(np.quantile(distances, QUANTILE)))
