"""Backup and restore of a server: its record, its blobs and what lies beside them."""
