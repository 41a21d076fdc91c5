"""Rules about replays."""

from collections.abc import Iterator

from talweg.spec.errors import Violation
from talweg.spec.semantics.context import SpecContext


def replay_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that a replay names its step."""
    spec = case.spec
    if not spec.HasField("replay"):
        return
    if not spec.replay.HasField("step"):
        yield Violation("replay.step", "nothing", "the number of an optimizer step, from 1")
    twice = [row for row in set(spec.replay.without) if list(spec.replay.without).count(row) > 1]
    if twice:
        yield Violation("replay.without", f"row {min(twice)} twice", "each row once")
