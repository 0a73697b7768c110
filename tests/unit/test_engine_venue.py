"""The paper venue and the queue model, against tables worked out by hand."""

import pytest

from engine_market import FEE_MICROS, MS, Tape, config, ms_of, of, play, signal
from tidemark.engine import layout as at
from tidemark.engine.books import Books
from tidemark.engine.config import EntryStyle
from tidemark.engine.journal import Fill, OrderEvent
from tidemark.engine.layout import State
from tidemark.engine.scan import BEYOND, crossing_qty, level_qty, rest_on_depth, rest_on_trade
from tidemark.engine.venue import PaperVenue
from tidemark.events import EventBlock
from tidemark.ports import BrokerReport, CancelOrder, Command, PlaceOrder, ReplaceOrder
from tidemark.ports import ReportKind as K

BUY, SELL = 1, -1


def one_book(bid: int, ask: int, **sizes: list[int]) -> EventBlock:
    return Tape().book(0, bid, ask, **sizes).block()


class Bench:
    """A venue over one book that a test may change."""

    def __init__(self, bid: int, ask: int, **sizes: list[int]) -> None:
        self.state = State(1, [1], 0, 1)
        self.venue = PaperVenue(self.state, Books(self.state), {"AA": 0}, [FEE_MICROS], order_latency_ns=7, report_latency_ns=5)
        self.show(bid, ask, **sizes)

    def show(self, bid: int, ask: int, **sizes: list[int]) -> None:
        block = one_book(bid, ask, **sizes)
        self.state.held_px[0], self.state.held_qty[0] = block.px_ticks[0], block.qty[0]
        self.state.sym[0, at.V_OK] = at.OPEN_BOOK
        self.state.sym[0, at.V_VERSION] += 1

    def ask(self, command: Command, now_ns: int = 100) -> list[BrokerReport]:
        self.venue.send(command, now_ns)
        assert self.venue.next_ns == now_ns + 7
        reply = self.venue.serve_next()
        assert reply.due_ns == now_ns + 12
        return list(reply.reports)

    def place(self, cid: str, side: int, qty: int, price: int, *, is_ioc: bool = True, post_only: bool = False) -> list[BrokerReport]:
        return self.ask(PlaceOrder(cid, "AA", side, qty, price, is_ioc, post_only, False))

    def ahead(self, row: int = 0) -> int:
        return int(self.state.orders[row, at.O_AHEAD])


def said(reports: list[BrokerReport]) -> list[tuple[K, int, int]]:
    return [(report.kind, report.qty, report.price_ticks) for report in reports]


@pytest.mark.parametrize(
    ("side", "qty", "limit", "expected"),
    [
        (BUY, 5, 101, [(K.ACKED, 0, 0), (K.FILLED, 5, 101)]),
        (BUY, 12, 102, [(K.ACKED, 0, 0), (K.FILLED, 8, 101), (K.FILLED, 4, 102)]),
        (BUY, 99, 102, [(K.ACKED, 0, 0), (K.FILLED, 8, 101), (K.FILLED, 9, 102), (K.EXPIRED, 0, 0)]),
        (BUY, 5, 100, [(K.ACKED, 0, 0), (K.EXPIRED, 0, 0)]),
        (SELL, 6, 97, [(K.ACKED, 0, 0), (K.FILLED, 4, 100), (K.FILLED, 2, 99)]),
    ],
)
def test_a_marketable_order_walks_the_displayed_levels_up_to_its_limit(
    side: int, qty: int, limit: int, expected: list[tuple[K, int, int]]
) -> None:
    """Displayed sizes at displayed prices, level by level; what is left of an IOC expires."""
    bench = Bench(100, 101, bids=[4, 5, 6], asks=[8, 9, 10])
    assert said(bench.place("C", side, qty, limit)) == expected


def test_an_execution_carries_the_venues_time_the_fee_and_its_own_name() -> None:
    """Arrival 7 ns after the decision, report 5 ns later; the fee is per contract."""
    _, first, second = Bench(100, 101, asks=[8, 9]).place("C", BUY, 12, 102)
    assert (first.exec_id, second.exec_id) == ("C-1", "C-2")
    assert (first.venue_ts_ns, first.fee_micros, first.liquidity, first.symbol, first.side) == (107, 8 * FEE_MICROS, "taker", "AA", BUY)


