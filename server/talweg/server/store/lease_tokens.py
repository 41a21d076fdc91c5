"""Tokens of leases: each names the token of the worker that it was given to."""

_DIVIDER = "."


def owned(secret: str, owner: str) -> str:
    """Return the token of a lease.

    Args:
        secret: What makes it hard to guess.
        owner: The id of the worker's own token; empty for one without a row in the record.
    """
    return f"{owner}{_DIVIDER}{secret}" if owner else secret


def owner_of(lease_token: str) -> str:
    """Return the id of the token that a lease was given to; empty for one without a row."""
    return lease_token.rpartition(_DIVIDER)[0]
