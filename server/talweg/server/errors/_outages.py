"""What the server needs and does not have now, or never had."""

from talweg.server.errors._base import ServerError, Unavailable


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class BrokerUnavailable(Unavailable):
    """The broker does not answer. No call needs it: jobs are taken, and wait."""


class BlobsUnavailable(Unavailable):
    """The blob store does not answer, or cannot be written."""


class IssuerUnavailable(Unavailable):
    """The issuer does not answer that would tell whether a token holds."""


class ProcessLimit(Unavailable):
    """The system starts no further process or thread for this server."""


class ShuttingDown(Unavailable):
    """This server is about to end."""


class CannotStart(ServerError):
    """The server cannot start."""


class BadSetting(CannotStart):
    """A setting has a value that cannot be used."""


class PortTaken(CannotStart):
    """The address to listen on is in use, or is not this machine's."""
