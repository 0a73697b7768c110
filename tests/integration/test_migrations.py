"""The schema on a real PostgreSQL: what it holds, what it refuses, and that it runs on the versions we promise."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from local_support import free_folder
from tidemark.errors import UnavailableError
from tidemark.local import postgres
from tidemark.local.database import MIGRATIONS, migrate, migrations_hash
from tidemark.migrations.partitions import day_of, ensure_partitions

VERSIONS = (16, 18)
PLAN_COLUMNS = {
    "ml_predictions": {
        "symbol",
        "model_name",
        "prediction_time",
        "target_time",
        "predicted_price",
        "confidence",
        "actual_price",
        "accuracy_score",
    },
    "trading_signals": {
        "symbol",
        "signal_type",
        "confidence",
        "entry_price",
        "stop_loss",
        "take_profit",
        "risk_reward",
        "status",
        "created_at",
    },
}


@pytest.fixture(scope="module", params=VERSIONS)
def server(request, tmp_path_factory) -> Iterator[postgres.PostgresServer]:
    """A server of each version with our schema, built from nothing: the cache is the test's own."""
    folder = free_folder(tmp_path_factory.mktemp(f"pg{request.param}"))
    prepared = postgres.prepare(folder / "run", version=request.param, cache_dir=folder / "cache")
    with postgres.running(prepared, folder / "postgres.log"):
        yield prepared


@pytest.fixture
def admin(server) -> Iterator[psycopg.Connection]:
    """The owner's connection; what a test does is rolled back."""
    with psycopg.connect(server.admin_dsn) as conn:
        yield conn
        conn.rollback()


@pytest.fixture
def program(server) -> Iterator[psycopg.Connection]:
    """A program's connection; what a test does is rolled back."""
    with psycopg.connect(server.dsn) as conn:
        yield conn
        conn.rollback()


def refused(conn: psycopg.Connection, sql: str, *values: Any) -> str:
    """The class of error that a statement is refused with; the transaction goes on."""
    with pytest.raises(psycopg.Error) as error, conn.transaction():
        conn.execute(sql, values)
    return type(error.value).__name__


def tick(seq: int, ts: datetime, symbol: str = "ZN") -> tuple[Any, ...]:
    return (symbol, ts, 1, 1, seq, 0, Decimal("110.015625"), Decimal("110.031250"))


INSERT_TICK = (
    "INSERT INTO market_data (symbol, ts, event_ts_ns, recv_ts_ns, seq, kind, bid_price, ask_price) VALUES (%s,%s,%s,%s,%s,%s,%s,%s)"
)


def insert_intent(conn: psycopg.Connection, seq: int, cid: str | None = "c1", kind: str = "INTENT") -> None:
    conn.execute(
        "INSERT INTO journal (account, seq, epoch, ts_ns, kind, schema, cid, body, prev_hash, crc)"
        " VALUES ('a', %s, 1, 1, %s, 1, %s, '\\x00', '\\x00', 1)",
        (seq, kind, cid),
    )


def test_a_second_migration_changes_nothing(server):
    """Programs may all call it at start."""
    assert migrate(server.admin_dsn) == "0001"


def test_the_schema_can_be_taken_down_and_built_again(server):
    """A migration whose way back was never walked is a migration without one."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    with psycopg.connect(server.admin_dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE second")
    dsn = server.admin_dsn.replace("dbname=tidemark", "dbname=second")
    migrate(dsn)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
    engine.dispose()
    with psycopg.connect(dsn) as conn:
        left = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert left == [("alembic_version",)]
    assert migrate(dsn) == "0001"


def test_a_database_that_is_not_there_is_an_unavailable_service(tmp_path):
    """And its password is not part of the message."""
    with pytest.raises(UnavailableError) as error:
        migrate(f"host={tmp_path} user=nobody password=hunter2 dbname=none")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("table", PLAN_COLUMNS)
def test_the_plans_tables_keep_their_columns(admin, table):
    """Reports and people know them by these names."""
    found = {row[0] for row in admin.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,))}
    assert found >= PLAN_COLUMNS[table]


def test_prices_hold_a_tick_of_one_64th_exactly(program):
    """DECIMAL(10,2) would make 110.02 of a ZN price."""
    program.execute(INSERT_TICK, tick(1, datetime(2024, 3, 1, tzinfo=UTC)))
    assert program.execute("SELECT bid_price FROM market_data").fetchone() == (Decimal("110.015625000"),)


def test_a_repeated_event_is_one_row(program):
    """Streams deliver at least once."""
    row = tick(1, datetime(2024, 3, 1, tzinfo=UTC))
    program.execute(INSERT_TICK, row)
    assert refused(program, INSERT_TICK, *row) == "UniqueViolation"


def test_partitions_are_made_per_utc_day_and_only_once(program):
    """By a program's user, who may not create tables, through the function that may."""
    days = [date(2024, 3, 1), date(2024, 3, 2), date(2024, 3, 1)]
    assert ensure_partitions(program, days) == 2
    assert ensure_partitions(program, days) == 0
    program.execute(INSERT_TICK, tick(1, datetime(2024, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)))
    program.execute(INSERT_TICK, tick(2, datetime(2024, 3, 2, tzinfo=UTC)))
    found = program.execute("SELECT seq, tableoid::regclass::text FROM market_data ORDER BY seq").fetchall()
    assert found == [(1, "market_data_p20240301"), (2, "market_data_p20240302")]
    assert refused(program, "CREATE TABLE mine (a int)") == "InsufficientPrivilege"


