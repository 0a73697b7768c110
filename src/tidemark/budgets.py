"""Latency and quality limits, each with one home. Source: the latency table of the requirements unless said."""

from tidemark.units import NS_PER_MS, NS_PER_S

FEED_NS_MAX = 100 * NS_PER_MS  # venue timestamp → hot book
SIGNAL_NS_MAX = 50 * NS_PER_MS  # features in → signal out
RISK_NS_MAX = 10 * NS_PER_MS  # risk check
ORDER_NS_MAX = 200 * NS_PER_MS  # signal → order at the broker
END_TO_END_NS_MAX = 500 * NS_PER_MS  # newest input of a decision → its order sent; older signals are refused
BOOK_AGE_NS_MAX = 500 * NS_PER_MS  # a book older than this is unusable for entries
FUTURE_NS_MAX = 2 * NS_PER_S  # an event this far ahead of its receiver's clock is refused
GRID_NS = 250 * NS_PER_MS  # step of the feature grid in event time; chosen: a few book changes of a liquid future
QUALITY_PPM_MIN = 990_000  # below: no trading
QUALITY_PPM_TARGET = 995_000  # `data check` verdict
assert FEED_NS_MAX + SIGNAL_NS_MAX + RISK_NS_MAX + ORDER_NS_MAX <= END_TO_END_NS_MAX
assert QUALITY_PPM_MIN <= QUALITY_PPM_TARGET

LEG_BUDGETS_NS: dict[str, int] = {
    "feed": FEED_NS_MAX,
    "signal": SIGNAL_NS_MAX,
    "risk": RISK_NS_MAX,
    "order": ORDER_NS_MAX,
    "end_to_end": END_TO_END_NS_MAX,
}
