"""The planted market has exactly the edge that its manifest describes, and the oracle finds it from observable events alone."""

from bisect import bisect_right
from typing import Any

import numpy as np
import pytest

from tidemark.errors import InputError
from tidemark.events import LEVELS, EventBlock
from tidemark.instruments import INSTRUMENTS
from tidemark.market import MarketConfig, SimulatedMarket, class_probabilities, describe_rule, future_moves, oracle_signal, simulate

SECOND_NS = 1_000_000_000


@pytest.fixture(scope="module")
def planted() -> SimulatedMarket:
    return simulate(MarketConfig(market="planted", minutes=20, sessions=2, seed=5))


def log_loss(chances: np.ndarray, label: np.ndarray) -> float:
    return float(-np.log(np.clip(chances[np.arange(len(label)), label], 1e-9, 1.0)).mean())


def test_the_oracle_explains_much_of_the_next_ten_seconds(planted: SimulatedMarket) -> None:
    """Squared correlation of forecast and move: large enough that a small model can find it in a few sessions."""
    for symbol, score in planted.planted["oracle_score"].items():
        assert score["r2"] > 0.15, symbol
        assert score["sign_right_frac"] > 0.6, symbol


def test_moves_go_up_as_often_as_the_written_rule_says(planted: SimulatedMarket) -> None:
    """The manifest's formula, worked out here once more from books alone, gives the chances of the leader's moves: slope one, no bias."""
    rule = planted.planted
    signs, deltas = [], []
    for _, block in planted.sessions:
        books = block[(block.symbol_i == block.symbols.index("ES")) & (block.kind == 0)]
        steps = np.diff(books.px_ticks[:, 0] + books.px_ticks[:, LEVELS])
        at = np.flatnonzero((steps != 0) & (np.abs(steps) < 16)) + 1  # greater ones may be news, a fair coin
        delta = written_rule(books, rule)
        signs.append(np.sign(steps[at - 1]))
        deltas.append(delta[at])
    sign, delta = np.concatenate(signs), np.concatenate(deltas)
    slope = (sign * delta).sum() / (delta**2).sum()
    assert slope == pytest.approx(1.0, abs=4 / np.sqrt((delta**2).sum()))
    assert abs(delta).max() == rule["own"]
    assert np.mean(sign - delta) == pytest.approx(0.0, abs=4 / np.sqrt(len(sign)))


def written_rule(books: EventBlock, rule: dict[str, Any]) -> np.ndarray:
    """delta before each depth row of the leader, by the formula of docs/simulated-market.md."""
    flow, seen_ts, seen_flow = 0.0, [], []
    delta = np.zeros(len(books))
    unit, half_life_ns = rule["flow_unit"]["ES"], rule["flow_half_life_s"] * SECOND_NS
    rows = zip(books.event_ts_ns.tolist(), books.px_ticks.tolist(), books.qty.tolist(), strict=True)
    last: tuple[int, list[int], list[int]] | None = None
    for i, (ts, px, qty) in enumerate(rows):
        known = bisect_right(seen_ts, ts - int(rule["flow_delay_s"] * SECOND_NS))
        acting = seen_flow[known - 1] if known else 0.0
        delta[i] = rule["own"] * max(-1.0, min(1.0, acting / rule["flow_scale"]))
        if last is not None:
            ts0, px0, qty0 = last
            bid = (qty[0] if px[0] >= px0[0] else 0) - (qty0[0] if px[0] <= px0[0] else 0)
            ask = (qty[10] if px[10] <= px0[10] else 0) - (qty0[10] if px[10] >= px0[10] else 0)
            far = sum(qty0[5:10]) + sum(qty0[15:20])
            weight = 1.0 if far < rule["far_share_max"] * sum(qty0) else -rule["resilient_weight"]
            flow = flow * 0.5 ** ((ts - ts0) / half_life_ns) + weight * (bid - ask) / unit
        seen_ts.append(ts)
        seen_flow.append(flow)
        last = (ts, px, qty)
    return delta


def test_the_oracle_beats_the_base_rates_on_three_classes_net_of_spread_and_fee(planted: SimulatedMarket) -> None:
    """Down, flat, up beyond half the spread and a fee, ten seconds ahead: the label on which models are trained."""
    for symbol in ("NQ", "ES"):
        fee_ticks = INSTRUMENTS[symbol].fee_micros / INSTRUMENTS[symbol].tick_value_micros
        losses, base = [], []
        for _, block in planted.sessions:
            rows = oracle_signal(block, planted.instruments, planted.planted)[symbol]
            move = future_moves(rows, 10)
            known = np.isfinite(move)
            threshold = rows.spread_ticks / 2 + fee_ticks
            label = np.where(move > threshold, 2, np.where(move < -threshold, 0, 1))[known]
            losses.append(log_loss(class_probabilities(rows.move_ticks[:, 1], rows.sigma_ticks[:, 1], threshold)[known], label))
            share = np.bincount(label, minlength=3) / len(label)
            base.append(log_loss(np.tile(share, (len(label), 1)), label))
        assert np.mean(losses) < np.mean(base) - 0.1, symbol


