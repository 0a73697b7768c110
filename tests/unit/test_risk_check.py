"""`tidemark risk check`: the same rules, over two files and with an exit code."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tidemark.cli.main import run as run_command
from tidemark.risk.check import nearest_tick
from tidemark.risk.limits import Rule

USD = 1_000_000
NOW = 1_700_000_000_000_000_000
STATE: dict[str, Any] = {
    "now_ns": NOW,
    "account": {
        "stage": "paper",
        "is_halted": False,
        "equity_micros": 100_000 * USD,
        "position_qty": 0,
        "live_buy_qty": 0,
        "live_sell_qty": 0,
        "position_exposure_micros": 0,
        "group_exposure_micros": 0,
        "total_exposure_micros": 0,
        "day_start_micros": 100_000 * USD,
        "month_start_micros": 100_000 * USD,
        "quarter_start_micros": 100_000 * USD,
        "day_loss_micros": 0,
        "month_loss_micros": 0,
        "quarter_loss_micros": 0,
    },
    "market": {
        "is_open": True,
        "is_quarantined": False,
        "is_usable": True,
        "bid_ticks": 20_000,
        "ask_ticks": 20_001,
        "book_ts_ns": NOW,
        "defect_ppm": 0,
    },
}
ORDER: dict[str, Any] = {"symbol": "ES", "side": "buy", "qty": 2, "price": "5000.25", "tier": "TIER3", "stop_ticks": 10, "input_ts_ns": NOW}


def check(tmp_path: Path, order: Any = None, state: Any = None, *options: str) -> int:
    texts = [json.dumps(value) if not isinstance(value, str) else value for value in (state or STATE, order or ORDER)]
    (tmp_path / "state.json").write_text(texts[0])
    (tmp_path / "order.json").write_text(texts[1])
    return run_command(["risk", "check", "--state", str(tmp_path / "state.json"), "--order", str(tmp_path / "order.json"), *options])


def test_an_order_that_may_go_prints_every_rule_with_figure_and_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2 ES with a stop of 10 ticks: 2 x (11 x 12.50 + 4.80) = 284.60 dollars of 1,000."""
    assert check(tmp_path, None, None, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["passed"] is True
    assert [entry["rule"] for entry in printed["rules"]] == [rule for rule in Rule if rule is not Rule.REDUCE_ONLY]
    risk = next(entry for entry in printed["rules"] if entry["rule"] == "TRADE_RISK")
    assert (risk["figure"], risk["limit"], risk["unit"]) == (284_600_000, 1_000 * USD, "micros")


def test_an_order_that_may_not_go_ends_with_1_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """8 contracts are 1,138 dollars; the price is off the tick by 0.05."""
    assert check(tmp_path, {**ORDER, "qty": 8, "price": "5000.30"}) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("REFUSED")]
    assert [line.split()[1] for line in lines] == ["PRICE_OFF_TICK", "TRADE_RISK"]
    assert "50000000 of at most" in lines[0]


def test_what_is_not_known_is_shown_as_unknown_and_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No book, no order."""
    state = {**STATE, "market": {**STATE["market"], "ask_ticks": None}}
    assert check(tmp_path, None, state) == 1
    assert "unknown of at most" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("order", "state", "named"),
    [
        ({**ORDER, "qty": 2.5}, None, "qty"),
        ({**ORDER, "qty": "2"}, None, "qty"),
        ({**ORDER, "qty": True}, None, "qty"),
        ({**ORDER, "quantity": 2}, None, "quantity"),
        ({**ORDER, "side": "long"}, None, "side"),
        ({**ORDER, "price": "NaN"}, None, "price"),
        ({**ORDER, "price": 5000.25}, None, "price"),
        ({**ORDER, "stop_ticks": 0}, None, "stop_ticks"),
        ({**ORDER, "symbol": "XX"}, None, "symbol"),
        ({name: value for name, value in ORDER.items() if name != "tier"}, None, "tier"),
        ("{", None, "order.json"),
        ("[]", None, "order.json"),
        (None, {**STATE, "limits": {"day_loss_bps_max": 0}}, "day_loss_bps_max"),
        (None, {**STATE, "account": {}}, "stage"),
        (None, '{"now_ns": NaN}', "state.json"),
    ],
)
def test_files_that_make_no_sense_end_with_2_and_name_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], order: Any, state: Any, named: str
) -> None:
    """Refused as input, which is not the same as refused as a risk."""
    assert check(tmp_path, order, state) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert named in error


def test_a_missing_file_ends_with_2(tmp_path: Path) -> None:
    """And not with a traceback."""
    assert run_command(["risk", "check", "--state", str(tmp_path / "no.json"), "--order", str(tmp_path / "no.json")]) == 2


@pytest.mark.parametrize(
    ("price", "tick", "expected"),
    [
        ("110.609375", "1/64", (7_079, 0)),
        ("5000.30", "1/4", (20_001, 50_000_000)),
        ("-0.1", "1/4", (-1, 150_000_000)),
        ("0.2500000000001", "1/4", (1, 1)),
    ],
)
def test_distance_from_the_tick_grid_is_exact_and_never_rounds_to_nothing(price: str, tick: str, expected: tuple[int, int]) -> None:
    """A price that is off by less than a billionth is off."""
    assert nearest_tick(Decimal(price), Fraction(tick)) == expected