def test_rows_that_came_before_their_partition_move_into_it(program):
    """A day without a partition must not lose a row, nor block its partition for ever."""
    program.execute(INSERT_TICK, tick(1, datetime(2024, 3, 5, 12, tzinfo=UTC)))
    program.execute(INSERT_TICK, tick(2, datetime(2024, 3, 6, tzinfo=UTC)))
    assert ensure_partitions(program, [date(2024, 3, 5)]) == 1
    found = program.execute("SELECT seq, tableoid::regclass::text FROM market_data ORDER BY seq").fetchall()
    assert found == [(1, "market_data_p20240305"), (2, "market_data_default")]


def test_programs_that_ask_for_one_day_at_once_all_get_it(server):
    """Two processors meet midnight together: one makes the partition, the other waits and finds it."""
    with psycopg.connect(server.dsn) as first, psycopg.connect(server.dsn) as second:
        assert ensure_partitions(first, [date(2024, 4, 1)]) == 1
        second.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            ensure_partitions(second, [date(2024, 4, 1)])
        second.rollback()
        first.commit()
        assert ensure_partitions(second, [date(2024, 4, 1)]) == 0


def test_the_day_of_a_time_is_the_utc_day():
    """Also before 1970, where rounding towards zero would give the next day."""
    assert day_of(1_709_251_199_999_999_999) == date(2024, 2, 29)
    assert day_of(1_709_251_200_000_000_000) == date(2024, 3, 1)
    assert day_of(-1) == date(1969, 12, 31)


@pytest.mark.parametrize("change", ["UPDATE journal SET ts_ns = 2", "DELETE FROM journal", "TRUNCATE journal"])
def test_nobody_changes_the_journal(admin, change):
    """Not even its owner: what was written before an order left is the evidence after a crash."""
    insert_intent(admin, 1)
    assert refused(admin, change) == "RestrictViolation"


def test_the_trigger_holds_where_ordinary_triggers_are_switched_off(server):
    """`session_replication_role = replica` silences triggers that are not ENABLE ALWAYS."""
    with psycopg.connect(server.admin_dsn.replace("user=tidemark_admin", "user=postgres")) as superuser:
        insert_intent(superuser, 1)
        superuser.execute("SET session_replication_role = replica")
        assert refused(superuser, "DELETE FROM journal") == "RestrictViolation"
        superuser.rollback()


def test_a_program_may_append_to_the_journal_and_nothing_else(program):
    """INSERT and SELECT only, as the first of two walls."""
    insert_intent(program, 1)
    assert refused(program, "UPDATE journal SET ts_ns = 2") == "InsufficientPrivilege"
    assert refused(program, "DELETE FROM journal") == "InsufficientPrivilege"
    assert refused(program, "ALTER TABLE journal DISABLE TRIGGER ALL") == "InsufficientPrivilege"


def test_an_intent_exists_once_per_client_order_id_but_its_later_records_may_share_it(program):
    """A duplicate intent is a duplicate order; an execution is not."""
    insert_intent(program, 1)
    with pytest.raises(psycopg.errors.UniqueViolation), program.transaction():
        insert_intent(program, 2)
    insert_intent(program, 2, kind="EXECUTION")
    insert_intent(program, 3, kind="EXECUTION")
    with pytest.raises(psycopg.errors.UniqueViolation), program.transaction():
        insert_intent(program, 3, cid="c2")


def test_a_stale_epoch_appends_nothing(program):
    """The fence and the append are one statement: zero rows mean that somebody else has the lease."""
    program.execute("INSERT INTO leases VALUES ('a', 2, 'new', clock_timestamp() + '10s')")
    append = (
        "INSERT INTO journal SELECT 'a', 1, %s, 1, 'FACT', 1, NULL, '\\x00', '\\x00', 1"
        " FROM leases WHERE account = 'a' AND epoch = %s FOR SHARE"
    )
    assert program.execute(append, (1, 1)).rowcount == 0
    assert program.execute(append, (2, 2)).rowcount == 1


def test_a_lease_can_be_taken_only_when_it_has_run_out(program):
    """The statement of the design, on the real table."""
    take = (
        "UPDATE leases SET epoch = epoch + 1, holder = 'me', expires = clock_timestamp() + '10s'"
        " WHERE account = 'a' AND expires < clock_timestamp() RETURNING epoch"
    )
    program.execute("INSERT INTO leases VALUES ('a', 7, 'other', clock_timestamp() + '10s')")
    assert program.execute(take).fetchone() is None
    program.execute("UPDATE leases SET expires = clock_timestamp() - interval '1s'")
    assert program.execute(take).fetchone() == (8,)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO fills VALUES ('a','e','c','ES',0,1,1,1,0,1,'taker')",
        "INSERT INTO fills VALUES ('a','e','c','ES',1,0,1,1,0,1,'taker')",
        "INSERT INTO bars VALUES ('ES','1m',now(),2,1,1,2,1,1,1)",
        "INSERT INTO correlations VALUES ('B','A',now(),60,0.5,10)",
        "INSERT INTO correlations VALUES ('A','B',now(),60,1.5,10)",
    ],
)
def test_values_that_cannot_be_true_are_refused(admin, sql):
    """The last wall behind the programs' own checks."""
    assert refused(admin, sql) == "CheckViolation"


def test_the_database_is_as_durable_as_the_execution_task_demands(program):
    """It refuses to trade on a database that may lose a commit; the laptop's must not be one."""
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert program.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_the_cached_original_belongs_to_one_schema(monkeypatch, tmp_path):
    """A changed migration must not start from yesterday's database."""
    before = migrations_hash()
    versions = tmp_path / "versions"
    versions.mkdir()
    for path in (MIGRATIONS / "versions").glob("*.py"):
        (versions / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("tidemark.local.database.MIGRATIONS", tmp_path)
    assert migrations_hash() == before
    (versions / "v0002_next.py").write_text("revision = '0002'")
    assert migrations_hash() != before
