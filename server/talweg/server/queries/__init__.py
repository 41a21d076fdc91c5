"""Which jobs are meant, and in what order and groups they are given."""
