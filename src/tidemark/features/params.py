"""What a feature set has learnt from training data: the micro-price table and the loadings of integrated order flow.

Both are fitted inside a fold, are part of the schema hash, and travel with the weights of every model trained on them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from tidemark.errors import bad_input
from tidemark.events import LEVELS
from tidemark.features.arith import F64, TABLE_ENTRIES, arith_tables
from tidemark.features.catalogue import definition, hash_definition
from tidemark.features.prior import EQUAL_LOADINGS, MICRO_BUCKETS, MICRO_SPREADS, PRIOR_MICRO_TABLE

MICRO_AT: Final = TABLE_ENTRIES
LOADINGS_AT: Final = MICRO_AT + MICRO_BUCKETS * MICRO_SPREADS
CONSTANTS: Final = LOADINGS_AT + LEVELS


@dataclass(frozen=True)
class FeatureParams:
    """Fitted numbers of the feature kernels.

    micro_table   (10, 3): ticks to add to the mid, by bucket of qb_0/(qb_0 + qa_0) and spread of 1, 2, >= 3 ticks
    iofi_loadings (10,): weight of each level's order flow, absolute values sum to 1
    """

    micro_table: tuple[tuple[float, ...], ...] = PRIOR_MICRO_TABLE
    iofi_loadings: tuple[float, ...] = EQUAL_LOADINGS

    def __post_init__(self) -> None:
        table, loadings = self.micro_table, self.iofi_loadings
        if len(table) != MICRO_BUCKETS or any(len(row) != MICRO_SPREADS for row in table):
            raise bad_input("feature params", "micro_table", f"{len(table)} rows", f"{MICRO_BUCKETS} rows of {MICRO_SPREADS}")
        if len(loadings) != LEVELS:
            raise bad_input("feature params", "iofi_loadings", f"{len(loadings)} values", f"{LEVELS} values")
        for value in (*(cell for row in table for cell in row), *loadings):
            if not math.isfinite(value):
                raise bad_input("feature params", "micro_table or iofi_loadings", value, "finite numbers")
        if abs(sum(map(abs, loadings)) - 1) > 1e-9:
            raise bad_input("feature params", "iofi_loadings", sum(map(abs, loadings)), "absolute values that sum to 1")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; floats keep every digit."""
        return {"micro_table": [list(row) for row in self.micro_table], "iofi_loadings": list(self.iofi_loadings)}

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> "FeatureParams":
        """Inverse of `to_dict`. Raises InputError naming the field."""
        if set(spec) != {"micro_table", "iofi_loadings"}:
            raise bad_input("feature params", "keys", sorted(spec), "micro_table and iofi_loadings")
        try:
            table = tuple(tuple(float(cell) for cell in row) for row in spec["micro_table"])
            loadings = tuple(float(value) for value in spec["iofi_loadings"])
        except (TypeError, ValueError):
            raise bad_input("feature params", "micro_table or iofi_loadings", spec, "lists of numbers") from None
        return cls(table, loadings)

    @cached_property
    def schema_hash(self) -> str:
        """sha256 that every data set, weight file and request built on these features carries."""
        return hash_definition(definition(self.to_dict()))

    def constants(self) -> F64:
        """All numbers that the kernels look up, in one array (CONSTANTS,): arithmetic tables, micro-price table, loadings."""
        return np.concatenate((arith_tables(), np.ravel(self.micro_table), self.iofi_loadings))


DEFAULT_PARAMS: Final = FeatureParams()
"""Before anything is fitted; its `schema_hash` is `catalogue.SCHEMA_HASH`."""
