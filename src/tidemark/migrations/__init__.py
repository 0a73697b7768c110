"""The database schema and its changes (Alembic). SQL that runs on PostgreSQL 16 to 18, without extensions."""
