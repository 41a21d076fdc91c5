"""Rules about the metrics that a job chooses itself."""

from collections.abc import Iterator

from talweg.spec import formulas
from talweg.spec.errors import SpecError, Violation, one_of, shown
from talweg.spec.plugins.checking import check_parameters
from talweg.spec.reading import json_objects
from talweg.spec.semantics.context import SpecContext
from talweg.spec.semantics.custom_metrics import custom_metric_name
from talweg.spec.semantics.facts import chosen, task_facts, task_name
from talweg.spec.semantics.torchmetrics_classes import CLASSES
from talweg.spec.spelling import nearest
from talweg.v1 import options_pb2
from talweg.v1.evaluation_pb2 import CustomMetric, TorchMetric
from talweg.v1.tasks_pb2 import Task

_OF_TASK = ("Binary", "Multiclass")


def evaluation_rules(case: SpecContext) -> Iterator[Violation]:
    """Check custom metrics: known classes, formulas that can be read, names of their own."""
    metrics = case.spec.evaluation.metrics
    if not metrics or case.task == options_pb2.TASK_KIND_UNSPECIFIED:
        return
    if case.task not in CLASSES:
        allowed = ", ".join(task_name(kind) for kind in CLASSES)  # type: ignore[arg-type]
        yield Violation(
            "evaluation.metrics",
            f"metrics with task {task_name(case.task)}",
            f"the tasks {allowed}",
        )
        return
    message = Task.DESCRIPTOR.fields_by_name[chosen(case.spec.task)].message_type
    taken = {"loss": "the loss"} | {
        facts.name: f"a metric of the task {task_name(case.task)}"
        for facts in task_facts(message).metrics
    }
    for index, metric in enumerate(metrics):
        path = f"evaluation.metrics[{index}]"
        yield from _metric(case, metric, path)
        name = custom_metric_name(metric)
        if name in taken:
            yield Violation(
                f"{path}.name",
                f"{shown(name)}, which is {taken[name]} already",
                "a name of its own",
            )
        taken[name] = f"evaluation.metrics[{index}]"


def _metric(case: SpecContext, metric: CustomMetric, path: str) -> Iterator[Violation]:
    has_class, has_formula = metric.HasField("torchmetrics"), metric.HasField("formula")
    if has_class == has_formula:
        told = "both torchmetrics and" if has_class else "neither torchmetrics nor"
        yield Violation(path, f"{told} formula", "one of them")
    elif has_formula:
        for name in sorted(metric.params):
            if problem := formulas.param_problem(name):
                yield Violation(f"{path}.params", f"the name {shown(name)}", problem)
        try:
            formulas.parse(metric.formula, metric.params, path=f"{path}.formula")
        except SpecError as exc:
            yield from exc.violations
        if not metric.HasField("goal"):
            yield Violation(f"{path}.goal", "nothing", "minimize or maximize")
    else:
        if metric.HasField("goal") and metric.torchmetrics.HasField("goal"):
            yield Violation(f"{path}.goal", "a goal beside torchmetrics.goal", "one of them")
        if metric.params:
            yield Violation(
                f"{path}.params", "params with torchmetrics", "torchmetrics.parameters"
            )
        yield from _torchmetrics(case, metric.torchmetrics, f"{path}.torchmetrics")


def _torchmetrics(case: SpecContext, metric: TorchMetric, path: str) -> Iterator[Violation]:
    classes, name = CLASSES[case.task], metric.class_name
    if name not in classes:
        if not name:
            return  # The message's own bounds say so.
        plain = next((name.removeprefix(each) for each in _OF_TASK if name.startswith(each)), name)
        hint = f"did you mean {plain!r}?" if plain in classes else nearest(plain, classes)
        yield Violation(f"{path}.class", shown(name), one_of(classes), hint)
        return
    try:
        parameters = json_objects.read(metric.parameters or "{}")
    except ValueError as exc:
        yield Violation(f"{path}.parameters", str(exc), "a JSON object")
        return
    if parameters and not classes[name].declaration.parameters:
        found = f"parameters of {name}, which has none"
        yield Violation(f"{path}.parameters", found, "none")
        return
    _, violations = check_parameters(classes[name].declaration, parameters, f"{path}.parameters")
    yield from violations
