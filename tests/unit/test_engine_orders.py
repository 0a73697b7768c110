"""The order state machine: what may follow what, and what an order is called."""

import base64
import hashlib

import pytest

from tidemark.engine.orders import NEXT, TERMINAL, Leg, Order, OrderState, Tif, client_order_id

S = OrderState
LEGAL = {
    S.INTENT: "SENT ABANDONED UNKNOWN",
    S.SENT: "WORKING PARTIAL FILLED CANCELLED REJECTED EXPIRED PENDING_CANCEL UNKNOWN",
    S.WORKING: "PARTIAL FILLED CANCELLED REJECTED EXPIRED PENDING_CANCEL PENDING_REPLACE UNKNOWN",
    S.PARTIAL: "PARTIAL FILLED CANCELLED REJECTED EXPIRED PENDING_CANCEL PENDING_REPLACE UNKNOWN",
    S.PENDING_CANCEL: "WORKING PARTIAL FILLED CANCELLED REJECTED EXPIRED UNKNOWN",
    S.PENDING_REPLACE: "WORKING PARTIAL FILLED CANCELLED REJECTED EXPIRED PENDING_CANCEL UNKNOWN",
    S.UNKNOWN: "WORKING PARTIAL FILLED CANCELLED REJECTED EXPIRED PENDING_CANCEL ABANDONED",
    S.FILLED: "",
    S.CANCELLED: "",
    S.REJECTED: "",
    S.EXPIRED: "",
    S.ABANDONED: "",
}


def order(state: OrderState = S.WORKING, qty: int = 10, cum: int = 0) -> Order:
    made = Order(
        cid="C", symbol_i=0, side=1, qty=qty, price_ticks=5, tif=Tif.DAY, leg=Leg.ENTRY, attempt=1, signal_id="s", intent_ns=0, cum_qty=cum
    )
    made.state = state
    return made


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("step", list(S))
def test_only_the_written_steps_are_taken_and_an_illegal_one_changes_nothing(state: OrderState, step: OrderState) -> None:
    """The table is spelled out twice on purpose: a step added by accident must be seen."""
    one = order(state)
    is_legal = step.value in LEGAL[state].split()
    assert one.move(step) is is_legal
    assert one.state is (step if is_legal else state)


def test_every_state_can_still_end_and_no_terminal_state_reopens() -> None:
    """A state from which no end is reachable would hold its leaves for ever."""
    for state in S:
        reached, waiting = set(), [state]
        while waiting:
            for following in NEXT[waiting.pop()]:
                if following not in reached:
                    reached.add(following)
                    waiting.append(following)
        assert reached & TERMINAL if state not in TERMINAL else not reached


@pytest.mark.parametrize(
    ("state", "leaves"), [(S.UNKNOWN, 7), (S.PENDING_CANCEL, 7), (S.PENDING_REPLACE, 7), (S.EXPIRED, 0), (S.FILLED, 0)]
)
def test_unanswered_and_pending_orders_count_for_their_full_leaves(state: OrderState, leaves: int) -> None:
    """No definite answer is no answer: what may still fill is exposure."""
    assert order(state, qty=10, cum=3).leaves_qty == leaves


@pytest.mark.parametrize(
    ("state", "cum", "qty", "after", "is_sound"),
    [
        (S.SENT, 0, 4, S.PARTIAL, True),
        (S.WORKING, 0, 10, S.FILLED, True),
        (S.PENDING_CANCEL, 0, 4, S.PENDING_CANCEL, True),
        (S.PENDING_CANCEL, 4, 6, S.FILLED, True),
        (S.UNKNOWN, 0, 4, S.PARTIAL, True),
        (S.CANCELLED, 4, 2, S.CANCELLED, True),
        (S.WORKING, 8, 4, S.FILLED, False),
    ],
)
def test_executions_are_facts_in_any_state(state: OrderState, cum: int, qty: int, after: OrderState, is_sound: bool) -> None:
    """A late fill counts and does not reopen; an overfill is booked as truth and reported."""
    one = order(state, cum=cum)
    assert one.execute(qty) is is_sound
    assert (one.state, one.cum_qty) == (after, cum + qty)


def test_the_name_of_an_order_is_the_documented_hash_of_what_it_is_for() -> None:
    """Same inputs, same name, on every machine: the broker and the journal recognise a repeat by it."""
    expected = base64.b32encode(hashlib.blake2b(b"paper|signals|ES-1|entry|1").digest()).decode()[:20]
    assert client_order_id("paper", "signals", "ES-1", Leg.ENTRY, 1) == expected
    names = {client_order_id("paper", "signals", "ES-1", leg, attempt) for leg in Leg for attempt in range(1, 50)}
    assert len(names) == 3 * 49
