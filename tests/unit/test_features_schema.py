"""The schema hash says which definition a number was computed by: it changes with every definition and parameter, and with nothing else."""

from dataclasses import replace

import pytest

from tidemark.errors import InputError
from tidemark.features import catalogue
from tidemark.features.catalogue import COUNT, FEATURES, NAMES, SCHEMA_HASH, definition, hash_definition
from tidemark.features.params import DEFAULT_PARAMS, FeatureParams
from tidemark.features.prior import EQUAL_LOADINGS, PRIOR_MICRO_TABLE


def hash_now() -> str:
    return hash_definition(definition(DEFAULT_PARAMS.to_dict()))


def test_the_default_parameters_have_the_published_hash() -> None:
    """`SCHEMA_HASH` is what messages carry before anything is fitted."""
    assert DEFAULT_PARAMS.schema_hash == SCHEMA_HASH == hash_now()
    assert len(NAMES) == len(set(NAMES)) == COUNT


@pytest.mark.parametrize("field", ["name", "unit", "formula", "source"])
@pytest.mark.parametrize("position", [0, COUNT - 1])
def test_any_changed_field_of_any_feature_changes_the_hash(field: str, position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A formula that was edited is another feature, even under the old name."""
    changed = list(FEATURES)
    changed[position] = replace(changed[position], **{field: "other"})
    monkeypatch.setattr(catalogue, "FEATURES", tuple(changed))
    assert hash_now() != SCHEMA_HASH


def test_order_and_number_of_columns_are_part_of_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model reads columns by position."""
    seen = {SCHEMA_HASH}
    for other in (FEATURES[::-1], FEATURES[:-1], (*FEATURES[1:], FEATURES[0])):
        monkeypatch.setattr(catalogue, "FEATURES", other)
        seen.add(hash_now())
    assert len(seen) == 4


@pytest.mark.parametrize("name", ["KERNEL_VERSION", "GRID_NS", "SLOTS", "SILENCE_NS"])
def test_the_constants_behind_the_values_are_part_of_the_hash(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same formula over another grid or window is another number."""
    monkeypatch.setattr(catalogue, name, getattr(catalogue, name) + 1)
    assert hash_now() != SCHEMA_HASH


def test_every_fitted_number_is_part_of_the_hash() -> None:
    """The smallest change of one table cell or one loading."""
    table = [list(row) for row in PRIOR_MICRO_TABLE]
    table[4][1] += 1e-12
    loadings = (EQUAL_LOADINGS[0] + 1e-10, *EQUAL_LOADINGS[1:])
    hashes = {p.schema_hash for p in (DEFAULT_PARAMS, FeatureParams(tuple(map(tuple, table))), FeatureParams(iofi_loadings=loadings))}
    assert len(hashes) == 3


def test_parameters_survive_json() -> None:
    """They travel inside a model bundle and must come back with every digit."""
    params = FeatureParams(iofi_loadings=(0.1 + 2e-17, 0.2, -0.3, 0.4, *[0.0] * 6))
    again = FeatureParams.from_dict(params.to_dict())
    assert again == params
    assert again.schema_hash == params.schema_hash


@pytest.mark.parametrize(
    "change",
    [
        {"micro_table": PRIOR_MICRO_TABLE[:9]},
        {"micro_table": ((float("nan"), 0.0, 0.0), *PRIOR_MICRO_TABLE[1:])},
        {"iofi_loadings": EQUAL_LOADINGS[:9]},
        {"iofi_loadings": (0.5, *EQUAL_LOADINGS[1:])},
    ],
)
def test_parameters_that_no_fit_can_give_are_refused(change: dict[str, object]) -> None:
    """Shapes, finite numbers, and loadings whose absolute values sum to 1."""
    with pytest.raises(InputError):
        FeatureParams(**change)  # type: ignore[arg-type]
