"""The journal file: what was written comes back, and nothing else is taken for it."""

import pytest

from tidemark.engine.journal import (
    Fill,
    Halted,
    JournalWriter,
    OrderEvent,
    Refused,
    decode_record,
    encode_journal,
    encode_record,
    read_journal,
)
from tidemark.errors import DecodeError

RECORDS = [
    Refused(1, "STALE_SIGNAL", 600, 500, "ES", "s1", ("DAY_LOSS",)),
    OrderEvent(2, "CID", "INTENT", "ES", 1, 3, 0, 20_001, "entry", 1, "s2"),
    Fill(3, "CID-1", "CID", "ES", 1, 3, 20_000, 7_200_000, 2, "taker", "entry"),
    Halted(4, "DAY_LOSS", 2**62, 1),
]
HEADER = 6
RECORD_HEAD = 8 + 16


def test_records_come_back_as_they_were_written_whether_in_one_go_or_many() -> None:
    """A journal grows; its bytes must not depend on how often it was appended to."""
    writer = JournalWriter()
    pieces = b"".join(writer.encode([record]) for record in RECORDS)
    assert pieces == encode_journal(RECORDS)
    assert list(read_journal(pieces)) == RECORDS


def body_start(data: bytes, number: int) -> int:
    offset = HEADER
    for _ in range(number):
        offset += RECORD_HEAD + int.from_bytes(data[offset : offset + 4], "little")
    return offset


@pytest.mark.parametrize("byte", range(HEADER, len(encode_journal(RECORDS))))
def test_a_changed_byte_anywhere_is_found(byte: int) -> None:
    """CRC for accidents, chain for what a CRC of one record cannot see; no flipped bit may pass as a fact."""
    data = bytearray(encode_journal(RECORDS))
    data[byte] ^= 1
    with pytest.raises(DecodeError):
        list(read_journal(bytes(data)))


def test_a_removed_or_swapped_record_breaks_the_chain() -> None:
    """Each record is whole by itself; only the chain tells that one is missing."""
    data = encode_journal(RECORDS)
    first, second, third = (body_start(data, n) for n in (0, 1, 2))
    for forged in (data[:first] + data[second:], data[:first] + data[second:third] + data[first:second] + data[third:]):
        with pytest.raises(DecodeError) as error:
            list(read_journal(forged))
        assert error.value.reason == "CHAIN"


def test_a_file_cut_off_in_writing_gives_what_was_whole_and_says_torn() -> None:
    """A crash may end a file inside a record; what came before it is still true."""
    data = encode_journal(RECORDS)
    reader = read_journal(data[:-3])
    assert [next(reader) for _ in RECORDS[:-1]] == RECORDS[:-1]
    with pytest.raises(DecodeError) as error:
        next(reader)
    assert error.value.reason == "TORN"


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "TRUNCATED"), (b"PAR1xx", "NOT_A_JOURNAL"), (b"TMJ\x01\xff\x00", "VERSION"), (b"TMJ\x01\x01\x00\x01", "TORN")],
)
def test_what_is_no_journal_of_ours_is_refused(data: bytes, reason: str) -> None:
    """A newer version may mean something else by the same bytes: it is not guessed at."""
    with pytest.raises(DecodeError) as error:
        list(read_journal(data))
    assert error.value.reason == reason


def test_an_unknown_kind_of_record_is_refused() -> None:
    """Skipping what is not understood would lose facts."""
    body = encode_record(RECORDS[0]).replace(b"refused", b"rewused")
    with pytest.raises(DecodeError):
        decode_record(body)
