"""Sweeps in the record: `sweeps` themselves, their `trials`, and the jobs of these."""