def test_liquidity_that_we_took_is_not_there_a_second_time_until_a_new_book_shows_it() -> None:
    """The recorded book does not know us; without a memory, small orders would drink the same glass again and again."""
    bench = Bench(100, 101, asks=[8, 9])
    bench.place("C1", BUY, 6, 101)
    assert said(bench.place("C2", BUY, 6, 101)) == [(K.ACKED, 0, 0), (K.FILLED, 2, 101), (K.EXPIRED, 0, 0)]
    bench.show(100, 101, asks=[8, 9])
    assert said(bench.place("C3", BUY, 6, 101))[1] == (K.FILLED, 6, 101)


def test_orders_are_refused_for_reasons_a_venue_would_have() -> None:
    """Crossed or one-sided: no matching. Post-only that would trade: not posted. The same name twice: not twice."""
    bench = Bench(100, 101)
    assert bench.place("P", BUY, 1, 101, is_ioc=False, post_only=True)[0].reason == "WOULD_TRADE"
    bench.place("C", BUY, 1, 99, is_ioc=False)
    assert bench.place("C", BUY, 1, 98, is_ioc=False)[0].reason == "DUPLICATE_CID"
    bench.state.sym[0, at.V_OK] = at.UNUSABLE_BOOK
    assert bench.place("D", BUY, 1, 101)[0] == BrokerReport(K.REJECTED, "D", 107, "NO_BOOK")
    assert bench.ask(ReplaceOrder("C", 101))[0].kind is K.CHANGE_REJECTED


@pytest.mark.parametrize(
    ("side", "price", "ahead"),
    [
        (BUY, 100, 4),  # behind what is shown
        (BUY, 98, 6),
        (SELL, 103, 10),
        (BUY, 97, 0),  # beyond the last level of a book of three: nobody there
    ],
)
def test_a_resting_order_joins_behind_what_is_displayed(side: int, price: int, ahead: int) -> None:
    """First in, first out: everybody who is there stands in front."""
    bench = Bench(100, 101, bids=[4, 5, 6], asks=[8, 9, 10])
    assert said(bench.place("C", side, 3, price, is_ioc=False)) == [(K.ACKED, 0, 0)]
    assert bench.ahead() == ahead


def test_the_queue_at_a_level_that_is_not_shown_is_unknown_until_it_is() -> None:
    """Eleventh level: somebody may be there. When it comes into sight, all of it is in front of us."""
    bench = Bench(100, 101)
    bench.place("C", BUY, 3, 90, is_ioc=False)
    assert bench.ahead() == at.AHEAD_UNKNOWN
    before, after = one_book(100, 101), one_book(99, 101, bids=[100] * 9 + [70])
    rest_on_depth(bench.state.orders, 1, 0, before.px_ticks[0], before.qty[0], after.px_ticks[0], after.qty[0])
    assert bench.ahead() == 70


def test_a_cancel_takes_the_order_back_and_a_late_one_says_so() -> None:
    """What has traded cannot be cancelled; no answer would be worse than a refusal."""
    bench = Bench(100, 101)
    bench.place("C", BUY, 3, 99, is_ioc=False)
    assert bench.state.sym[0, at.RESTING] == 1
    assert said(bench.ask(CancelOrder("C"))) == [(K.CANCELLED, 0, 0)]
    assert (bench.state.sym[0, at.RESTING], bench.state.glob[at.ORDER_ROWS]) == (0, 0)
    assert bench.ask(CancelOrder("C"))[0].reason == "NOT_WORKING"


def test_a_replaced_order_trades_at_once_where_it_can_and_the_rest_stays() -> None:
    """One message instead of cancel and new order: at no time are there two of it. It keeps what it has filled."""
    bench = Bench(100, 101, bids=[4, 5])
    bench.place("T", SELL, 12, 105, is_ioc=False)
    replies = bench.ask(ReplaceOrder("T", 99))
    assert said(replies) == [(K.REPLACED, 0, 99), (K.FILLED, 4, 100), (K.FILLED, 5, 99)]
    row = bench.state.orders[0]
    assert (row[at.O_PRICE], row[at.O_LEAVES], row[at.O_TAKEN]) == (99, 3, 9)


