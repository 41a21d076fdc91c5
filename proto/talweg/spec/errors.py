"""What is wrong with a spec, in a form that people and programs can read.

ValueError
└── SpecError       everything that is wrong with one spec, at once
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from talweg.spec.characters import escape_control

_DESCRIPTION = re.compile(
    r"found (?P<found>.*); allowed (?P<allowed>.*?)\.(?: (?P<hint>.*))?", re.DOTALL
)
_LONGEST_FOUND = 80

MAX_VIOLATIONS = 100
"""So many violations are told at the most: nobody reads more, and hints take time."""


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a spec."""

    field: str
    """Where, such as ``model.sequential.layers[2].conv2d.stride``."""
    found: str
    """What stands there, in words."""
    allowed: str
    """What may stand there."""
    hint: str = ""
    """What to do, such as the nearest known name; empty where there is nothing to add."""

    @property
    def description(self) -> str:
        """All but the field, as one sentence: ``found -1; allowed a number > 0.``."""
        sentence = f"found {self.found}; allowed {self.allowed}."
        return f"{sentence} {self.hint}" if self.hint else sentence

    @classmethod
    def from_description(cls, field: str, description: str) -> "Violation":
        """Take a description apart again; text of another form becomes the hint."""
        match = _DESCRIPTION.fullmatch(description)
        if match is None:
            return cls(field=field, found="", allowed="", hint=description)
        return cls(field, match["found"], match["allowed"], match["hint"] or "")

    def __str__(self) -> str:
        """Give the field and the description."""
        if not self.found and not self.allowed:
            return f"{self.field}: {self.hint}"
        return f"{self.field}: {self.description}" if self.field else self.description


class SpecError(ValueError):
    """A spec that cannot be accepted, with everything that is wrong with it."""

    violations: tuple[Violation, ...]
    """All that is wrong, in the order of the spec."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        """Keep the violations; the message lists them, one a line."""
        self.violations = tuple(violations)
        super().__init__("\n".join(str(violation) for violation in self.violations))


def shown(value: object) -> str:
    """Show a value as JSON writes it, shortened; objects and lists by their size."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return _shortened(escape_control(json.dumps(value, ensure_ascii=False)))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} fields" if value else "an empty object"
    if isinstance(value, Sequence):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, int):
        # The decimal form of a huge integer is refused by Python and unreadable anyway.
        bits = value.bit_length()
        return str(value) if bits < 200 else f"an integer of {bits} bits"
    if isinstance(value, float):
        return number_text(value)
    return f"a value of type {type(value).__name__}"


def number_text(value: float) -> str:
    """Write a number as shortly as it can be read back: 1.0 as ``1``, 1e-3 as ``0.001``."""
    if isinstance(value, int):
        return str(value)
    text = repr(float(value))
    return text[:-2] if text.endswith(".0") else text


def one_of(names: Iterable[str]) -> str:
    """Name all members of a set: ``one of mae, mse``."""
    listed = list(names)
    if not listed:
        return "nothing"
    return listed[0] if len(listed) == 1 else "one of " + ", ".join(listed)


def joined(path: str, name: str) -> str:
    """Append a field's name to a path."""
    return f"{path}.{name}" if path else name


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 1] + "…"


def limited(violations: list[Violation]) -> list[Violation]:
    """Return the first violations of very many, and a last one that says so."""
    if len(violations) <= MAX_VIOLATIONS:
        return violations
    more = f"more than {MAX_VIOLATIONS} violations"
    hint = f"the first {MAX_VIOLATIONS} are listed; fix these first"
    return [*violations[:MAX_VIOLATIONS], Violation("", more, "none", hint)]
