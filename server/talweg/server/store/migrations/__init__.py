"""Alembic's migrations of the record; see `talweg.server.store.migrate`."""
