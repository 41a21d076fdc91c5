"""RecommendLoss over the wire."""

import grpc
from tests.server.calls.test_statuses import details
from tests.server.conftest import Running
from tests.server.samples import spec as sample
from tests.server.test_api import refused, submit

from talweg.spec import from_dict, recommend
from talweg.v1.recommendations_pb2 import ProblemFacts, RecommendLossRequest


async def test_the_answer_is_the_rules_own_and_its_losses_are_submitted_as_they_are(
    running: Running,
) -> None:
    facts = from_dict({"outliers": 0.2, "imbalance": 3}, ProblemFacts)
    request = RecommendLossRequest(task="regression", facts=facts)
    found = await running.catalog.RecommendLoss(request)
    assert found == recommend("regression", facts)
    assert [fact.name for fact in found.ignored] == ["imbalance"]
    best = found.recommendations[0]
    assert best.loss.WhichOneof("kind") == "mae"
    for each in found.recommendations:
        given = sample()
        given.loss.CopyFrom(each.loss)
        job = await submit(running, given)
        assert job.spec.loss == each.loss


async def test_a_task_alone_is_enough(running: Running) -> None:
    found = await running.catalog.RecommendLoss(RecommendLossRequest(task="detection"))
    assert found.recommendations[0].loss.HasField("detection")


async def test_wrong_facts_are_refused_with_every_violation(running: Running) -> None:
    facts = ProblemFacts(imbalance=0.5, noisy_labels=1.5, metric=ProblemFacts.iou)
    request = RecommendLossRequest(task="multiclass", facts=facts)
    code, status = await refused(running.catalog.RecommendLoss(request))
    info, violations = details(status)
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert {violation.field: violation.description for violation in violations} == {
        "facts.imbalance": "found 0.5; allowed a number >= 1.",
        "facts.noisy_labels": "found 1.5; allowed a number >= 0, < 1.",
        "facts.metric": "found iou under task multiclass; allowed one of accuracy, f1_macro. "
        "iou is for segmentation",
    }
    request = RecommendLossRequest(task="multiclas", facts=facts)
    _, status = await refused(running.catalog.RecommendLoss(request))
    task, *others = details(status)[1]
    assert task.field == "task"
    assert "did you mean 'multiclass'?" in task.description
    # Without a task it cannot be told which metrics it has.
    assert [violation.field for violation in others] == [
        "facts.imbalance", "facts.noisy_labels",
    ]  # fmt: skip


async def test_numbers_of_enums_from_newer_clients_are_refused(running: Running) -> None:
    facts = ProblemFacts()
    facts.metric = 99  # type: ignore[assignment]
    request = RecommendLossRequest(task="multiclass", facts=facts)
    code, status = await refused(running.catalog.RecommendLoss(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = details(status)[1]
    assert violation.field == "facts.metric"
