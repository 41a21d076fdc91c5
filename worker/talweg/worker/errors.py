"""What a job may end by, other than success.

ValueError
└── UserSpecError       the spec asks for what cannot work, as only data or torch could show
Exception
└── StoreAwayError      the blob store does not answer: another attempt may find it
"""


class UserSpecError(ValueError):
    """A spec that the server had to accept and that its data or its network shows to be wrong.

    The message says what was found, what is allowed and what to change, with the field's path.
    """


class StoreAwayError(Exception):
    """Nobody answered where snapshots and models are kept."""
