"""The leak alarm: the first model finds the planted edge, and claims none on a market without one.

Two seeds of each; all 20 by `tidemark research planted --seeds 0:20`.
"""

import pytest

from tidemark.research.planted import PlantedConfig, run_seed

SEEDS = (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_planted_edge_is_found(seed: int) -> None:
    """Better than every baseline on unseen sessions, and at least half of what the oracle that knows the rule gains."""
    result = run_seed(seed, "planted", PlantedConfig())
    assert result.beats
    assert result.oracle_frac >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_no_edge_is_claimed_where_there_is_none(seed: int) -> None:
    """A claim here would be a look into the future, or luck that our intervals should have caught."""
    assert not run_seed(seed, "null", PlantedConfig()).beats
