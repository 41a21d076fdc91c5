"""Data sets that users have stored: read, divided, and turned into what training takes."""
