"""Brings a database to the newest schema. The only place that imports Alembic."""

import hashlib
import re
from pathlib import Path
from typing import Any

from tidemark.errors import UnavailableError

MIGRATIONS = Path(__file__).parent.parent / "migrations"


def migrations_hash() -> str:
    """SHA-256 over the migration files: equal hash, equal schema."""
    digest = hashlib.sha256()
    for path in sorted((MIGRATIONS / "versions").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def migrate(dsn: str, revision: str = "head") -> str:
    """Apply all migrations up to `revision`; returns the revision the database is at now.

    `dsn` is a libpq connection string or URI. Each migration is one transaction. Raises UnavailableError when the
    database does not answer, and lets SQL errors through: a broken migration is our own fault.
    """
    import psycopg
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn, connect_timeout=10), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
            current: Any = MigrationContext.configure(connection).get_current_revision()
    except OperationalError as error:
        raise UnavailableError(f"database: {_without_secrets(str(error.orig))}") from error
    finally:
        engine.dispose()
    return str(current)


def _without_secrets(text: str) -> str:
    return re.sub(r"password=\S+", "password=<redacted>", text).strip()
