"""The guard: no loss or gradient that is not finite reaches the weights."""
