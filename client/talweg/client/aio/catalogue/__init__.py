"""The catalogue, and recommendations from it."""
