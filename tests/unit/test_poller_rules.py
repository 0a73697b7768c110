"""Lambda's rules for Kinesis batches, each by itself: what is sent, what comes back, what is given up."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.local.lanes import (
    BACKOFF_NS_MAX,
    PAYLOAD_BYTES_MAX,
    Batch,
    Condition,
    Discard,
    Lane,
    Outcome,
    StreamRecord,
    batch_event,
    first_failure,
    lane_of,
)
from tidemark.local.resources import UNLIMITED, MappingSpec
from tidemark.units import NS_PER_S

NOW = 1_700_000_000 * NS_PER_S
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
SPEC = MappingSpec(
    function="f",
    stream="s",
    stream_arn=STREAM_ARN,
    batch_size=4,
    window_s=0.0,
    parallelization=1,
    retries=2,
    max_age_s=UNLIMITED,
    bisect=False,
    partial=True,
    on_failure=None,
    on_failure_arn=None,
)
FAILED = Outcome("ValueError: no")
DONE = Outcome(response={"batchItemFailures": []})


def record(number: int, *, arrival_ns: int = NOW, key: str = "k", data: str = "AAAA") -> StreamRecord:
    return StreamRecord(number, str(number), key, data, arrival_ns)


def lane(count: int, now_ns: int = NOW, **changes: Any) -> Lane:
    """A lane with records 1..count."""
    made = Lane(replace(SPEC, **changes))
    made.offer([record(i) for i in range(1, count + 1)], now_ns)
    return made


def numbers(batch: Batch | Discard | None) -> list[int]:
    assert batch is not None
    return [item.order for item in batch.records]


def failing_at(number: int) -> Outcome:
    return Outcome(response={"batchItemFailures": [{"itemIdentifier": str(number)}]})


class Run:
    """Drives a lane with a handler until nothing is left; the clock jumps over every wait."""

    def __init__(self, lane: Lane, answer: Any, *, steps_max: int = 10_000) -> None:
        self.calls: list[list[int]] = []
        self.discards: list[Discard] = []
        self.done: list[int] = []
        now_ns = NOW
        for _ in range(steps_max):
            batch, wait_ns, old = lane.take(now_ns, flush=True)
            self.discards += old
            if batch is None:
                if wait_ns < 0:
                    return
                now_ns += wait_ns
                continue
            sent = numbers(batch)
            self.calls.append(sent)
            settled = lane.settle(answer(sent), now_ns)
            self.done += sent[: settled.succeeded]
            self.discards += settled.discards
        raise AssertionError("the lane never came to an end")


def test_a_batch_has_at_most_the_mappings_size_and_keeps_the_streams_order():
    """The order of a shard is the only order that a function may rely on."""
    assert Run(lane(10), lambda sent: DONE).calls == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_a_window_waits_for_more_records_but_never_longer_than_it_says():
    """A window trades latency for batch size: it ends when it is over, or when the batch is full."""
    waiting = lane(3, window_s=0.5)
    batch, wait_ns, _ = waiting.take(NOW)
    assert (batch, wait_ns) == (None, NS_PER_S // 2)
    late, _, _ = waiting.take(NOW + NS_PER_S // 2)
    assert numbers(late) == [1, 2, 3]
    full, _, _ = lane(4, window_s=0.5).take(NOW)
    assert numbers(full) == [1, 2, 3, 4]


def test_without_a_window_one_record_goes_at_once():
    """Latency first: nothing waits for company."""
    batch, _, _ = lane(1).take(NOW)
    assert numbers(batch) == [1]


def test_a_batch_never_outgrows_lambdas_payload():
    """The event would be refused with more than 6 MB, whatever the batch size says."""
    heavy = Lane(replace(SPEC, batch_size=100))
    heavy.offer([record(i, data="A" * (PAYLOAD_BYTES_MAX // 3)) for i in range(1, 6)], NOW)
    assert Run(heavy, lambda sent: DONE).calls == [[1, 2], [3, 4], [5]]


def test_a_partial_answer_resumes_at_the_lowest_failed_number_compared_as_a_number():
    """As text "9" is greater than "10"; real sequence numbers have 56 digits, the laptop's few."""
    long = lane(0, batch_size=4)
    long.offer([record(i) for i in (8, 9, 10, 11)], NOW)
    answers = iter([Outcome(response={"batchItemFailures": [{"itemIdentifier": "10"}, {"itemIdentifier": "9"}]}), DONE])
    assert Run(long, lambda sent: next(answers)).calls == [[8, 9, 10, 11], [9, 10, 11]]


