"""The task self_supervised."""
