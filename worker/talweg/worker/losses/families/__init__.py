"""The losses, one module a family."""
