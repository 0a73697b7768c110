"""After a run: what went in and what is stored, counted where it is stored. Equal, or the run says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow.parquet as pq
from pyarrow import BufferReader

from tidemark.local.resources import StageResources


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows by where they are. `quarantined` {symbol: {reason: n}}; `*` stands for records whose symbol could not be read."""

    postgres_depth: int
    postgres_trades: int
    lake_depth: int
    lake_trades: int
    quarantined: Mapping[str, Mapping[str, int]]
    duplicates: int
    predictions: int
    signals: int

    @property
    def quarantined_count(self) -> int:
        """Events refused, whatever the reason."""
        return sum(sum(reasons.values()) for reasons in self.quarantined.values())

    @property
    def quarantined_by_reason(self) -> dict[str, int]:
        """{reason: n} over all symbols."""
        total: dict[str, int] = {}
        for reasons in self.quarantined.values():
            for reason, count in reasons.items():
                total[reason] = total.get(reason, 0) + count
        return dict(sorted(total.items()))

    def findings(self, source_rows: int, sample: int) -> list[str]:
        """What does not add up. With a sample above 1, Postgres holds fewer depth rows on purpose."""
        expected = source_rows - self.quarantined_count
        found = []
        if self.lake_depth + self.lake_trades != expected:
            found.append(f"the lake holds {self.lake_depth + self.lake_trades} rows, expected {expected}")
        if sample == 1 and self.postgres_depth + self.postgres_trades != expected:
            found.append(f"market_data holds {self.postgres_depth + self.postgres_trades} rows, expected {expected}")
        return found


def count_stored(dsn: str, s3: Any, resources: StageResources) -> StoredRows:
    """Count rows in Postgres and in the lake's Parquet objects (distinct by symbol and seq: delivery is at least once)."""
    with psycopg.connect(dsn) as connection:
        kinds: dict[int, int] = dict(connection.execute("select kind, count(*) from market_data group by kind").fetchall())
        refused = connection.execute("select symbol, reason, n from data_quality").fetchall()
        predictions = _count(connection, "ml_predictions")
        signals = _count(connection, "trading_signals")
    quarantined: dict[str, dict[str, int]] = {}
    for symbol, reason, count in refused:
        if reason != "duplicate":
            quarantined.setdefault(symbol, {})[reason] = count
    lake = {spec.table: _lake_rows(s3, spec.bucket, spec.prefix) for spec in resources.deliveries.values()}
    return StoredRows(
        postgres_depth=kinds.get(0, 0),
        postgres_trades=kinds.get(1, 0),
        lake_depth=sum(rows for table, rows in lake.items() if "trade" not in table),
        lake_trades=sum(rows for table, rows in lake.items() if "trade" in table),
        quarantined=quarantined,
        duplicates=sum(count for _, reason, count in refused if reason == "duplicate"),
        predictions=predictions,
        signals=signals,
    )


def _count(connection: "psycopg.Connection[tuple[Any, ...]]", table: str) -> int:
    row = connection.execute(psycopg.sql.SQL("select count(*) from {}").format(psycopg.sql.Identifier(table))).fetchone()
    return int(row[0]) if row is not None else 0


def _lake_rows(s3: Any, bucket: str, prefix: str) -> int:
    seen: set[tuple[str, int]] = set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix.split("!{")[0]):
        for entry in page.get("Contents", []):
            symbol = next((part.removeprefix("symbol=") for part in entry["Key"].split("/") if part.startswith("symbol=")), "")
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            table = pq.ParquetFile(BufferReader(body)).read(columns=["seq"])
            seen.update((symbol, seq) for seq in table.column("seq").to_pylist())
    return len(seen)
