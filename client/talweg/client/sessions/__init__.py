"""Sessions: comparisons that share one error budget."""
