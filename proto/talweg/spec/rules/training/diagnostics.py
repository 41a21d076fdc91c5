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
            hint = "The weights themselves are then the centre of the grid."
            yield Violation(at, str(points), "an odd number", hint)
        if case.task == options_pb2.GAN:
            yield Violation(
                "diagnostics.loss_landscape",
                "loss_landscape with task gan",
                "loss_landscape with tasks of a single loss",
                "Generator and critic have separate losses, which depend on each other's state.",
            )
