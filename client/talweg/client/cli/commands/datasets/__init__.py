"""Data of users, job files for them, and losses that suit them."""
