"""The base of the tree, and what a request's fields have wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field of a request."""

    field: str
    """Its path, such as "spec.loss.huber.delta"."""

    description: str
    """What was found, and what is allowed."""

    reason: str = ""
    """A word for programs, in capitals."""


class ServerError(Exception):
    """The base of all errors that the server raises on purpose."""

    def __init__(
        self,
        message: str,
        *,
        fields: Sequence[FieldProblem] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Make the error.

        Args:
            message: For people: what was found and what is allowed.
            fields: Which fields of the request are at fault.
            metadata: Facts for programs.
        """
        super().__init__(message)
        self.fields = tuple(fields)
        self.metadata = dict(metadata or {})


class InvalidRequest(ServerError):
    """The request asks for something that does not exist or cannot be."""

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidRequest":
        """Make the error for one field.

        Args:
            field: Its path in the request.
            description: What was found, and what is allowed.
        """
        return cls(f"{field}: {description}", fields=[FieldProblem(field, description)])


class InternalError(ServerError):
    """Something that nobody foresaw. What it was stands in the log, since it may hold secrets."""

    def __init__(self) -> None:
        """Make the error, of which a caller learns no more than that it is one."""
        super().__init__("internal server error; see the server's log")


class Unavailable(ServerError):
    """Something that the call needs does not answer now."""
