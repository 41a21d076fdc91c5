"""Data sets of users: taking files in, finding data sets, deleting them."""
