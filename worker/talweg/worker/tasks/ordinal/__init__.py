"""The task ordinal."""
