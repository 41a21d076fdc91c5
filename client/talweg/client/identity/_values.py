"""Values of tokens."""

from dataclasses import dataclass, field

from talweg.v1 import identity_pb2


@dataclass(frozen=True)
class NewToken:
    """A token that has just been created."""

    token: identity_pb2.Token
    """Its name and what it is for."""

    secret: str = field(repr=False)
    """What callers send. It cannot be read again."""


def role_names() -> list[str]:
    """Return the roles in lower case."""
    return [name.lower() for name, value in identity_pb2.Role.Type.items() if value]


def role_value(role: str) -> identity_pb2.Role.Type.ValueType:
    """Return the number of a role.

    Raises:
        ValueError: There is no such role.
    """
    if role.lower() not in role_names():
        raise ValueError(f"role must be one of {', '.join(role_names())}, but got {role!r}")
    return identity_pb2.Role.Type.Value(role.upper())


def role_name(role: int) -> str:
    """Return a role in lower case; its number if it is not known here."""
    names = {value: name.lower() for name, value in identity_pb2.Role.Type.items()}
    return names.get(identity_pb2.Role.Type.ValueType(role), str(role))
