"""The task regression."""
