"""A loss, a model and a data set for Talweg."""
