"""Variables that are on or off."""

from collections.abc import Mapping

_ON, _OFF = ("1", "true", "yes"), ("", "0", "false", "no")


def read_flag(env: Mapping[str, str], name: str) -> bool:
    """Return whether a variable is on; one that is not set is off.

    Args:
        env: The environment.
        name: The variable.

    Raises:
        ValueError: It is neither on nor off.
    """
    value = env.get(name, "")
    if value.lower() in _ON:
        return True
    if value.lower() in _OFF:
        return False
    raise ValueError(f"{name} must be 1 or 0, but got {value!r}")
