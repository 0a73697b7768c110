"""The statistics measure what they say, and most of the simulated ones lie where real books have them."""

import numpy as np
import pytest

from real_data import require_real_data
from tidemark.cli.realism import REAL_BOOKS, real_block
from tidemark.errors import InputError
from tidemark.events import LEVELS, EventBlock, empty_block
from tidemark.market import MarketConfig, simulate
from tidemark.market.statistics import STATISTICS, compare, markdown_table, statistics_of

INSIDE_FRAC = 0.8  # of the statistics: eight of ten
SECOND_NS = 1_000_000_000


def flat_block(seconds: int = 120) -> EventBlock:
    """One row a second, a one-tick spread, ten contracts a level, the mid a tick up every tenth row."""
    block = empty_block(("ES",), seconds)
    block.event_ts_ns[:] = np.arange(seconds) * SECOND_NS
    block.seq[:] = np.arange(1, seconds + 1)
    best = 100 + np.arange(seconds) // 10
    block.px_ticks[:, :LEVELS] = best[:, None] - np.arange(LEVELS)
    block.px_ticks[:, LEVELS:] = best[:, None] + 1 + np.arange(LEVELS)
    block.qty[:] = 10
    return block


def test_statistics_of_a_book_known_by_construction() -> None:
    """Figures that can be worked out by hand."""
    figures = statistics_of(flat_block())
    assert figures["spread_mean"] == 1.0
    assert figures["spread_one_frac"] == 1.0
    assert figures["best_dispersion"] == 0.0
    assert figures["depth_ratio"] == 10.0
    assert figures["depth_slope"] == pytest.approx(1.0)
    assert figures["events_per_s"] == pytest.approx(120 / 119)
    assert figures["move_rate"] == pytest.approx(11 / 119)
    assert figures["move_size"] == 1.0
    assert figures["flow_impact"] == pytest.approx(1.0)  # each move brings 20 contracts of flow, nothing else does
    assert np.isnan(figures["sign_memory"])


def test_a_book_too_short_to_judge_is_refused() -> None:
    """A minute at least; a figure from less would be noise."""
    with pytest.raises(InputError, match="at least 60 s"):
        statistics_of(flat_block(30))


def test_a_value_outside_the_real_range_is_marked() -> None:
    """The table hides no miss."""
    base = dict.fromkeys(STATISTICS, 1.0)
    real = {"a": base, "b": {**base, "kurtosis": 3.0}}
    table = markdown_table(real, {"sim": {**base, "kurtosis": 3.5}})
    assert "3.50 *" in table
    assert f"{len(STATISTICS) - 1} of {len(STATISTICS)}" in table
    assert [row.name for row in compare(list(real.values()), {**base, "kurtosis": 3.5}) if not row.inside] == ["kurtosis"]


def test_eight_of_ten_statistics_lie_inside_the_range_of_real_books() -> None:
    """For every simulated symbol, over ES, GOOG, AAPL and three Bitcoin books."""
    folder = require_real_data("l2")
    real = [statistics_of(real_block(folder, name)) for name in REAL_BOOKS]
    _, block = simulate(MarketConfig(minutes=60, seed=1)).sessions[0]
    for index, symbol in enumerate(block.symbols):
        rows = compare(real, statistics_of(block[block.symbol_i == index]))
        outside = [row.name for row in rows if not row.inside]
        assert len(outside) <= (1 - INSIDE_FRAC) * len(rows), (symbol, outside)
