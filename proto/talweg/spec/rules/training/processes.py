"""Rules about jobs in several processes, which share every batch."""

from collections.abc import Iterator

from talweg.spec.errors import Violation, one_of
from talweg.spec.semantics.batch_norm import batch_norms
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.facts import task_name
from talweg.v1 import options_pb2

_TASKS = (
    options_pb2.REGRESSION,
    options_pb2.BINARY,
    options_pb2.MULTICLASS,
    options_pb2.MULTILABEL,
)


def process_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that a loss over the parts of a batch is the loss over the batch."""
    count = case.spec.resources.processes
    if count <= 1 or not case.sound("resources"):
        return
    path = "resources.processes"
    known = case.task != options_pb2.TASK_KIND_UNSPECIFIED
    if known and case.task not in _TASKS:
        tasks = one_of(map(task_name, _TASKS))
        yield Violation(path, f"{count} with task {task_name(case.task)}", f"1; more with {tasks}")
    for leaf in case.leaves:
        if leaf.facts.user_defined:
            hint = "Such a loss may compare the samples of a batch with each other."
            yield Violation(path, f"{count} with {leaf.name}", "1", hint)
    if any(batch_norms(case.spec.model, "model")):
        hint = "Each process would compute the statistics of its own part of a batch only."
        yield Violation(
            path, f"{count} with batch normalisation", "1, or another normalisation", hint
        )
    if count > case.spec.training.batch_size and case.sound("training"):
        yield Violation(
            path,
            f"{count} with training.batch_size {case.spec.training.batch_size}",
            "at most the number of samples in a batch",
        )
