"""What `simulate` promises beside prices: the same bytes again, real dates, the rates asked for, and plain refusals."""

import hashlib
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tidemark.errors import InputError
from tidemark.events import LEVELS, EventBlock, encode_block
from tidemark.market import MarketConfig, iter_sessions, planted_of, simulate
from tidemark.market.simulator import trading_days

SMALL = MarketConfig(market="planted", minutes=1, sessions=2, seed=7)
PLAIN_RUN = """
import hashlib
from tidemark.events import encode_block
from tidemark.market import MarketConfig, simulate
market = simulate(MarketConfig(market="planted", minutes=1, sessions=2, seed=7))
print(hashlib.sha256(b"".join(encode_block(block, 0) for _, block in market.sessions)).hexdigest(), market.planted["oracle_score"]["ES"])
"""


def digest(blocks: list[EventBlock]) -> str:
    return hashlib.sha256(b"".join(encode_block(block, 0) for block in blocks)).hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    """Every figure measured on simulated data can be measured again."""
    first, second = simulate(SMALL), simulate(SMALL)
    assert digest([b for _, b in first.sessions]) == digest([b for _, b in second.sessions])
    assert first.planted == second.planted
    other = simulate(MarketConfig(market="planted", minutes=1, sessions=2, seed=8))
    assert digest([b for _, b in first.sessions]) != digest([b for _, b in other.sessions])


def test_compiled_and_plain_kernels_give_the_same_bytes() -> None:
    """Without numba the market is slow, not different: books, trades and the oracle's score."""
    market = simulate(SMALL)
    environment = {**os.environ, "TIDEMARK_JIT": "off", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PLAIN_RUN], env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == f"{digest([b for _, b in market.sessions])} {market.planted['oracle_score']['ES']}"


def test_a_session_does_not_depend_on_how_many_follow() -> None:
    """Sessions derive from (seed, index): a longer market starts with the shorter one."""
    one = simulate(MarketConfig(minutes=1, sessions=1, seed=3)).sessions[0]
    three = simulate(MarketConfig(minutes=1, sessions=3, seed=3)).sessions
    assert one[0] == three[0][0]
    assert digest([one[1]]) == digest([three[0][1]])


def test_streaming_the_sessions_and_holding_them_agree() -> None:
    """The data-set writer takes one session at a time and scores the oracle in a pass of its own."""
    market = simulate(SMALL)
    assert digest([b for _, b in iter_sessions(SMALL)]) == digest([b for _, b in market.sessions])
    assert planted_of(SMALL) == market.planted
    assert simulate(MarketConfig(minutes=1)).planted == {}


def test_sessions_open_at_half_past_eight_chicago_on_full_trading_days() -> None:
    """Dates are those of the exchanges' calendar: no weekend, no holiday, no early close, daylight saving respected."""
    days = trading_days(date(2026, 1, 1), 180)
    dates = [day for day, _ in days]
    for closed in (date(2026, 1, 1), date(2026, 1, 3), date(2026, 4, 3), date(2026, 7, 3)):
        assert closed not in dates
    assert date(2026, 7, 1) in dates
    for day, open_ns in days:
        local = datetime.fromtimestamp(open_ns // 1_000_000_000, UTC).astimezone(ZoneInfo("America/Chicago"))
        assert (local.date(), local.hour, local.minute, local.second) == (day, 8, 30, 0)


def test_prices_and_rates_are_near_those_of_the_contracts() -> None:
    """Mid near the contract's price; 10 to 30 depth rows a second on the liquid symbols, and `rate` multiplies them."""
    near = {"NQ": 21_000, "ES": 6_000, "YM": 44_000, "ZN": 111, "DX": 100}
    market = simulate(MarketConfig(seed=2, sessions=6))
    half = simulate(MarketConfig(seed=2, sessions=6, rate=0.5))
    for index, (symbol, price) in enumerate(near.items()):
        counts = [sum(int(((b.symbol_i == index) & (b.kind == 0)).sum()) for _, b in m.sessions) for m in (market, half)]
        _, block = market.sessions[0]
        books = block[(block.symbol_i == index) & (block.kind == 0)]
        middle = float(np.median(books.px_ticks[:, 0] + books.px_ticks[:, LEVELS])) / 2 * float(market.instruments[symbol].tick_size)
        assert abs(middle / price - 1) < 0.02, symbol
        assert symbol not in ("NQ", "ES") or 10 < counts[0] / 3_600 < 30, symbol
        assert counts[1] / counts[0] == pytest.approx(0.5, abs=0.05), symbol


def test_index_futures_move_together_and_rates_against_them() -> None:
    """One-second moves correlate as they should: NQ, ES, YM positively, ZN against them."""
    _, block = simulate(MarketConfig(minutes=60, seed=4)).sessions[0]
    paths = {}
    edges = block.event_ts_ns[0] + np.arange(3_590) * 1_000_000_000
    for index, symbol in enumerate(block.symbols):
        books = block[(block.symbol_i == index) & (block.kind == 0)]
        mid2 = books.px_ticks[:, 0] + books.px_ticks[:, LEVELS]
        paths[symbol] = np.diff(mid2[np.searchsorted(books.event_ts_ns, edges, side="right") - 1])
    table = np.corrcoef([np.sign(path) for path in paths.values()])
    names = list(paths)
    for one, other in (("NQ", "ES"), ("NQ", "YM"), ("ES", "YM")):
        assert table[names.index(one), names.index(other)] > 0.25, (one, other)
    assert table[names.index("ES"), names.index("ZN")] < -0.03


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("market", "crash"), ("symbols", ("NQ", "AAPL")), ("symbols", ()), ("symbols", ("NQ", "NQ")), ("minutes", 0), ("minutes", 391),
        ("minutes", True), ("sessions", 0), ("seed", -1), ("seed", 1.5), ("rate", float("nan")), ("rate", 0.0),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_refused_by_name(field: str, value: object) -> None:
    """One line that names the field, not a market nobody asked for."""
    with pytest.raises(InputError, match=f"market simulation: {field}: got"):
        MarketConfig(**{field: value})  # type: ignore[arg-type]


def test_a_calendar_without_enough_days_is_refused() -> None:
    """Beyond the calendar's table no session is known, and none is invented."""
    with pytest.raises(InputError, match="first_date"):
        simulate(MarketConfig(first_date=date(2035, 12, 20), sessions=50))
