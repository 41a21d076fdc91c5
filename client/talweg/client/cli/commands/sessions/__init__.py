"""`talweg sessions` and `talweg session`."""
