"""Rules about class-balanced and weighted sampling."""

from collections.abc import Iterator

from talweg.spec.errors import Violation, one_of, shown
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.facts import chosen, task_name
from talweg.v1 import options_pb2

# Tasks in which a sample has exactly one class.
_OF_CLASSES = (options_pb2.BINARY, options_pb2.MULTICLASS, options_pb2.ORDINAL)
_PATH = "training.sampling"
_COLUMN = f"{_PATH}.weighted.column"
_INSTEAD = {
    options_pb2.MULTILABEL: "a sample has several labels: weigh these in the loss, by pos_weight: "
    "balanced, or draw by weights of your own",
    options_pb2.SEGMENTATION: "classes are those of pixels: weigh these in the loss",
    options_pb2.DETECTION: "classes are those of boxes: weigh these in the loss",
    options_pb2.METRIC_LEARNING: "batches hold as many samples of each of their classes already: "
    "see task.metric_learning.samples_per_class",
}


def sampling_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that samples have what they are drawn by."""
    name = chosen(case.spec.training.sampling)
    if not name or not case.sound(_PATH):
        return
    task = case.task
    if name == "balanced":
        if task not in (*_OF_CLASSES, options_pb2.TASK_KIND_UNSPECIFIED):
            yield Violation(
                _PATH,
                f"balanced under task {task_name(task)}",
                f"balanced under {one_of(map(task_name, _OF_CLASSES))}",
                _INSTEAD.get(task, "leave it out, or draw by weights of your own: weighted"),
            )
        return
    if task == options_pb2.METRIC_LEARNING:
        yield Violation(_PATH, f"weighted under task {task_name(task)}", "none", _INSTEAD[task])
    dataset = case.spec.dataset
    if chosen(dataset) not in ("stored", "file", "uri", ""):
        yield Violation(
            _PATH,
            f"weighted on {chosen(dataset)}, which has no column of weights",
            "weighted on stored data, or balanced",
            "upload the data with a column of weights",
        )
    elif chosen(dataset) == "stored":
        column, role = case.spec.training.sampling.weighted.column, dataset.stored.weight
        if not column:
            yield Violation(
                _COLUMN, "nothing", "the name of a column", "write sampling: {weighted: COLUMN}"
            )
        elif role != column:
            yield Violation(
                _COLUMN,
                f"{shown(column)} beside dataset.stored.weight: {role}",
                "one column",
                "leave one of them out",
            )
