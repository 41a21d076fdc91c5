"""Jobs side by side, by metrics that can be compared."""
