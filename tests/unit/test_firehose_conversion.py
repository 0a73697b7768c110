"""Record format conversion: what arrives as JSON rows is found again as Parquet columns, and nothing else disappears."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemark.errors import InputError
from tidemark.local.record_conversion import FORMAT_FAILED, PARTITION_FAILED, Converter, expand_prefix, partition_keys, split_rows
from tidemark.local.resources import DeliverySpec

SPEC = DeliverySpec(
    name="lake-trades",
    arn="arn",
    bucket="lake",
    prefix="trades/symbol=!{partitionKeyFromQuery:symbol}/date=!{partitionKeyFromQuery:date}/",
    error_prefix="errors/!{firehose:error-output-type}/",
    buffer_mib=64,
    buffer_s=60,
    database="d",
    table="trades",
    columns=[("ts_event_ns", "bigint"), ("px", "bigint"), ("sz", "int"), ("aggressor", "tinyint")],
    partition_query="{symbol: .symbol, date: .date}",
)


def trade(**changes: Any) -> dict[str, Any]:
    return {"symbol": "ES", "date": "2024-03-01", "ts_event_ns": 1, "px": 20_000, "sz": 1, "aggressor": 1, **changes}


def rows(*items: dict[str, Any]) -> list[bytes]:
    return [json.dumps(item).encode() for item in items]


def read(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
    return found


def test_rows_are_split_by_their_partition_keys_and_keep_their_order():
    """One folder per symbol and day: a query for one reads no other."""
    given = rows(trade(px=1), trade(symbol="NQ", px=2), trade(px=3), trade(date="2024-03-02", px=4))
    files = Converter(SPEC).convert(given).files
    assert {key: [row["px"] for row in read(data)] for key, data in files.items()} == {
        ("ES", "2024-03-01"): [1, 3],
        ("NQ", "2024-03-01"): [2],
        ("ES", "2024-03-02"): [4],
    }


def test_columns_have_the_types_of_the_glue_table_and_the_partition_keys_are_no_columns():
    """Athena reads by the table: a file with other types fails there, at query time."""
    (data,) = Converter(SPEC).convert(rows(trade(extra=True))).files.values()
    assert {field.name: str(field.type) for field in pq.read_schema(io.BytesIO(data))} == {
        "ts_event_ns": "int64",
        "px": "int64",
        "sz": "int32",
        "aggressor": "int8",
    }


def test_extreme_integers_stay_exact():
    """An empty book level is -2^63; as a float it would come back as another number."""
    (data,) = Converter(SPEC).convert(rows(trade(px=-(2**63)), trade(px=2**63 - 1), trade(px=2**53 + 1))).files.values()
    assert [row["px"] for row in read(data)] == [-(2**63), 2**63 - 1, 2**53 + 1]


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b'{"px":1',
        b"[1]",
        b'{"symbol":"ES","date":"2024-03-01","px":1.5}',
        b'{"symbol":"ES","date":"2024-03-01","aggressor":300}',
        b'{"symbol":"ES","date":"2024-03-01","px":"5"}',
        b'{"symbol":"ES","date":"2024-03-01","px":99999999999999999999}',
        b'{"symbol":"E\xff","date":"2024-03-01"}',
    ],
)
def test_a_bad_row_is_rejected_alone(bad):
    """Its neighbours of the same buffer are delivered; it goes to the error folder as it came."""
    good = rows(*(trade(px=i) for i in range(20)))
    converted = Converter(SPEC).convert([*good[:11], bad, *good[11:]])
    (data,) = converted.files.values()
    assert [row["px"] for row in read(data)] == list(range(20))
    (rejected,) = converted.rejected
    assert (rejected.row, rejected.kind) == (bad, FORMAT_FAILED)


def test_a_row_without_a_partition_key_is_rejected():
    """There is no folder to put it in."""
    converted = Converter(SPEC).convert([*rows(trade()), b'{"px":7,"symbol":"ES"}'])
    assert converted.rows == 1
    (rejected,) = converted.rejected
    assert rejected.kind == PARTITION_FAILED
    assert "date" in rejected.message
    assert json.loads(rejected.row)["px"] == 7


@settings(max_examples=40)
@given(st.lists(st.one_of(st.integers(0, 10**6), st.just(None)), max_size=60))
def test_every_row_is_delivered_once_or_rejected_once(prices):
    """None stands for a broken row; whatever the mix, the sum is what came in."""
    given_rows = [b"{broken" if price is None else rows(trade(px=price))[0] for price in prices]
    converted = Converter(SPEC).convert(given_rows)
    delivered = [row["px"] for data in converted.files.values() for row in read(data)]
    assert delivered == [price for price in prices if price is not None]
    assert len(converted.rejected) == prices.count(None)


def test_a_record_may_hold_many_rows():
    """Producers join rows by newlines to pay for fewer records."""
    assert split_rows(b'{"a":1}\n{"a":2}\n\n  \n{"a":3}') == [b'{"a":1}', b'{"a":2}', b'{"a":3}']


def test_a_query_that_we_cannot_apply_is_refused_at_start():
    """Better no stage than a lake whose folders differ from those of AWS."""
    assert partition_keys('{"symbol": .symbol, day:.date}', "s") == {"symbol": "symbol", "day": "date"}
    for query in ("{symbol: .symbol | ascii_upcase}", ".symbol", "{}"):
        with pytest.raises(InputError, match="MetadataExtractionQuery"):
            partition_keys(query, "s")


def test_a_column_type_that_we_cannot_write_is_refused_at_start():
    """A Glue type without a counterpart would otherwise fail at the first delivery."""
    with pytest.raises(InputError, match=r"px\.Type"):
        Converter(replace(SPEC, columns=[("px", "struct<a:int>")]))


def test_prefixes_are_expanded_as_firehose_expands_them():
    """Partition keys, the time in Java's letters, and the kind of error."""
    now = datetime(2024, 3, 1, 9, 5, 7, tzinfo=UTC)
    assert expand_prefix(SPEC.prefix, now, {"symbol": "ES", "date": "2024-03-01"}) == "trades/symbol=ES/date=2024-03-01/"
    assert expand_prefix("e/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/", now, {}, "x") == "e/x/2024/03/01/09/"
    with pytest.raises(InputError, match="partitionKeyFromQuery"):
        expand_prefix("!{partitionKeyFromQuery:nobody}", now, {})
