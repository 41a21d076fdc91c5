"""The ranking of losses by facts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from talweg.spec.advice._classes import BINARY, MULTICLASS, MULTILABEL, ORDINAL
from talweg.spec.advice._conditions import Facts
from talweg.spec.advice._facts import (
    PATH,
    check_facts,
    kinds,
    known,
    relevant,
    tasks_of,
    unknown_task,
)
from talweg.spec.advice._images import DETECTION, IMAGE_TRANSLATION, SEGMENTATION
from talweg.spec.advice._others import GAN, MULTITASK, VAE
from talweg.spec.advice._regression import REGRESSION
from talweg.spec.advice._table import Row, Table
from talweg.spec.advice._vectors import METRIC_LEARNING, SELF_SUPERVISED
from talweg.spec.checks.bounds import check_message
from talweg.spec.errors import SpecError, number_text
from talweg.spec.fields import fields
from talweg.spec.reading.fill import fill_message
from talweg.spec.reading.json_form import from_dict
from talweg.spec.semantics.facts import leaves, loss_facts, task_name, tasks_by_name
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.recommendations_pb2 import (
    IgnoredFact,
    LossRecommendation,
    ProblemFacts,
    RecommendLossResponse,
)
from talweg.v1.tasks_pb2 import Task

TABLES: Mapping[TaskKind.ValueType, Table] = {
    table.task: table
    for table in (
        REGRESSION, BINARY, MULTICLASS, MULTILABEL, ORDINAL, SEGMENTATION, DETECTION,
        METRIC_LEARNING, SELF_SUPERVISED, GAN, VAE, IMAGE_TRANSLATION, MULTITASK,
    )
}  # fmt: skip
"""The advice, by task."""


def recommend(task: str, facts: ProblemFacts | None = None) -> RecommendLossResponse:
    """Rank the losses that suit a task, problem what is known about its data.

    Args:
        task: The name of a task, such as ``multiclass``, even if jobs do not support it yet.
        facts: What is known and wanted. Facts that do not affect the task are listed in the
            response and ignored.

    Returns:
        At least one recommendation, the best first, each with a complete `Loss`.

    Raises:
        SpecError: The task is unknown, or facts are out of bounds or contradict each other; with
            all violations.
    """
    problem = ProblemFacts() if facts is None else facts
    if task not in kinds():
        raise SpecError([unknown_task(task), *check_message(problem, PATH)])
    kind = kinds()[task]
    violations = check_facts(problem, kind)
    if violations:
        raise SpecError(violations)
    used = _derived(relevant(known(problem), kind))
    table, texts = TABLES[kind], _Texts(used)
    return RecommendLossResponse(
        recommendations=[
            LossRecommendation(
                loss=loss,
                reason=_sentence(texts, (row for row in rows if row.points > 0)),
                caution=_sentence(texts, (row for row in rows if row.points <= 0)),
                facts=_facts_of(rows, used),
                **_for_jobs(name, loss, table, used),
            )
            for name, loss, rows in _ranked(table, used)
        ],
        notes=[note.text.format_map(texts) for note in table.notes if note.when.holds(used)],
        ignored=[
            IgnoredFact(name=field.name, reason=_elsewhere(field.name, kind))
            for field, _ in problem.ListFields()
            if kind not in tasks_of(field.name)
        ],
    )


def _ranked(table: Table, facts: Mapping[str, Any]) -> Iterator[tuple[str, Loss, list[Row]]]:
    """Yield each loss with points: its name, the complete loss, and the rows that apply."""
    spoken: dict[str, list[Row]] = {name: [] for name in table.losses}
    for row in table.rows:
        if row.when.holds(facts):
            spoken[row.loss].append(row)
    points = {name: sum(row.points for row in rows) for name, rows in spoken.items()}
    for name in sorted(points, key=lambda name: -points[name]):
        if points[name] > 0:
            template = table.losses[name]
            form = template(facts) if callable(template) else template
            # The strongest reason comes first.
            rows = sorted(spoken[name], key=lambda row: -abs(row.points))
            yield name, fill_message(from_dict(form, Loss)), rows


def _derived(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Add derived values that losses and texts use."""
    more: dict[str, Any] = {}
    if "over_cost" in facts:
        more["cost_quantile"] = round(1 / (1 + facts["over_cost"]), 6)
    if "miss_cost" in facts:
        more["miss_threshold"] = round(1 / (1 + facts["miss_cost"]), 4)
    if "outliers" in facts:
        more["outliers_percent"] = 100 * facts["outliers"]
    if "noisy_labels" in facts:
        more["noise_percent"] = 100 * facts["noisy_labels"]
    if "imbalance" in facts:
        more["majority_percent"] = round(100 * facts["imbalance"] / (1 + facts["imbalance"]), 1)
    return {**facts, **more}


class _Texts(dict[str, str]):
    """Facts formatted for texts."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__({name: _text(value) for name, value in facts.items()})


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return number_text(float(f"{value:.4g}"))


def _sentence(texts: _Texts, rows: Iterable[Row]) -> str:
    """Join the texts of rows without duplicates."""
    said = dict.fromkeys(row.why.format_map(texts) for row in rows if row.why)
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _facts_of(rows: Iterable[Row], facts: Mapping[str, Any]) -> list[str]:
    """Return the names of the facts behind a recommendation, in order of declaration."""
    read = {name for row in rows for name in row.when.reads}
    return [name for name in fields(ProblemFacts.DESCRIPTOR) if name in read and name in facts]


def _for_jobs(name: str, loss: Loss, table: Table, facts: Facts) -> dict[str, Any]:
    """Return the task for a loss, or the reason why no job can train with it."""
    reason = _only_evaluated(name, loss, table, facts)
    if reason:
        return {"only_evaluated": reason}
    member = next(name for name, kind in tasks_by_name().items() if kind == table.task)
    return {"task": from_dict({member: dict(table.settings(facts))}, Task)}


def _only_evaluated(name: str, loss: Loss, table: Table, facts: Facts) -> str:
    """Return why no job can train with a loss; '' if jobs can."""
    if table.task not in tasks_by_name().values():
        return f"jobs do not support the task {task_name(table.task)} yet"
    for bar in table.bars:
        if bar.loss in ("", name) and bar.when.holds(facts):
            return bar.text
    reasons = (loss_facts(leaf.DESCRIPTOR).only_evaluated for *_, leaf in leaves(loss))
    return next(filter(None, reasons), "")


def _elsewhere(fact: str, task: TaskKind.ValueType) -> str:
    bearing = ", ".join(map(task_name, tasks_of(fact)))
    return f"it does not affect the choice for {task_name(task)}, only for {bearing}"
