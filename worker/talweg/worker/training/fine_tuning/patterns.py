"""Patterns of parameter names, as specs write them."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from talweg.spec.spelling import near
from talweg.worker.errors import UserSpecError

_MOST_NAMED = 12


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern stands for a parameter: by its name, or by a module around it.

    Args:
        pattern: With ``*``, ``?`` and ``[abc]``; ``*`` also matches dots.
        name: Such as ``trunk.linear1.weight``.
    """
    while name:
        if fnmatchcase(name, pattern):
            return True
        name = name.rpartition(".")[0]
    return False


def matched(pattern: str, names: Sequence[str], *, field: str) -> list[str]:
    """Return the names that a pattern stands for, at least one.

    Args:
        pattern: The pattern.
        names: Of all parameters.
        field: Where the pattern stands in the spec.

    Raises:
        UserSpecError: There is none; names what there is.
    """
    found = [name for name in names if matches(pattern, name)]
    if found:
        return found
    modules = dict.fromkeys(module for name in names for module in _around(name))
    likely = near(pattern.strip("*."), [*modules, *names], most=1)
    hint = f" Did you mean '{likely[0]}'?" if likely else ""
    raise UserSpecError(
        f"{field}: found '{pattern}', which matches no parameter of the network; allowed a "
        f"pattern of its layers, {some(_layers(names))}, or of their parameters, such as "
        f"{names[0]}.{hint}"
    )


def some(names: Iterable[str]) -> str:
    """Name some of very many."""
    listed = list(names)
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    return ", ".join(listed[:_MOST_NAMED]) + more


def _layers(names: Iterable[str]) -> list[str]:
    """Return the modules that hold parameters of their own, in order."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _around(name: str) -> Iterable[str]:
    while name := name.rpartition(".")[0]:
        yield name
