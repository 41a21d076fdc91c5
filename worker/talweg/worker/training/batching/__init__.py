"""Batches: in which order samples come, and how many."""
