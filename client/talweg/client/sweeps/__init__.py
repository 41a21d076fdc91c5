"""Sweeps: created, followed, controlled, and their answers."""
