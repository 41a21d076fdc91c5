"""The system's keyring, as far as there is one: where `talweg login` keeps the token.

It is used if the package keyring is installed (the extra `keyring`) and finds a backend that it
recommends. Backends are code of others that may raise whatever they like, hence the broad excepts.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "talweg"
"""Under what the keyring lists the tokens; the user is the server's address."""

# Below it keyring recommends no backend: there is none, or it writes plain files.
_LEAST_PRIORITY = 1


@dataclass(frozen=True)
class Kept:
    """What came of keeping a token in the keyring."""

    keyring: str = ""
    """The name of the keyring that holds it; empty if none does."""

    problem: str = ""
    """Why the keyring that is there does not hold it; empty if there is none."""


def keep(address: str, token: str) -> Kept:
    """Put a token into the system's keyring, if it can be used.

    Args:
        address: The server that it is for.
        token: The token.
    """
    backend = None
    try:
        backend = _backend()
        if backend is None:
            return Kept()
        backend.set_password(SERVICE, address, token)
        # One that is switched off takes everything, and keeps nothing.
        if backend.get_password(SERVICE, address) == token:
            return Kept(keyring=backend.name)
        return Kept(problem=f"{backend.name} did not keep the token")
    except Exception as error:
        name = "the system's keyring" if backend is None else backend.name
        # The kind alone where there is no text; never the token, which no backend has any use for.
        return Kept(problem=f"{name}: {error or type(error).__name__}".replace(token, "…"))


def read(address: str) -> str:
    """Return the token in the system's keyring.

    Args:
        address: The server that it is for.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        backend = _backend()
        if backend is None:
            problem = "which cannot be used here (pip install 'talweg[keyring]')"
        elif token := backend.get_password(SERVICE, address):
            return token
        else:
            problem = f"but {backend.name} holds none for it"
    except Exception as error:
        problem = f"which cannot be read: {error or type(error).__name__}"
    raise ValueError(
        f"`talweg login` keeps the token for {address} in the system's keyring, {problem}. Log in "
        "again (--no-keyring keeps the token in a file), or set TALWEG_TOKEN"
    )


def forget(address: str) -> bool:
    """Remove a token from the system's keyring; return whether none is left.

    Args:
        address: The server that it is for.
    """
    try:
        backend = _backend()
        if backend is None:
            return False
        if backend.get_password(SERVICE, address) is not None:
            backend.delete_password(SERVICE, address)
    except Exception:
        return False
    return True


def _backend() -> "KeyringBackend | None":
    try:
        import keyring
    except ModuleNotFoundError:
        return None
    backend = keyring.get_keyring()
    return backend if backend.priority >= _LEAST_PRIORITY else None