@pytest.mark.parametrize("response", [None, {}, {"batchItemFailures": None}, {"batchItemFailures": []}, "ok", []])
def test_an_empty_answer_is_success(response):
    """Lambda treats no answer, null and an empty list alike."""
    assert first_failure([record(1)], Outcome(response=response), partial=True) is None


@pytest.mark.parametrize("identifier", ["", None, 5, "x", "99", "-1"])
def test_an_identifier_that_is_not_of_the_batch_fails_the_whole_batch(identifier):
    """Lambda cannot know what was done, so everything is sent again."""
    records = [record(1), record(2)]
    response = {"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": identifier}]}
    assert first_failure(records, Outcome(response=response), partial=True) == 0


def test_without_the_report_setting_the_answer_is_not_looked_at():
    """A function that reports failures to a mapping that does not ask for them loses the records: as in AWS."""
    assert first_failure([record(1)], failing_at(1), partial=False) is None


def test_an_error_is_retried_as_often_as_the_mapping_allows_and_then_given_up_as_a_whole():
    """Two retries are three attempts; without bisection good neighbours go with the bad record."""
    run = Run(lane(4), lambda sent: FAILED)
    assert run.calls == [[1, 2, 3, 4]] * 3
    (discard,) = run.discards
    assert (numbers(discard), discard.condition, discard.invoke_count) == ([1, 2, 3, 4], Condition.RETRIES, 3)


def test_no_limit_on_retries_means_that_records_are_never_given_up():
    """-1 is Lambda's default; the shard waits."""
    stuck = lane(1, retries=UNLIMITED)
    now_ns = NOW
    for _ in range(50):
        batch, wait_ns, _ = stuck.take(now_ns)
        if batch is None:
            now_ns += wait_ns
            batch, _, _ = stuck.take(now_ns)
        assert not stuck.settle(FAILED, now_ns).discards
    assert not stuck.idle


def test_retries_back_off_and_the_wait_is_bounded():
    """A dependency that is down is not hammered, and not left alone for long either."""
    stuck = lane(1, retries=UNLIMITED)
    now_ns, waits = NOW, []
    for _ in range(12):
        stuck.take(now_ns)
        stuck.settle(FAILED, now_ns)
        _, wait_ns, _ = stuck.take(now_ns)
        waits.append(wait_ns)
        now_ns += wait_ns
    assert waits == sorted(waits)
    assert waits[0] < waits[3]
    assert waits[-1] == BACKOFF_NS_MAX


def test_bisection_isolates_a_poison_record_and_everything_else_is_processed():
    """The point of bisection: one record that always fails costs itself and nothing else."""
    run = Run(lane(8, batch_size=8, bisect=True, retries=1, partial=False), lambda sent: FAILED if 6 in sent else DONE)
    assert run.done == [1, 2, 3, 4, 5, 7, 8]
    (discard,) = run.discards
    assert numbers(discard) == [6]


def test_splitting_a_batch_does_not_use_up_its_retries():
    """With no retry at all a poison record is still isolated."""
    run = Run(lane(8, batch_size=8, bisect=True, retries=0, partial=False), lambda sent: FAILED if 3 in sent else DONE)
    assert [numbers(discard) for discard in run.discards] == [[3]]
    assert sorted(run.done) == [1, 2, 4, 5, 6, 7, 8]


def test_with_partial_answers_the_batch_is_cut_at_the_reported_record():
    """What the function reports as done is never sent again."""
    run = Run(lane(8, batch_size=8, bisect=True), lambda sent: failing_at(5) if 5 in sent else DONE)
    assert run.calls[:2] == [[1, 2, 3, 4, 5, 6, 7, 8], [5, 6, 7, 8]]
    assert all(4 not in sent for sent in run.calls[1:])
    assert run.done == [1, 2, 3, 4, 6, 7, 8]
    assert [numbers(discard) for discard in run.discards] == [[5]]


