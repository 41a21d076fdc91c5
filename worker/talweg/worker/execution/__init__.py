"""Taking jobs from the server, running them under a lease, and saying how they ended."""
