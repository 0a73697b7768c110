"""Day partitions of `market_data`. Rows of a day without one land in the default partition and are moved when it is made."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from tidemark.units import NS_PER_S


def day_of(event_ts_ns: int) -> date:
    """UTC day whose partition holds `event_ts_ns`."""
    return datetime.fromtimestamp(event_ts_ns // NS_PER_S, UTC).date()


def ensure_partitions(conn: Any, days: Iterable[date]) -> int:
    """Create the missing day partitions; returns how many were made.

    `conn` is a psycopg connection; the caller commits. Safe to call from several programs at once: the database
    function takes a lock, and a role needs no right to create tables, only to call it.
    """
    made = 0
    for day in sorted(set(days)):
        row = conn.execute("SELECT ensure_market_data_partition(%s)", (day,)).fetchone()
        made += bool(row[0])
    return made