def queue(ahead: int, *, qty: int = 10, price: int = 100, side: int = BUY) -> State:
    state = State(1, [1], 0, 1)
    state.orders[0, [at.O_ACTIVE, at.O_SIDE, at.O_PRICE, at.O_LEAVES, at.O_AHEAD]] = [1, side, price, qty, ahead]
    return state


def figures(state: State) -> tuple[int, int, int]:
    """(ahead, leaves, filled)"""
    row = state.orders[0].tolist()
    return row[at.O_AHEAD], row[at.O_LEAVES], row[at.O_FILL]


def test_a_queue_is_worked_off_by_trades_in_front_and_by_cancels_pro_rata() -> None:
    """Our 10 stand behind 50. The displayed size at our price, prints there, and what must be in front of us after each."""
    state, shown = queue(50), 50

    def book(size: int) -> tuple[int, int, int]:
        nonlocal shown
        old, new = one_book(100, 101, bids=[shown, 9]), one_book(100, 101, bids=[size, 9])
        rest_on_depth(state.orders, 1, 0, old.px_ticks[0], old.qty[0], new.px_ticks[0], new.qty[0])
        shown = size
        return figures(state)

    rest_on_trade(state.orders, 1, 0, 100, 20, SELL)
    assert figures(state) == (30, 10, 0)  # 20 of the 50 in front have traded
    assert book(30) == (30, 10, 0)  # the book shows that trade; nobody has cancelled
    assert book(20) == (20, 10, 0)  # all 30 were in front of us: 10 cancelled, 20 left
    assert book(60) == (20, 10, 0)  # 40 joined, behind us
    assert book(30) == (10, 10, 0)  # 30 of 60 cancelled, a third of the 60 was in front: 20 - 30 x 20 / 60
    rest_on_trade(state.orders, 1, 0, 100, 5, BUY)
    assert figures(state) == (10, 10, 0)  # a buyer does not trade with bids
    rest_on_trade(state.orders, 1, 0, 100, 14, SELL)
    assert figures(state) == (0, 6, 4)  # 10 in front, then 4 of ours
    rest_on_trade(state.orders, 1, 0, 100, 2, 0)
    assert figures(state) == (0, 4, 6)  # an aggressor nobody knows may be a seller


@pytest.mark.parametrize(
    ("side", "price", "print_ticks", "qty", "expected"),
    [
        (BUY, 100, 99, 7, (0, 3, 7)),  # traded through us: we were first
        (BUY, 100, 99, 70, (0, 0, 10)),  # never more than we asked for
        (BUY, 100, 101, 70, (50, 10, 0)),  # somebody paid more elsewhere
        (SELL, 100, 101, 7, (0, 3, 7)),
        (SELL, 100, 99, 7, (50, 10, 0)),
    ],
)
def test_a_print_through_our_price_fills_us_up_to_its_size(
    side: int, price: int, print_ticks: int, qty: int, expected: tuple[int, int, int]
) -> None:
    """Price priority: nobody trades beyond us before us. But not more than somebody really traded."""
    state = queue(50, side=side, price=price)
    rest_on_trade(state.orders, 1, 0, print_ticks, qty, -side)
    assert figures(state) == expected


def test_a_book_that_crosses_us_fills_us_once_by_what_it_displays() -> None:
    """Offers at or below our bid would have traded with it; the same display a moment later is not another offer."""
    state = queue(50)
    books = [one_book(98, 99, asks=sizes) for sizes in ([3, 1, 9], [3, 1, 9], [6, 1, 9])]
    after = [(0, 6, 4), (0, 6, 4), (0, 3, 7)]
    before = one_book(100, 101)
    for book, expected in zip(books, after, strict=True):
        rest_on_depth(state.orders, 1, 0, before.px_ticks[0], before.qty[0], book.px_ticks[0], book.qty[0])
        assert figures(state) == expected
        before = book


