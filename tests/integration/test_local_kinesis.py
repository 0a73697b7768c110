"""A shard of the laptop's Kinesis: contiguous numbers, bounded memory, waiting without polling."""

import threading
import time

import pytest

from local_support import slack
from tidemark.local import kinesis_plane
from tidemark.local.kinesis_plane import OrderedShard


@pytest.fixture
def shard() -> OrderedShard:
    return OrderedShard(0, 0, 2**128 - 1)


def numbers(shard: OrderedShard, after: int = 0, limit: int | None = None) -> list[int]:
    return [record.sequence_number for record in shard.get_records(str(after), limit)[0]]


def test_numbers_are_contiguous_and_reading_goes_on_behind_any_of_them(shard):
    """A reader's position is a number; nothing lies between two of them."""
    for _ in range(5):
        shard.put_record("k", "AAAA", None)
    assert numbers(shard) == [1, 2, 3, 4, 5]
    assert numbers(shard, after=3) == [4, 5]
    assert numbers(shard, limit=2) == [1, 2]
    assert shard.get_records("5", None) == ([], 5, 0)
    assert (shard.get_min_sequence_number(), shard.get_max_sequence_number()) == (1, 5)


def test_a_read_is_bounded_in_bytes(shard, monkeypatch):
    """A backlog must not become one reply of gigabytes."""
    monkeypatch.setattr(kinesis_plane, "GET_BYTES_MAX", 10)
    for _ in range(5):
        shard.put_record("k", "A" * 6, None)
    assert numbers(shard) == [1, 2]


def test_old_records_go_when_the_shard_is_heavy_and_young_ones_never(shard, monkeypatch):
    """A stage that runs for hours has bounded memory; a consumer that is a minute late still finds everything."""
    monkeypatch.setattr(kinesis_plane, "RETAINED_BYTES_MAX", 20)
    for _ in range(6):
        shard.put_record("k", "A" * 8, None)
    assert numbers(shard) == [1, 2, 3, 4, 5, 6]
    for number in (1, 2, 3, 4):
        shard.records[number].created_at -= 2 * kinesis_plane.RETAINED_S_MIN
    shard.put_record("k", "A" * 8, None)
    assert numbers(shard) == [5, 6, 7]
    assert numbers(shard, after=2) == [5, 6, 7]
    assert shard.get_min_sequence_number() == 5


def test_waiting_ends_with_a_record_or_with_its_time(shard):
    """And at once when there is something already."""
    began = time.monotonic()
    shard.wait_for_record(0, 0.05)
    assert 0.04 < time.monotonic() - began < 0.5 * slack()
    threading.Timer(0.05, lambda: shard.put_record("k", "AAAA", None)).start()
    began = time.monotonic()
    shard.wait_for_record(0, 10.0)
    assert time.monotonic() - began < 1.0 * slack()
    shard.wait_for_record(0, 10.0)
    assert time.monotonic() - began < 1.0 * slack()


def test_how_far_behind_a_reader_is_is_told_in_milliseconds(shard):
    """0 at the tip, the age of what was read before it."""
    shard.put_record("k", "AAAA", None)
    shard.put_record("k", "AAAA", None)
    shard.records[1].created_at -= 3
    assert 2_900 < shard.get_records("0", 1)[2] < 4_000 * slack()
    assert shard.get_records("0", 2)[2] == 0
