"""Who calls, and what a caller and a server show each other."""
