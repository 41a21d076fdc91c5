"""Rules about curricula."""

import math
from collections.abc import Iterator

from talweg.spec.errors import Violation, one_of
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.facts import chosen, task_name
from talweg.v1 import options_pb2

# Batches of samples of chosen classes, and players without a loss of samples, know no order.
_WITHOUT = (options_pb2.GAN, options_pb2.METRIC_LEARNING)
# Tasks whose loss a sample has by itself, and without chance.
_LOSS_BY_SAMPLE = (
    options_pb2.REGRESSION,
    options_pb2.BINARY,
    options_pb2.MULTICLASS,
    options_pb2.MULTILABEL,
    options_pb2.ORDINAL,
    options_pb2.SEGMENTATION,
    options_pb2.DETECTION,
    options_pb2.IMAGE_TRANSLATION,
)
_PATH = "training.curriculum"


def curriculum_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that there are samples to be put in an order, and epochs to do so in."""
    training = case.spec.training
    if not training.HasField("curriculum") or not case.sound(_PATH):
        return
    difficulty = training.curriculum.difficulty
    by_loss = chosen(difficulty) == "first_pass"
    task = case.task
    if task in _WITHOUT:
        hint = "Its batches are not drawn by sample."
        yield Violation(_PATH, f"a curriculum with task {task_name(task)}", "none", hint)
    elif by_loss and task not in (*_LOSS_BY_SAMPLE, options_pb2.TASK_KIND_UNSPECIFIED):
        yield Violation(
            f"{_PATH}.difficulty",
            f"first_pass with task {task_name(task)}",
            f"array; first_pass with {one_of(map(task_name, _LOSS_BY_SAMPLE))}",
            "The loss of a single sample is not meaningful here, or is random.",
        )
    first_pass = difficulty.first_pass.epochs if by_loss else 0
    epochs = _epochs(case)
    if epochs is not None and epochs < first_pass + 2:
        behind = f" after the {first_pass} of the warm-up" if first_pass else ""
        length = training.WhichOneof("length")
        yield Violation(
            f"training.{length}",
            f"{epochs} epoch{'s' if epochs > 1 else ''} with a curriculum",
            f"at least {first_pass + 2} epochs, so that 2 are left{behind}",
            "The first includes a part of the samples, and the last all of them.",
        )


def _epochs(case: SpecContext) -> int | None:
    """Give the epochs of the whole training; None where not known."""
    training = case.spec.training
    if not case.sound("training"):
        return None
    if training.WhichOneof("length") == "epochs":
        return training.epochs
    if case.sizes is None or case.sizes[0] < 1:
        return None
    steps_an_epoch = math.ceil(case.sizes[0] / (training.batch_size * training.accumulation))
    return math.ceil(training.steps / steps_an_epoch)