def test_displayed_sizes_are_read_level_by_level() -> None:
    """Present, absent between levels, beyond the last of ten, beyond the last of a short side."""
    full, short = one_book(100, 102, bids=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), one_book(100, 102, asks=[7, 8])
    assert [level_qty(full.px_ticks[0], full.qty[0], BUY, price) for price in (101, 100, 91, 90)] == [0, 1, 10, BEYOND]
    assert [level_qty(short.px_ticks[0], short.qty[0], SELL, price) for price in (101, 102, 103, 104)] == [0, 7, 8, 0]
    assert [crossing_qty(short.px_ticks[0], short.qty[0], BUY, price) for price in (101, 102, 103, 999)] == [0, 7, 15, 15]


def test_an_order_meets_the_book_that_stands_when_it_arrives() -> None:
    """Seen at 5 ms, sent at once, there at 15: the book of 12 ms has moved, the one of 16 comes too late to matter."""
    tape = Tape().book(0, 1000, 1001).book(12, 1001, 1002).book(16, 990, 991).book(60, 990, 991)
    fill = of(play(tape, signal("s", BUY, 0), delay_ms=5), Fill)[0]
    assert (fill.price_ticks, ms_of(fill.exec_ts_ns), ms_of(fill.ts_ns)) == (1002, 15, 25)


def test_at_the_same_instant_the_market_moves_before_our_order_arrives() -> None:
    """A tie is decided against us."""
    tape = Tape().book(0, 1000, 1001).book(15, 1001, 1002).book(60, 1001, 1002)
    assert of(play(tape, signal("s", BUY, 0), delay_ms=5), Fill)[0].price_ticks == 1002


def test_our_report_does_not_come_before_what_we_have_already_seen() -> None:
    """With a slow feed our clock is ahead of the report's due time; it is then handled now, not in the past."""
    tape = Tape(lag_ns=200 * MS).book(0, 1000, 1001).book(50, 1000, 1001).book(100, 1000, 1001).book(300, 1000, 1001)
    fill = of(play(tape, signal("s", BUY, 0), delay_ms=205), Fill)[0]
    assert ms_of(fill.exec_ts_ns) == 215
    assert ms_of(fill.ts_ns) == 300  # due at 225; but the book of 100 ms, which the venue's clock needed, was seen at 300


def test_what_an_order_does_not_get_expires_and_what_it_gets_is_protected() -> None:
    """The book thins out on the way: 3 + 4 + 5 of 20 within the collar; the bracket is for 12."""
    tape = Tape().book(0, 1000, 1001).book(10, 1000, 1001, asks=[3, 4, 5, 50]).book(60, 1000, 1001).book(200, 1000, 1001)
    records = play(tape, signal("s", BUY, 0), delay_ms=5)
    entry = [record for record in of(records, OrderEvent) if record.leg == "entry"]
    assert [(record.state, record.cum_qty) for record in entry] == [
        ("INTENT", 0), ("SENT", 0), ("WORKING", 0), ("PARTIAL", 3), ("PARTIAL", 7), ("PARTIAL", 12), ("EXPIRED", 12),
    ]  # fmt: skip
    target = next(record for record in of(records, OrderEvent) if record.leg == "target")
    assert (target.qty, target.price_ticks) == (12, 1003 + 5)  # the average, 1002.17, rounded up


def test_a_passive_entry_waits_in_the_queue_and_pays_no_spread() -> None:
    """Joins behind 100 at the bid; 108 trade there: eight of ours, at our price, as maker."""
    tape = Tape().book(0, 1000, 1001).book(30, 1000, 1001).trade(40, 1000, 108, SELL).book(50, 1000, 1001).book(5_200, 1000, 1001)
    records = play(tape, signal("s", BUY, 0), settings=config(entry=EntryStyle.PASSIVE), delay_ms=5)
    fill = of(records, Fill)[0]
    assert (fill.qty, fill.price_ticks, fill.liquidity, ms_of(fill.exec_ts_ns)) == (8, 1000, "maker", 40)
