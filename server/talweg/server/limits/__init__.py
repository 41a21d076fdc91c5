"""What callers may take of a server, by size, number and time."""
