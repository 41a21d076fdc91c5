"""What the service knows, from the descriptors."""

from collections.abc import Sequence

from talweg import spec
from talweg.server.errors import FieldProblem, InvalidRequest
from talweg.v1.catalog_pb2 import LossEntry
from talweg.v1.recommendations_pb2 import ProblemFacts, RecommendLossResponse


def losses(task: str) -> Sequence[LossEntry]:
    """List losses.

    Args:
        task: Only those that fit this task; all where empty.

    Raises:
        InvalidRequest: There is no such task.
    """
    try:
        return spec.losses(task or None)
    except ValueError as exc:
        raise InvalidRequest.of("task", str(exc).removeprefix("task ")) from exc


def recommend(task: str, facts: ProblemFacts) -> RecommendLossResponse:
    """Rank the losses that suit a task, given what is known about its data.

    Args:
        task: A task by kind; those too that no job can have yet.
        facts: What is known and wanted.

    Raises:
        InvalidRequest: There is no such task, or facts break rules; carries every violation.
    """
    try:
        return spec.recommend(task, facts)
    except spec.SpecError as exc:
        raise InvalidRequest(
            "; ".join(map(str, exc.violations)),
            fields=[FieldProblem(each.field, each.description) for each in exc.violations],
        ) from exc
