"""Whose a lease is: it names the token of the worker that it was given to.

Whoever reads a lease somewhere, in a log or in memory, can do nothing with it by a token of their
own.
"""

from talweg.server.errors import PermissionDenied, StaleLease
from talweg.server.identity.caller import Caller
from talweg.server.store.leases import owner_of


def check_owner(lease_token: str, *, job: str, caller: Caller) -> None:
    """Check that a lease is the caller's.

    Args:
        lease_token: The lease's.
        job: The job's name, for the message.
        caller: Who acts on it.

    Raises:
        StaleLease: It was given to the holder of another token.
    """
    if caller.is_authenticated and owner_of(lease_token) != caller.token:
        raise StaleLease(f"the lease of {job[:100]!r} was given to another worker")


def check_queue(queue: str, caller: Caller) -> None:
    """Check that a worker may serve a queue.

    Args:
        queue: Its name.
        caller: The worker.

    Raises:
        PermissionDenied: Its token is for others.
    """
    if caller.queues and queue not in caller.queues:
        raise PermissionDenied(
            f"the worker's token is for {', '.join(sorted(caller.queues))}, but it asks for jobs "
            f"of queue {queue[:100]!r}"
        )
