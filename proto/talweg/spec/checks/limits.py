"""What must hold before a spec can be filled: limits on it as a whole, and known enum numbers.

Each list has its own limit beside its field, but lists within lists multiply. What comes after
this walk may take time by the square of a list, or look an enum's number up in a table.
"""

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from talweg.spec.checks.bounds import check_message
from talweg.spec.errors import Violation
from talweg.spec.fields import Type, descriptor_of, fields
from talweg.v1.losses_pb2 import Expression, Loss
from talweg.v1.spec_pb2 import JobSpec

MAX_SPEC_BYTES = 256 * 1024
"""Bytes of a spec at the most, as the message is sent."""
MAX_MESSAGES = 1_000
"""Objects within a spec at the most, such as layers, heads and losses."""
MAX_LOSSES = 100
"""Losses within sums and heads at the most, in all."""
MAX_FORMULA_CHARS = 20_000
"""Characters of all formulas and of their parameters' names at the most."""


def check_fillable(spec: JobSpec) -> list[Violation]:
    """Check what must hold before a spec can be filled and held against the rules.

    It looks at no more of the spec than is allowed, so that a huge one is refused at once.

    Args:
        spec: As it was given.

    Returns:
        The limit that is passed, alone; else, where a list is longer than it may be or an enum has
        a number without a name, all that is wrong by the fields' own bounds; else nothing.
    """
    size = spec.ByteSize()
    if size > MAX_SPEC_BYTES:
        return [Violation("", f"{size:,} bytes", f"at most {MAX_SPEC_BYTES:,} bytes")]
    count = _Count()
    passed = count.add(spec)
    if passed is not None:
        return [passed]
    return check_message(spec, path="") if count.breaks_rules else []


@dataclass
class _Count:
    """Counts what a spec consists of."""

    messages: int = 0
    losses: int = 0
    formula_chars: int = 0
    # A list is too long, or an enum's number has no name: the rules between fields rely on both.
    breaks_rules: bool = False

    def add(self, spec: JobSpec) -> Violation | None:
        """Count all of a spec, or as much as is allowed; return the limit that is passed."""
        # No recursion: messages may be nested as deeply as protobuf reads them.
        waiting: list[Message] = [spec]
        while waiting and self.messages <= MAX_MESSAGES:
            self._look_into(waiting.pop(), waiting)
        # The spec's own loss is none of them.
        losses = self.losses - 1
        if losses > MAX_LOSSES:
            found, hint = "losses in sums and heads", "leave out losses with small weights"
            return self._more("loss", losses, MAX_LOSSES, found, hint)
        if self.formula_chars > MAX_FORMULA_CHARS:
            found, hint = "characters in formulas and their parameters' names", "use a plugin"
            return self._more("loss", self.formula_chars, MAX_FORMULA_CHARS, found, hint)
        if self.messages > MAX_MESSAGES:
            return self._more("", self.messages, MAX_MESSAGES, "nested objects", "")
        return None

    def _look_into(self, message: Message, waiting: list[Message]) -> None:
        known = fields(descriptor_of(message))
        if isinstance(message, Expression):
            self.formula_chars += len(message.formula) + sum(map(len, message.params))
        for descriptor, value in message.ListFields():
            about = known[descriptor.name]
            values: Any = value if about.is_list or about.is_map else (value,)
            if about.max_items is not None and len(values) > about.max_items:
                self.breaks_rules = True
            if about.is_map:
                continue
            if about.enum is not None:
                numbers = about.enum.values_by_number
                self.breaks_rules |= any(number not in numbers for number in values)
            elif about.type is Type.MESSAGE:
                self.messages += len(values)
                if about.message is Loss.DESCRIPTOR:
                    self.losses += len(values)
                if self.messages > MAX_MESSAGES:
                    return  # There may be very many.
                waiting += values

    def _more(self, path: str, number: int, most: int, what: str, hint: str) -> Violation:
        least = "at least " if self.messages > MAX_MESSAGES else ""
        return Violation(path, f"{least}{number:,} {what}", f"at most {most:,}", hint)