def test_a_bracket_on_the_best_tenth_of_forecasts_pays_after_spread_and_fees(planted: SimulatedMarket) -> None:
    """Entry at the far side of the book 250 ms late, stop and target 8 ticks away, exit at the far side again, two fees."""
    for symbol in ("NQ", "ES"):
        spec = INSTRUMENTS[symbol]
        profits = [profit for _, block in planted.sessions for profit in bracket_profits(block, symbol, planted, 8)]
        assert len(profits) > 40, symbol
        assert np.mean(profits) - 2 * spec.fee_micros / spec.tick_value_micros > 1.0, symbol


def bracket_profits(block: EventBlock, symbol: str, market: SimulatedMarket, distance: int) -> list[int]:
    rows = oracle_signal(block, market.instruments, market.planted)[symbol]
    books = block[(block.symbol_i == block.symbols.index(symbol)) & (block.kind == 0)]
    strength = np.abs(rows.move_ticks[:, 1])
    profits = []
    for at in np.flatnonzero(strength >= np.quantile(strength, 0.9))[::6]:
        start = np.searchsorted(books.event_ts_ns, rows.grid_ts_ns[at] + SECOND_NS // 4, side="right") - 1
        buy = rows.move_ticks[at, 1] > 0
        entry = books.px_ticks[start, LEVELS] if buy else books.px_ticks[start, 0]
        worth = (books.px_ticks[start:, 0] - entry) if buy else (entry - books.px_ticks[start:, LEVELS])
        ended = np.flatnonzero(np.abs(worth) >= distance)
        if len(ended):
            profits.append(min(int(worth[ended[0]]), distance))
    return profits


def test_the_oracle_knows_nothing_of_later_events(planted: SimulatedMarket) -> None:
    """Rows from the first part of a session equal the same rows from the whole session, bit for bit."""
    _, block = planted.sessions[0]
    cut = block[: len(block) * 2 // 3]
    whole = oracle_signal(block, planted.instruments, planted.planted)
    for symbol, part in oracle_signal(cut, planted.instruments, planted.planted).items():
        count = len(part.grid_ts_ns) - 1  # the last grid row of the cut is not complete
        assert count > 1_000
        np.testing.assert_array_equal(part.move_ticks[:count], whole[symbol].move_ticks[:count])
        np.testing.assert_array_equal(part.sigma_ticks[:count], whole[symbol].sigma_ticks[:count])


def test_planted_and_null_differ_only_in_the_sign_of_moves() -> None:
    """Times, kinds of events and trades' instants are the same, so that nothing but the edge can tell the two apart."""
    null = simulate(MarketConfig(minutes=2, seed=9)).sessions[0][1]
    planted = simulate(MarketConfig(market="planted", minutes=2, seed=9)).sessions[0][1]
    depth = (null.kind == 0, planted.kind == 0)
    np.testing.assert_array_equal(null.event_ts_ns[depth[0]], planted.event_ts_ns[depth[1]])
    assert not np.array_equal(null.px_ticks[depth[0]], planted.px_ticks[depth[1]])


def test_the_leader_leads_in_the_planted_market(planted: SimulatedMarket) -> None:
    """The smaller part of the rule: without the own flow a follower is still forecast, and the leader is not."""
    only_lead = {**planted.planted, "own": 0.0}
    rows = oracle_signal(planted.sessions[0][1], planted.instruments, only_lead)
    assert np.abs(rows["NQ"].move_ticks).max() > 0
    assert np.abs(rows["ES"].move_ticks).max() == 0
    down = oracle_signal(planted.sessions[0][1], planted.instruments, {**only_lead, "beta": {s: -b for s, b in only_lead["beta"].items()}})
    np.testing.assert_array_equal(down["NQ"].move_ticks, -rows["NQ"].move_ticks)


def test_an_edgeless_manifest_and_a_strange_symbol_are_refused(planted: SimulatedMarket) -> None:
    """The null market's manifest holds no rule to score."""
    _, block = planted.sessions[0]
    with pytest.raises(InputError, match="planted: rule"):
        oracle_signal(block, planted.instruments, {})
    with pytest.raises(InputError, match="planted: symbol: got NQ"):
        oracle_signal(block, planted.instruments, describe_rule(("ES",)))


def test_class_chances_sum_to_one_and_follow_the_forecast() -> None:
    """Up is likelier than down exactly where the forecast is up."""
    move = np.array([-3.0, 0.0, 3.0])
    chances = class_probabilities(move, np.full(3, 2.0), np.full(3, 1.0))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    np.testing.assert_array_equal(np.sign(chances[:, 2] - chances[:, 0]), np.sign(move))
