"""What the page is told: bounded, whole on every connect, and unmoved by messages that are not ours."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.dashboard import hub as hub_module
from tidemark.dashboard.hub import CLIENTS_MAX, Hub
from tidemark.dashboard.state import FILLS_MAX, LOG_MAX, MESSAGE_BYTES_MAX, POINTS_MAX, SYMBOLS_MAX, Line, PageState


def book(symbol: str = "ES", ts_ns: int = 10**9, bid: int = 100, ask: int = 101, qty: int = 5) -> dict[str, Any]:
    return {
        "type": "book",
        "symbol": symbol,
        "tick_size": "0.25",
        "event_ts_ns": ts_ns,
        "bid_ticks": [bid],
        "bid_qty": [qty],
        "ask_ticks": [ask],
        "ask_qty": [qty],
    }


def account(ts_ns: int = 10**9, fills: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"type": "exec", "ts_ns": ts_ns, "pnl_micros": 5, "drawdown_bps": 1, "fills": fills or []}


def raw(message: object) -> bytes:
    return json.dumps(message).encode()


def test_the_snapshot_holds_the_last_of_each_kind_and_the_history() -> None:
    """A page that opens late sees what one saw that was open all the time."""
    state = PageState()
    for message in (
        book(bid=100, ask=102),
        book("NQ"),
        account(),
        {"type": "signal", "signal_id": "s1"},
        {"type": "refusal", "code": "KILL"},
    ):
        assert state.apply(raw(message)) is not None
    shown = state.snapshot()
    assert set(shown["last"]) == {"book:ES", "book:NQ", "exec", "signal", "refusal"}
    assert shown["history"]["prices"]["ES"]["values"] == [[101.0]]
    assert shown["history"]["equity"]["values"] == [[5.0, 1.0]]
    assert shown["history"]["signals"][0]["signal_id"] == "s1"
    assert shown["history"]["refusals"][0]["code"] == "KILL"


def test_parts_of_the_latency_from_several_programs_are_shown_together() -> None:
    """Each program publishes its own legs; the newest of each stays."""
    state = PageState()
    state.apply(raw({"type": "latency", "feed": {"p99": 1}, "risk": {"p99": 1}}))
    taken = state.apply(raw({"type": "latency", "risk": {"p99": 2}}))
    assert taken is not None
    assert taken[1] == {"type": "latency", "feed": {"p99": 1}, "risk": {"p99": 2}}


@pytest.mark.parametrize(
    "message",
    [b"", b"{", b"null", b"[]", b'"book"', b"\xff", b'{"type": 5}', b'{"type": "order"}', b'{"type": "book"}',
     b'{"type": "book", "symbol": 7}',
     b'{"type": "book", "symbol": ""}', raw({"type": "book", "symbol": "x" * 33}), b" " * (MESSAGE_BYTES_MAX + 1)],
)  # fmt: skip
def test_a_message_that_is_not_ours_is_counted_and_left_out(message: bytes) -> None:
    """The bus is open to every program of the machine; none may take the page down."""
    state = PageState()
    assert state.apply(message) is None
    assert (state.received, state.left_out, state.last) == (1, 1, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "symbol",
    "ts_ns",
    "event_ts_ns",
    "bid_ticks",
    "bid_qty",
    "ask_ticks",
    "ask_qty",
    "pnl_micros",
    "drawdown_bps",
    "fills",
    "refusals",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["book", "exec", "signal", "health", "latency"])}, optional=dict.fromkeys(FIELDS, JSON)
        )
    )
)
def test_no_message_of_any_shape_raises_and_the_snapshot_stays_json(messages: list[dict[str, Any]]) -> None:
    """Every field of every message may be anything."""
    state = PageState()
    for message in messages:
        state.apply(raw(message))
    json.dumps(state.snapshot())


@pytest.mark.parametrize("changes", [{"bid": -(2**63)}, {"qty": 0}])
def test_a_book_with_an_empty_side_has_no_mid(changes: dict[str, int]) -> None:
    """The price of an empty level is no price."""
    state = PageState()
    state.apply(raw(book(**changes)))
    assert state.snapshot()["history"]["prices"] == {}


def test_everything_that_is_kept_is_bounded() -> None:
    """A page may be open for a week."""
    state = PageState()
    for i in range(LOG_MAX + 50):
        state.apply(raw({"type": "signal", "signal_id": i}))
    for i in range(SYMBOLS_MAX + 10):
        state.apply(raw(book(f"S{i}")))
    for i in range(FILLS_MAX // 50 + 3):
        state.apply(raw(account(i, [{"ts_ns": 50 * i + k, "symbol": "ES", "side": 1, "qty": 1, "price": "1"} for k in range(50)])))
    history = state.snapshot()["history"]
    assert len(history["signals"]) == LOG_MAX
    assert history["signals"][-1]["signal_id"] == LOG_MAX + 49
    assert len(history["prices"]) == SYMBOLS_MAX
    assert len(history["fills"]) == FILLS_MAX


def test_a_long_line_keeps_its_whole_span_with_fewer_points() -> None:
    """The beginning of a run stays in sight; spacing doubles."""
    line = Line()
    for i in range(10 * POINTS_MAX):
        line.add(i * 250_000_000, [float(i)])
    assert POINTS_MAX // 2 <= len(line.ts_ns) <= POINTS_MAX
    assert line.ts_ns[0] == 0
    assert line.ts_ns[-1] >= (10 * POINTS_MAX - 1) * 250_000_000 - line.spacing_ns
    assert line.ts_ns == sorted(line.ts_ns)


def test_time_that_goes_back_starts_a_new_line() -> None:
    """A second run on the same bus is not drawn over the first."""
    line = Line()
    line.add(10**12, [1.0])
    line.add(5, [2.0])
    assert (line.ts_ns, line.values) == ([5], [[2.0]])


def test_a_slow_browser_gets_the_newest_book_and_every_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Books replace each other, signals add up, and the first thing sent is the whole state."""
    monkeypatch.setattr(hub_module, "FLUSH_S", 0.0)

    async def scene() -> tuple[list[Any], list[Any], bool]:
        hub = Hub()
        hub.on_snapshot({"book:ES": raw(book(bid=90))})
        stream = hub.stream()
        first = json.loads((await anext(stream)).removeprefix(b"data: "))
        for i in range(5):
            hub.on_message(raw(book(bid=100 - i, ts_ns=i)))
            hub.on_message(raw({"type": "signal", "signal_id": f"s{i}"}))
        second = json.loads((await anext(stream)).removeprefix(b"data: "))
        hub.close()
        ended = False
        async for _ in stream:
            continue
        ended = True
        return first, second, ended

    first, second, ended = asyncio.run(scene())
    assert [message["type"] for message in first] == ["state"]
    assert first[0]["last"]["book:ES"]["bid_ticks"] == [90]
    assert [message["bid_ticks"] for message in second if message["type"] == "book"] == [[96]]
    assert [message["signal_id"] for message in second if message["type"] == "signal"] == [f"s{i}" for i in range(5)]
    assert ended


