"""Latency figures of the processors: what the page and the metrics file show."""

from hypothesis import given
from hypothesis import strategies as st

from tidemark.latency import SUB_BITS, Histogram
from tidemark.local.lanes import Condition, Discard, StreamRecord
from tidemark.local.poller import failure_message
from tidemark.local.resources import FunctionSpec, MappingSpec


def test_an_empty_histogram_says_nothing():
    """A figure without data is null, never 0."""
    assert Histogram().figures(50) == {"p50": None, "p99": None, "max": None, "n": 0, "budget": 50}


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_never_below_the_true_one_and_at_most_a_bucket_above(values, share):
    """A latency must not look better than it was."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = sorted(values)[max(1, -(-len(values) * int(share * 10_000) // 10_000)) - 1]
    found = histogram.quantile(share)
    assert true <= found <= true + (true >> SUB_BITS)
    assert histogram.figures()["max"] == max(values)


def test_the_on_failure_message_says_where_the_records_are():
    """Lambda's own format: metadata, not the records; a reader must be able to fetch them from the shard."""
    spec = MappingSpec("f", "s", "arn:stream", 10, 0.0, 1, 2, -1, True, True, "url", "arn:queue")
    function = FunctionSpec("f", "tidemark-dev-f", "arn:function", "arn:role", "handler.handler", {}, 3, 128)
    records = tuple(StreamRecord(i, str(i), "k", "", 1_700_000_000_123_000_000 + i * 10**9) for i in (10, 11))
    message = failure_message(Discard(records, Condition.RETRIES, 3, "ValueError: no"), spec, "shardId-000000000001", function)
    assert message["requestContext"]["functionArn"] == "arn:function"
    assert message["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert message["requestContext"]["approximateInvokeCount"] == 3
    assert message["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert message["KinesisBatchInfo"] == {
        "shardId": "shardId-000000000001",
        "startSequenceNumber": "10",
        "endSequenceNumber": "11",
        "approximateArrivalOfFirstRecord": "2023-11-14T22:13:30.123Z",
        "approximateArrivalOfLastRecord": "2023-11-14T22:13:31.123Z",
        "batchSize": 2,
        "streamArn": "arn:stream",
    }


def test_a_partial_failure_is_not_called_an_error_of_the_function():
    """The function answered; what it reported ran out of retries."""
    spec = MappingSpec("f", "s", "arn:stream", 10, 0.0, 1, 2, -1, True, True, "url", "arn:queue")
    function = FunctionSpec("f", "tidemark-dev-f", "arn:function", "arn:role", "handler.handler", {}, 3, 128)
    record = StreamRecord(1, "1", "k", "", 10**18)
    assert "functionError" not in failure_message(Discard((record,), Condition.RETRIES, 3), spec, "shard", function)["responseContext"]
    assert failure_message(Discard((record,), Condition.AGE, 0), spec, "shard", function)["responseContext"] is None