def test_nothing_overtakes_a_batch_that_is_retried():
    """A later record that ran first would be applied to a state that it does not fit."""
    failures = iter([FAILED, FAILED])
    run = Run(lane(8), lambda sent: next(failures, DONE))
    assert run.calls == [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_record_that_grew_too_old_is_given_up_before_it_is_sent():
    """Old market data is worse than none; younger records of the same lane go on."""
    aged = Lane(replace(SPEC, max_age_s=60))
    aged.offer([record(1, arrival_ns=NOW - 61 * NS_PER_S), record(2, arrival_ns=NOW - 59 * NS_PER_S)], NOW)
    batch, _, (discard,) = aged.take(NOW)
    assert numbers(batch) == [2]
    assert (numbers(discard), discard.condition, discard.invoke_count) == ([1], Condition.AGE, 0)


def test_a_batch_that_fails_until_it_is_too_old_is_given_up_for_its_age():
    """Age bounds how long a failing record holds its shard, however many retries are allowed."""
    stuck = lane(3, retries=UNLIMITED, max_age_s=60)
    stuck.take(NOW)
    stuck.settle(FAILED, NOW)
    batch, wait_ns, (discard,) = stuck.take(NOW + 61 * NS_PER_S)
    assert (batch, wait_ns) == (None, -1)
    assert (numbers(discard), discard.condition, discard.invoke_count) == ([1, 2, 3], Condition.AGE, 1)
    assert stuck.idle


def test_the_oldest_open_record_is_the_checkpoint():
    """Where another host would have to go on: behind the last record before which all is settled."""
    checked = lane(6)
    checked.take(NOW)
    assert checked.oldest == 1
    checked.settle(failing_at(3), NOW)
    assert checked.oldest == 3
    checked.take(NOW + NS_PER_S)
    checked.settle(DONE, NOW + NS_PER_S)
    assert checked.oldest == 5
    checked.take(NOW + NS_PER_S)
    checked.settle(DONE, NOW + NS_PER_S)
    assert checked.oldest is None


def test_a_lane_gives_no_second_batch_while_one_is_out():
    """That is what makes a lane an order."""
    busy = lane(8)
    busy.take(NOW)
    with pytest.raises(AssertionError, match="still with the function"):
        busy.take(NOW)


@given(keys=st.lists(st.text(max_size=8), min_size=1), lanes=st.integers(1, 10))
def test_a_partition_key_always_has_the_same_lane(keys, lanes):
    """Parallel lanes would otherwise break the order of a key."""
    chosen = [lane_of(key, lanes) for key in keys]
    assert all(0 <= i < lanes for i in chosen)
    assert chosen == [lane_of(key, lanes) for key in keys]


def test_many_keys_use_every_lane():
    """Or the parallelisation factor would buy nothing."""
    assert {lane_of(f"SYM{i}", 4) for i in range(64)} == {0, 1, 2, 3}


@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(1, 40), max_size=6),
    batch_size=st.integers(1, 12),
    bisect=st.booleans(),
    partial=st.booleans(),
    retries=st.integers(0, 3),
)
def test_every_record_is_done_once_or_given_up_once_and_in_order(count, poison, batch_size, bisect, partial, retries):
    """Whatever fails, however it is reported: no record is lost, none is done twice, and order holds."""
    tested = lane(count, batch_size=batch_size, bisect=bisect, partial=partial, retries=retries)

    def answer(sent: list[int]) -> Outcome:
        bad = [number for number in sent if number in poison]
        if not bad:
            return DONE
        return failing_at(bad[0]) if partial else FAILED

    run = Run(tested, answer)
    given_up = [number for discard in run.discards for number in numbers(discard)]
    assert sorted(run.done + given_up) == list(range(1, count + 1))
    assert run.done == sorted(run.done)
    if bisect:
        assert set(given_up) == poison & set(range(1, count + 1))


def test_the_event_is_the_one_that_lambda_sends():
    """Field by field: a handler that was written against AWS must find what it looks for."""
    event = batch_event(
        [record(7, key="ES", data="aGk=", arrival_ns=1_545_084_650_987_000_000)], SPEC, "shardId-000000000006", "arn:role", "us-east-1"
    )
    assert event == {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "ES",
                    "sequenceNumber": "7",
                    "data": "aGk=",
                    "approximateArrivalTimestamp": 1545084650.987,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": "shardId-000000000006:7",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:role",
                "awsRegion": "us-east-1",
                "eventSourceARN": STREAM_ARN,
            }
        ]
    }
