"""The null market offers nothing to predict: whatever is observed, the sign of the coming mid move is a fair coin."""

import numpy as np
import pytest

from tidemark.events import LEVELS, EventBlock
from tidemark.market import MarketConfig, SimulatedMarket, describe_rule, future_moves, oracle_signal, simulate
from tidemark.market.statistics import order_flow

T_MAX = 4.2  # of about 50 statistics a test: chance of one beyond it is 0.1 %, and the seeds are fixed
SEEDS = (1, 2, 3)


def t_statistic(predictor: np.ndarray, outcome: np.ndarray) -> float:
    """Of E[predictor x outcome] = 0, robust to changing variance. `outcome` must be a martingale difference."""
    product = predictor * outcome
    norm = np.sqrt((product**2).sum())
    return float(product.sum() / norm) if norm > 0 else 0.0


def books(block: EventBlock, index: int) -> EventBlock:
    return block[(block.symbol_i == index) & (block.kind == 0)]


def move_signs(block: EventBlock, index: int) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Sign of every mid move of one symbol, what its previous depth row showed, and the time of the move."""
    rows = books(block, index)
    bid, ask = rows.px_ticks[:, 0], rows.px_ticks[:, LEVELS]
    bid_qty, ask_qty = rows.qty[:, 0].astype(float), rows.qty[:, LEVELS].astype(float)
    mid2 = bid + ask
    steps = np.diff(mid2)
    flow = np.concatenate(([0.0], order_flow(bid, ask, bid_qty, ask_qty)))
    cumulated = np.cumsum(flow)
    at = np.flatnonzero(steps) + 1
    before = at - 1
    previous = np.concatenate(([0.0], np.sign(steps[at - 1])[:-1]))
    deep = rows.qty[:, 1:LEVELS].sum(axis=1) - rows.qty[:, LEVELS + 1 :].sum(axis=1)
    seen = {
        "imbalance": ((bid_qty - ask_qty) / (bid_qty + ask_qty))[before],
        "deep imbalance": np.sign(deep[before]),
        "last flow": np.sign(flow[before]),
        "flow of 50 rows": np.sign(cumulated[before] - cumulated[np.maximum(before - 50, 0)]),
        "last move": previous,
        "move of 50 rows": np.sign(mid2[before] - mid2[np.maximum(before - 50, 0)]),
        "last move at a wide spread": previous * ((ask - bid)[before] > 1),
    }
    return np.sign(steps[at - 1]).astype(float), seen, rows.event_ts_ns[at]


@pytest.fixture(scope="module")
def null_markets() -> list[SimulatedMarket]:
    return [simulate(MarketConfig(minutes=60, seed=seed)) for seed in SEEDS]


def test_the_previous_book_does_not_tell_the_sign_of_the_next_move(null_markets: list[SimulatedMarket]) -> None:
    """Imbalance, flow and past moves lead real prices; here they must not, or a 'null' result would be a wrong one."""
    for index, symbol in enumerate(null_markets[0].symbols):
        parts = [move_signs(market.sessions[0][1], index) for market in null_markets]
        signs = np.concatenate([part[0] for part in parts])
        assert len(signs) > 3_000, symbol
        for name in parts[0][1]:
            seen = np.concatenate([part[1][name] for part in parts])
            assert abs(t_statistic(seen, signs)) < T_MAX, (symbol, name)


def test_no_symbol_leads_another(null_markets: list[SimulatedMarket]) -> None:
    """Common moves come at one instant for all: a move elsewhere before that instant says nothing, or correlation would be a lead."""
    for market in null_markets[:2]:
        block = market.sessions[0][1]
        for index, symbol in enumerate(market.symbols):
            signs, _, times = move_signs(block, index)
            for other, leader in enumerate(market.symbols):
                if other == index:
                    continue
                rows = books(block, other)
                mid2 = rows.px_ticks[:, 0] + rows.px_ticks[:, LEVELS]
                before = np.searchsorted(rows.event_ts_ns, times, side="left") - 1
                for lag_ms in (5, 100, 2_000):
                    since = np.searchsorted(rows.event_ts_ns, times - lag_ms * 1_000_000, side="left") - 1
                    led = np.sign(mid2[np.maximum(before, 0)] - mid2[np.maximum(since, 0)])
                    assert abs(t_statistic(led, signs)) < T_MAX, (symbol, leader, lag_ms)


def test_the_planted_rule_finds_nothing_in_the_null_market(null_markets: list[SimulatedMarket]) -> None:
    """The oracle's forecast, the one that works in the planted market, is uncorrelated with 10 s moves."""
    for symbol in null_markets[0].symbols:
        forecasts, moves = [], []
        for market in null_markets:
            rows = oracle_signal(market.sessions[0][1], market.instruments, describe_rule(market.symbols))[symbol]
            future = future_moves(rows, 10)
            apart = np.flatnonzero(np.diff(rows.grid_ts_ns // 10_000_000_000)) + 1  # windows that do not overlap
            apart = apart[np.isfinite(future[apart])]
            forecasts.append(rows.move_ticks[apart, 1])
            moves.append(future[apart])
        assert abs(t_statistic(np.concatenate(forecasts), np.concatenate(moves))) < T_MAX, symbol


def test_volatility_may_be_foreseen(null_markets: list[SimulatedMarket]) -> None:
    """Null means no edge in direction, not a dead market: calm and busy times follow each other as in real ones."""
    rows = books(null_markets[0].sessions[0][1], 0)
    mid2 = rows.px_ticks[:, 0] + rows.px_ticks[:, LEVELS]
    second = (rows.event_ts_ns - rows.event_ts_ns[0]) // 10_000_000_000
    last = np.flatnonzero(np.diff(second))
    size = np.minimum(np.abs(np.diff(mid2[last])), 60)
    assert np.corrcoef(size[:-1], size[1:])[0, 1] > 0.1


def test_these_checks_would_notice_the_planted_edge() -> None:
    """The same statistics on the planted market break the bound, so the bound means something."""
    block = simulate(MarketConfig(market="planted", minutes=60, seed=1)).sessions[0][1]
    signs, seen, _ = move_signs(block, 0)
    assert abs(t_statistic(seen["last move"], signs)) > T_MAX
