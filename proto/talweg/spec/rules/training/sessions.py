"""Rules about jobs of sessions."""

from collections.abc import Iterator

from talweg.spec.errors import Violation, shown
from talweg.spec.semantics.context import SpecContext


def session_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that a session can compare a job, and test it when it is closed."""
    spec = case.spec
    if not spec.HasField("session"):
        return
    if spec.outputs.HasField("checkpoint") and not spec.outputs.checkpoint:
        hint = "a session is tested from it when it is closed; leave it out"
        yield Violation("outputs.checkpoint", "false", "true in a session", hint)
    if spec.split.HasField("validation") and not spec.split.validation:
        hint = "the answers of a session rest on validation data"
        found = shown(spec.split.validation)
        yield Violation("split.validation", found, "a fraction > 0 in a session", hint)
