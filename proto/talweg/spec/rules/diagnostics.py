"""Rules about what a job looks into besides its training."""

from collections.abc import Iterator

from talweg.spec.errors import Violation
from talweg.spec.semantics.context import SpecContext
from talweg.v1 import options_pb2


def diagnostics_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that what is to be looked into is there."""
    asked = case.spec.diagnostics
    if asked.HasField("loss_landscape"):
        points = asked.loss_landscape.points
        if points % 2 == 0:
            at = "diagnostics.loss_landscape.points"
            hint = "So the weights themselves are in the middle."
            yield Violation(at, str(points), "an odd number", hint)
        if case.task == options_pb2.GAN:
            yield Violation(
                "diagnostics.loss_landscape",
                "one with task gan",
                "it with tasks of a single loss",
                "Each player has a loss of its own, which depends on where the other stands.",
            )
