"""Rules of adversarial games."""

from collections.abc import Iterator

from talweg.spec.errors import Violation
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.facts import chosen
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Gan, GanSide


def game_rules(case: SpecContext) -> Iterator[Violation]:
    """Check the two players' loss and what holds the critic."""
    if case.task != options_pb2.GAN or chosen(case.spec.loss) != "gan":
        return
    loss, game = case.spec.loss.gan, case.spec.task.gan
    if loss.side == GanSide.generator:
        yield Violation(
            "loss.gan.side",
            "generator in a job",
            "discriminator",
            "jobs train both sides: leave it out",
        )
    if loss.form == Gan.wgan and not game.WhichOneof("constraint"):
        yield Violation(
            "task.gan",
            "form wgan without regularisation of the critic",
            "one of gradient_penalty, weight_clip",
            "the critic's scores would be unbounded: use task: {gan: {gradient_penalty: 10}}",
        )