def test_browsers_are_told_when_the_bus_is_lost_and_back() -> None:
    """A page that stands still must say why."""

    async def scene() -> list[list[dict[str, Any]]]:
        hub = Hub()
        stream = hub.stream()
        told = [json.loads((await anext(stream)).removeprefix(b"data: "))]
        hub.on_lost("ConnectionError")
        told.append(json.loads((await anext(stream)).removeprefix(b"data: ")))
        hub.on_snapshot({})
        told.append(json.loads((await anext(stream)).removeprefix(b"data: ")))
        return told

    _, lost, back = asyncio.run(scene())
    assert lost[0]["type"] == "bus"
    assert (lost[0]["connected"], lost[0]["error"]) == (False, "ConnectionError")
    assert back[0]["bus"]["connected"]


def test_the_number_of_open_streams_is_bounded_and_a_closed_one_frees_its_place() -> None:
    """Each costs memory; a browser that left costs nothing."""

    async def scene() -> tuple[bool, bool]:
        hub = Hub()
        streams = [hub.stream() for _ in range(CLIENTS_MAX)]
        for stream in streams:
            await anext(stream)
        full = hub.is_full
        await streams[0].aclose()  # type: ignore[attr-defined]
        return full, hub.is_full

    assert asyncio.run(scene()) == (True, False)
