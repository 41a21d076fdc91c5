"""Processes of the stack: start, watch, restart and stop them; reserve their ports."""
