"""Checkpoints of one attempt: kept in agreement with the record, searched, read and verified."""
