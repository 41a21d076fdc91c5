"""A choice with its parameters in one word of a command line: `huber:delta=2`."""

from collections.abc import Iterator


def read_shorthand(text: str) -> tuple[str, list[str]]:
    """Take a name and its parameters apart.

    Args:
        text: A name alone, or a name and parameters, such as ``focal:gamma=1,alpha=[1, 2]``.

    Returns:
        The name and the parameters, such as ``["gamma=1", "alpha=[1, 2]"]``, as `override` takes
        them behind a path.

    Raises:
        ValueError: A parameter has no value.
    """
    name, _, rest = text.partition(":")
    name, settings = name.strip(), list(_split(rest))
    for one in settings:
        if "=" not in one:
            raise ValueError(f"{name}'s parameters must be NAME=VALUE, but got {one!r}")
    return name, settings


def _split(text: str) -> Iterator[str]:
    """Split at the commas that stand in no brackets."""
    depth, part = 0, ""
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += character
    if part.strip():
        yield part.strip()
