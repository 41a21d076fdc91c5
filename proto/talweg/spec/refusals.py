"""What clients and workers make of a server's refusals: the reasons, and where those stand."""

from typing import Final

DETAILS: Final = "grpc-status-details-bin"
"""The key of a call's trailing metadata that holds its google.rpc.Status."""

RATE_LIMITED: Final = "RATE_LIMITED"
"""The reason of a refusal: the token makes too many calls a second."""

TOO_MANY_CALLS: Final = "TOO_MANY_CALLS"
"""The reason of a refusal: the address has too many calls under way."""

NOT_BEGUN: Final = frozenset({RATE_LIMITED, TOO_MANY_CALLS})
"""Reasons with which a server refuses a call before it has read its request: it may be sent again,
whatever it is."""

RECORD_AWAY: Final = "DATABASE_UNAVAILABLE"
"""The reason of a refusal: the server answers, and its record does not."""

AFTER_RECORD_SECONDS: Final = 10.0
"""For so long after its record is back, at most a lease, a server takes no job from its worker."""
