"""Bytes that outlive a process: the blob store, and trained models in it."""
