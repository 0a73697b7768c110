"""Databento-like messages, from DBN files and from tables with the same columns, as events.

Records of order-by-order data go through `order_book`; records that carry the book after the message (MBP) are taken as they are:
a trade at action T, a depth row at the last record of each event group.
"""

import numpy as np
import numpy.typing as npt

from tidemark.adapters.dataset.faults import FaultLog, Reason, RowMarks
from tidemark.adapters.dataset.order_book import ADD, AGGRESSORS, BAD_BOOK_NOTE, FLAG_LAST, FLAG_MAYBE_BAD_BOOK, MODIFY, TRADE, Messages
from tidemark.adapters.dataset.rows import Made, interleave
from tidemark.events import I8, I64
from tidemark.units import NO_PRICE

UNKNOWN = -1
"""Code of an action or side that is none of the known letters."""


def letter_codes(letters: npt.NDArray[np.uint8], known: dict[str, int]) -> I8:
    """Codes of single ASCII letters (n,); UNKNOWN for others."""
    table = np.full(256, UNKNOWN, np.int8)
    for letter, code in known.items():
        table[ord(letter)] = code
    codes: I8 = table[letters]
    return codes


def mark_words(marks: RowMarks, action: I8, side: I8) -> None:
    """Every record has a known action and side."""
    for field, codes in (("action", action), ("side", side)):
        marks.mark(field, np.where(codes == UNKNOWN, Reason.UNKNOWN_WORD, Reason.OK).astype(np.int8))


def mark_prices(marks: RowMarks, field: str, action: I8, price_ticks: I64, codes: I8) -> None:
    """A price is needed, on the grid and above zero where an order is added or changed and where one trades; elsewhere it is not used."""
    used = (action == ADD) | (action == MODIFY) | (action == TRADE)
    marks.mark(field, np.where(used, price_codes(price_ticks, codes), Reason.OK).astype(np.int8))


def price_codes(price_ticks: I64, codes: I8) -> I8:
    """Codes of a price column from those of its numbers."""
    codes = np.where(codes == Reason.OFF_GRID, Reason.OFF_TICK, codes).astype(np.int8)
    return np.where((codes == Reason.OK) & (price_ticks <= 0), Reason.NOT_POSITIVE, codes).astype(np.int8)


def snapshot_rows(messages: Messages, px_ticks: I64, sizes: I64, log: FaultLog, *, has_depth: bool) -> Made:
    """Rows of messages with the book (n, 20) after each, or, without `has_depth`, of their trades alone."""
    m = messages
    is_depth = ((m.flags & FLAG_LAST) != 0) & has_depth
    hidden = is_depth & ((m.flags & FLAG_MAYBE_BAD_BOOK) != 0)
    log.note(BAD_BOOK_NOTE, int(hidden.sum()))
    shown_px, shown_sizes = np.where(hidden[:, None], NO_PRICE, px_ticks), np.where(hidden[:, None], 0, sizes)
    return interleave(m.action == TRADE, m.price_ticks, m.qty, AGGRESSORS[m.side], is_depth, shown_px, shown_sizes)
