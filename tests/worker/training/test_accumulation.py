"""Several batches a step are one larger batch."""

from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job, rare, run, trained

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import NullReporter
from talweg.worker.training.setup import set_up


@pytest.mark.parametrize("epochs", [1, 3])
def test_accumulation_is_a_bigger_batch(epochs: int) -> None:
    def weights(batch_size: int, accumulation: int) -> torch.Tensor:
        training = {"epochs": epochs, "batch_size": batch_size, "accumulation": accumulation}
        spec = job(training=training, optimizer={"sgd": {"learning_rate": 0.1}})
        result, report = run(spec)
        assert result.model is not None
        # 266 samples: windows of 96, 96 and 74, the last of batches of 32, 32 and 10.
        assert result.steps == report.total_steps == 3 * epochs
        return flat(result.model)

    assert torch.allclose(weights(32, 3), weights(96, 1), rtol=0, atol=1e-6)


def _sum(*losses: Any) -> dict[str, Any]:
    return {"sum": {"terms": [{"loss": loss, "weight": 1 + n} for n, loss in enumerate(losses)]}}


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("multiclass", {"cross_entropy": {"weight": [1, 20]}}),
        ("multiclass", {"cross_entropy": {"ignore_index": 0}}),
        ("multiclass", {"focal": {"ignore_index": 0}}),
        ("multiclass", {"ldam": {"weight": [1, 20]}}),
        ("binary", {"focal_binary": {"normalizer": "positives"}}),
        ("binary", {"bce_with_logits": {"pos_weight": [9]}}),
        ("binary", _sum({"focal_binary": {"normalizer": "positives"}}, "bce_with_logits")),
        (
            "multiclass",
            _sum(
                "poly1",
                _sum({"cross_entropy": {"weight": [1, 20]}}, {"focal": {"ignore_index": 0}}),
            ),
        ),
    ],
)
def test_accumulation_is_a_bigger_batch_where_samples_weigh_differently(
    task: str, loss: Any
) -> None:
    def weights(batch_size: int, accumulation: int) -> torch.Tensor:
        spec = rare(loss, 0.2, task)
        spec.optimizer.sgd.learning_rate = 0.05
        spec.training.steps, spec.training.batch_size = 12, batch_size
        spec.training.accumulation = accumulation
        return flat(trained(spec))

    # Batches of 7 samples hold very different numbers of the rare class, or none.
    assert torch.allclose(weights(7, 3), weights(21, 1), rtol=0, atol=2e-6)


def test_accumulation_is_a_bigger_batch_where_ranks_take_part_in_levels() -> None:
    def weights(batch_size: int, accumulation: int) -> torch.Tensor:
        training = {"steps": 12, "batch_size": batch_size, "accumulation": accumulation}
        sgd = {"sgd": {"learning_rate": 0.1}}
        spec = job(task="ordinal", loss="corn", training=training, optimizer=sgd)
        return flat(trained(spec))

    assert torch.allclose(weights(3, 3), weights(9, 1), rtol=0, atol=2e-6)


# Of two heads one counts the pixels of objects alone, which differ from image to image.
MASKS = [
    {"cross_entropy": {"ignore_index": 0}},
    _sum({"cross_entropy": {"ignore_index": 0}}, {"ce_dice": {"ignore_index": 1}}),
]


def two_heads(weighing: str, masks: Any, rate: float, **training: int) -> JobSpec:
    losses = [masks, "mse"]
    scenes = {"num_samples": 20, "min_digits": 1, "max_digits": 9}
    return job(
        task={"multitask": {"heads": ["segmentation", "depth"]}},
        dataset={"digit_scenes": scenes},
        model={"multi_head": {"trunk": {"unet": {"channels": [2, 3], "batch_norm": False}}}},
        loss=_sum(*losses) if weighing == "sum" else {weighing: {"losses": losses}},
        optimizer={"sgd": {"learning_rate": rate}},
        training=training,
    )


@pytest.mark.parametrize("weighing", ["sum", "uncertainty"])
def test_accumulation_is_a_bigger_batch_for_each_head(weighing: str) -> None:
    def weights(batch_size: int, accumulation: int) -> torch.Tensor:
        sizes = {"steps": 3, "batch_size": batch_size, "accumulation": accumulation}
        return flat(trained(two_heads(weighing, MASKS[1], 0.01, **sizes)))

    assert torch.allclose(weights(1, 3), weights(3, 1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("weighing", ["sum", "uncertainty", "gradnorm"])
def test_under_accumulation_a_heads_loss_is_that_of_its_batch(weighing: str, masks: Any) -> None:
    def last(steps: int, accumulation: int) -> float:
        sizes = {"steps": steps, "batch_size": 1, "accumulation": accumulation}
        # So small a rate that all batches meet the same network.
        _, report = run(two_heads(weighing, masks, 1e-9, **sizes), may_be_unwell=True)
        return report.last("train/segmentation/loss")

    assert last(1, 3) == pytest.approx(last(3, 1), rel=1e-4)


def test_gradnorm_goes_by_first_losses_as_they_are() -> None:
    def first(accumulation: int) -> list[float]:
        spec = two_heads(
            "gradnorm", MASKS[0], 0.01, steps=1, batch_size=1, accumulation=accumulation
        )
        setup = set_up(spec, torch.device("cpu"), NullReporter())
        batch = next(iter(setup.batches.of_epoch(setup.state.order)))[0]
        setup.loss_of(batch)
        criterion: Any = setup.learner.task.criterion
        return list(criterion.initial_losses.tolist())

    assert first(3) == first(1)


def test_accumulation_averages_the_batches_of_a_sum() -> None:
    def weights(batch_size: int, accumulation: int, rate: float) -> torch.Tensor:
        training = {"steps": 1, "batch_size": batch_size, "accumulation": accumulation}
        return flat(
            trained(
                job(
                    training=training,
                    loss={"mse": {"reduction": "sum"}},
                    optimizer={"sgd": {"learning_rate": rate, "momentum": 0}},
                )
            )
        )

    # Half of what the batch of both, of 200 and of 66 samples, would move it by.
    assert torch.allclose(weights(200, 2, 1e-3), weights(266, 1, 5e-4), rtol=0, atol=1e-6)
