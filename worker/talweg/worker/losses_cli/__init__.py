"""Losses tried out without a job: computed over lines of JSON, and drawn as curves."""
