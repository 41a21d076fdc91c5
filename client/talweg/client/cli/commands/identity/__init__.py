"""The commands about tokens, and who did what."""
