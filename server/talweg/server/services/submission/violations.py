"""Violations of a spec, as the error that carries them."""

from collections.abc import Sequence

from talweg.server.errors import FieldProblem, InvalidSpec
from talweg.spec import Violation


def refused(violations: Sequence[Violation]) -> InvalidSpec:
    """Return the error that tells of all violations, at least one."""
    num = len(violations)
    return InvalidSpec(
        f"{num} violation{'s' if num > 1 else ''} in the spec: " + "; ".join(map(str, violations)),
        fields=[FieldProblem(each.field, each.description) for each in violations],
        metadata={"violations": str(num)},
    )
