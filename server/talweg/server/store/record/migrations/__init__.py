"""Alembic's migrations of the record; see `talweg.server.store.record.migrate`."""
