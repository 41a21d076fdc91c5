"""A curriculum: which samples are drawn when, and that the loss is the mean over these."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.worker.training.jobs import flat, job, run, trained
from tests.worker.training.test_processes import TOLERANCE, two_cores, wine

from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import losses
from talweg.worker.tasks import Batch
from talweg.worker.training import NullReporter, RecordingReporter
from talweg.worker.training.batching.batches import Batches, Order, Plan
from talweg.worker.training.batching.curriculum import full_from, share_of, threshold_of
from talweg.worker.training.optim.lr_schedules import Length
from talweg.worker.training.setup import Setup, set_up
from talweg.worker.training.step import forward_backward

BY_TARGET = {"difficulty": {"array": "y"}}
"""Of diabetes: how far the disease has gone, 25 to 346."""


def with_curriculum(curriculum: dict[str, Any], **training: Any) -> JobSpec:
    """Diabetes: 266 training samples, 9 batches an epoch."""
    return job(training={"epochs": 6, "curriculum": curriculum, **training})


def ready(spec: JobSpec) -> Setup:
    return set_up(spec, torch.device("cpu"), NullReporter())


def drawn(setup: Setup, epoch: int) -> list[list[int]]:
    """Return the samples of each step of an epoch."""
    setup.state.order.position = 0
    setup.curriculum.epoch_begins(epoch)
    steps = []
    for _ in setup.batches.of_epoch(setup.state.order):
        samples, _ = setup.batches.samples(setup.state.order)
        steps.append(samples)
    return steps


@pytest.mark.parametrize(
    ("start", "rising", "epochs", "shares"),
    [
        (0.3, 0.5, 20, {1: 0.3, 2: 0.3 + 0.7 / 9, 9: 0.3 + 0.7 * 8 / 9, 10: 1, 11: 1, 20: 1}),
        (0.25, 1.0, 4, {1: 0.25, 2: 0.5, 3: 0.75, 4: 1}),
        (0.1, 0.01, 50, {1: 0.1, 2: 1}),
        (0.5, 0.5, 5, {1: 0.5, 2: 0.75, 3: 1}),
        (1.0, 1.0, 9, {1: 1, 2: 1}),
    ],
)
def test_the_share_rises_from_the_start_share_to_all(
    start: float, rising: float, epochs: int, shares: dict[int, float]
) -> None:
    full = full_from(rising, epochs)
    found = {epoch: share_of(epoch, start=start, full=full) for epoch in shares}
    assert found == pytest.approx(shares)


@pytest.mark.parametrize(
    ("difficulty", "share", "threshold"),
    [
        ([4.0, 1, 3, 2], 0.5, 2),
        ([4.0, 1, 3, 2], 0.51, 3),
        # Floating point: 0.1 + 0.2 of ten samples are three, not four.
        ([float(n) for n in range(10)], 0.1 + 0.2, 2),
        ([4.0, 1, 3, 2], 0.01, 2),
        ([5.0], 0.01, 5),
        ([1.0, 1, 1, 2], 0.25, 1),
        ([1.0, math.inf, math.inf, 2], 0.75, math.inf),
        ([-math.inf, 3, 2, 7], 0.5, 2),
    ],
)
def test_the_threshold_lets_a_share_in(
    difficulty: list[float], share: float, threshold: float
) -> None:
    assert threshold_of(torch.tensor(difficulty, dtype=torch.float64), share) == threshold


def test_the_first_epochs_draw_the_easiest_and_the_last_ones_all() -> None:
    setup = ready(with_curriculum({**BY_TARGET, "start_share": 0.3}))
    target = setup.splits.bundle.train.y.numpy()
    for epoch, share in ((1, 0.3), (2, 0.65), (3, 1.0), (6, 1.0)):
        steps = drawn(setup, epoch)
        samples = sorted(set(np.concatenate(steps).tolist()))
        assert len(steps) == 9
        threshold = np.quantile(target, share, method="inverted_cdf")
        assert samples == np.flatnonzero(target <= threshold).tolist()
        assert len(samples) == pytest.approx(share * 266, abs=3)


@pytest.mark.parametrize(("accumulation", "batch_size"), [(1, 32), (3, 8), (2, 79), (1, 400)])
def test_each_pass_takes_each_admitted_sample_once(accumulation: int, batch_size: int) -> None:
    setup = ready(
        with_curriculum(BY_TARGET, accumulation=accumulation, batch_size=batch_size, epochs=20)
    )
    setup.curriculum.epoch_begins(1)
    steps = drawn(setup, 1)
    assert len(steps) == math.ceil(266 / (accumulation * batch_size))
    admitted = sorted(set(np.concatenate(steps).tolist()))
    assert 80 <= len(admitted) <= 82
    a_pass: list[int] = []
    passes = []
    for step in steps:
        assert len(set(step)) == len(step) > 1
        a_pass += step
        if len(a_pass) >= len(admitted):
            assert sorted(a_pass) == admitted
            passes.append(a_pass)
            a_pass = []
    assert len(set(a_pass)) == len(a_pass)
    assert len(set(map(tuple, passes))) == len(passes)


def test_a_single_sample_at_the_end_joins_the_batch_before() -> None:
    plan = Plan(num_samples=20, batch_size=4, accumulation=1, sums=False, length=Length(10, 5))
    batches = Batches({"x": torch.arange(20.0)}, plan)

    def sizes() -> list[int]:
        return [len(window[0]) for window in batches.of_epoch(Order(0))]

    assert sizes() == [4, 4, 4, 4, 4]
    batches.admit(torch.arange(0, 18, 2))
    assert sizes() == [4, 5, 4, 5, 4]
    batches.admit(torch.tensor([3]))
    assert sizes() == [1, 1, 1, 1, 1]
    batches.admit(None)
    assert sizes() == [4, 4, 4, 4, 4]


@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy",
        {"cross_entropy": {"weight": "balanced"}},
        {"focal": {"gamma": 1}},
        {"cross_entropy": {"reduction": "sum"}},
    ],
)
@pytest.mark.parametrize("training", [{"batch_size": 200}, {"batch_size": 30, "accumulation": 7}])
def test_a_steps_gradient_is_that_of_the_mean_over_the_admitted(
    loss: Any, training: dict[str, int]
) -> None:
    curriculum = {"start_share": 0.4, "difficulty": {"array": "y"}}
    spec = job(
        task="multiclass", dataset="wine", loss=loss,
        training={"epochs": 5, "curriculum": curriculum, **training},
    )  # fmt: skip
    setup = ready(spec)
    setup.curriculum.epoch_begins(1)
    # One step takes a whole pass.
    window = next(setup.batches.of_epoch(setup.state.order))
    total = forward_backward(window, setup.loss_of, 1.0)
    gradients = [p.grad.clone() for p in setup.state.model.parameters() if p.grad is not None]
    admitted = setup.splits.bundle.train.y <= 1
    assert sum(map(len, window)) == int(admitted.sum()) < len(setup.splits.train)
    setup.state.update.clear()
    arrays = {name: array[admitted] for name, array in setup.splits.train.arrays.items()}
    whole = setup.loss_of(Batch(arrays)) / (len(window) if setup.plan.sums else 1)
    whole.backward()  # type: ignore[no-untyped-call]
    assert float(total) == pytest.approx(whole.item(), rel=1e-5)
    assert float(total) > 0.1
    for ours, parameter in zip(gradients, setup.state.model.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(ours, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_first_epochs_loss_is_that_of_the_start_share() -> None:
    # A threshold of epoch/epochs that leaves nobody in the first epoch would show as 0.
    spec = with_curriculum(
        {**BY_TARGET, "start_share": 0.2}, batch_size=300, log_every_steps=1, epochs=8
    )
    setup = ready(spec)
    y = setup.splits.bundle.train.y
    chosen = y <= y.kthvalue(math.ceil(0.2 * 266)).values
    setup.state.model.eval()
    with torch.no_grad():
        pred = setup.state.model(setup.splits.bundle.train.x[chosen])
    build = from_dict("mse", Loss)
    expected = losses.evaluate(build, {"pred": pred, "target": y[chosen][:, None]})
    result, report = run(spec)
    assert result.state == Job.SUCCEEDED, result.message
    assert report.series("train/loss")[0][1] == pytest.approx(float(expected), rel=1e-5)
    assert [share for _, share in report.series("curriculum/share")] == pytest.approx(
        [0.2, 0.2 + 0.8 / 3, 0.2 + 1.6 / 3, 1, 1, 1, 1, 1], abs=0.02
    )
    thresholds = [value for _, value in report.series("curriculum/threshold")]
    assert thresholds[0] == float(setup.splits.bundle.difficulty.sort().values[53])  # type: ignore[union-attr]
    assert thresholds == sorted(thresholds)
    assert thresholds[-1] == 346
    assert report.total_steps == 8
    assert report.epochs == (8, 8)


def test_with_all_from_the_start_it_is_the_training_without() -> None:
    everything = {**BY_TARGET, "start_share": 1}
    plain = trained(job(training={"epochs": 6, "accumulation": 2}))
    admitting = trained(with_curriculum(everything, accumulation=2))
    assert torch.equal(flat(plain), flat(admitting))
    easy = trained(with_curriculum(BY_TARGET, accumulation=2))
    assert not torch.equal(flat(plain), flat(easy))


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_first_pass_measures_each_samples_own_loss_in_evaluation_mode(epochs: int) -> None:
    first_pass = {"difficulty": {"first_pass": {"epochs": epochs}}}
    model = {"mlp": {"hidden": [16], "dropout": 0.5, "batch_norm": True}}
    spec = job(model=model, training={"epochs": 8, "curriculum": first_pass})
    setup = ready(spec)
    for epoch in range(1, epochs + 1):
        setup.curriculum.epoch_begins(epoch)
        assert len(set(np.concatenate(drawn(setup, epoch)).tolist())) == 266
    state = torch.get_rng_state()
    setup.curriculum.epoch_begins(epochs + 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert setup.state.model.training
    setup.state.model.eval()
    with torch.no_grad():
        pred = setup.state.model(setup.splits.train.arrays["x"])
    own = (pred - setup.splits.train.arrays["target"]).square().flatten().double()
    kept = setup.snapshots.now().tensors["curriculum/difficulty"]
    assert torch.allclose(kept, own, rtol=1e-4, atol=1e-7)
    easiest = set(own.argsort()[:80].tolist())
    assert len(easiest & set(np.concatenate(drawn(setup, epochs + 1)).tolist())) == 80
    # It is measured once: weights that have moved change nothing.
    with torch.no_grad():
        for parameter in setup.state.model.parameters():
            parameter.add_(1.0)
    setup.curriculum.epoch_begins(epochs + 2)
    assert torch.equal(setup.snapshots.now().tensors["curriculum/difficulty"], kept)


SCENES = {"digit_scenes": {"num_samples": 30}}
UNET = {"unet": {"channels": [4]}}


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "ordinal", "loss": "corn"},
        {"task": "multilabel", "dataset": "synthetic_multilabel", "loss": "asymmetric_multilabel"},
        {"task": "binary", "dataset": "breast_cancer", "loss": "focal_binary"},
        {"loss": "gaussian_nll"},
        {"task": "multiclass", "dataset": "wine", "loss": "arcface"},
        {"task": "segmentation", "dataset": SCENES, "model": UNET, "loss": "lovasz_softmax"},
        {"task": "image_translation", "dataset": SCENES, "model": UNET, "loss": "ssim"},
        {"task": "detection", "dataset": SCENES, "model": "detector", "loss": "detection"},
    ],
    ids=lambda fields: fields.get("task", "regression"),
)
def test_samples_of_every_task_have_a_loss_of_their_own(fields: dict[str, Any]) -> None:
    first_pass = {"difficulty": {"first_pass": {"epochs": 0}}}
    setup = ready(job(**fields, training={"epochs": 4, "curriculum": first_pass}))
    setup.curriculum.epoch_begins(1)
    difficulty = setup.snapshots.now().tensors["curriculum/difficulty"]
    assert len(difficulty) == len(setup.splits.train)
    assert torch.isfinite(difficulty).all()
    assert len(set(difficulty.tolist())) > 0.3 * len(difficulty)


def test_steps_that_are_read_together_change_nothing() -> None:
    # One target whose squared error overflows: it is refused in the first pass, and hardest then.
    outlier = {"share": 0.004, "low_sd": 1e20, "high_sd": 1e21}

    def ended(every: int) -> tuple[torch.Tensor, RecordingReporter]:
        training = {
            "epochs": 8, "curriculum": {"rising_share": 1}, "guard": {"skip": {"max_share": 0.5}},
            "evaluate_every_epochs": 4, "read_every_steps": every, "log_every_steps": 1,
        }  # fmt: skip
        spec = job(
            preprocessing={"standardise_targets": False, "target_outliers": outlier},
            training=training,
        )
        result, report = run(spec)
        assert result.model is not None
        return flat(result.model), report

    one_by_one, expected = ended(1)
    together, report = ended(7)
    assert torch.equal(one_by_one, together)
    assert len(expected.decisions) == len(report.decisions) == 2
    shares = report.series("curriculum/share")
    assert [step for step, _ in shares] == [9 * epoch for epoch in range(1, 9)]
    for name in ("curriculum/share", "curriculum/threshold", "train/loss"):
        assert report.series(name) == expected.series(name)


def test_what_is_not_a_number_is_hardest() -> None:
    setup = ready(job(training={"epochs": 6, "curriculum": {}}))
    assert isinstance(setup.splits.train.arrays, dict)
    # The data are other jobs' too.
    x = setup.splits.train.arrays["x"] = setup.splits.train.arrays["x"].clone()
    x[7] = math.nan
    setup.curriculum.epoch_begins(1)
    for epoch in range(2, 4):
        assert 7 not in np.concatenate(drawn(setup, epoch))
    assert 7 in np.concatenate(drawn(setup, 5))


@pytest.mark.parametrize("first_pass", [0, 1])
def test_diagnoses_before_training_leave_no_trace(first_pass: int) -> None:
    curriculum = {"difficulty": {"first_pass": {"epochs": first_pass}}}
    spec = job(training={"epochs": 5, "curriculum": curriculum, "log_every_steps": 1})
    plain, before = run(spec)
    spec.diagnostics.one_batch_steps = 5
    spec.diagnostics.rate_range.steps = 30
    looked, report = run(spec)
    assert plain.model is not None
    assert looked.model is not None
    assert torch.equal(flat(plain.model), flat(looked.model))
    for name in ("curriculum/share", "curriculum/threshold", "train/loss"):
        assert report.series(name) == before.series(name)
    # They learn the step that training begins with.
    first = before.series("train/loss")[0][1]
    assert report.last("one_batch/first_loss") == pytest.approx(first)


@pytest.mark.parametrize(
    ("name", "found"), [("cont", "'cont', no array"), ("mask", "'mask', of shape (30, 64, 64)")]
)
def test_an_array_that_does_not_tell_is_refused(name: str, found: str) -> None:
    spec = job(
        task="segmentation", dataset={"digit_scenes": {"num_samples": 30}},
        model={"unet": {"channels": [4]}}, loss="dice",
        training={"epochs": 3, "curriculum": {"difficulty": {"array": name}}},
    )  # fmt: skip
    result, _ = run(spec)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "training.curriculum.difficulty.array must name an array" in result.message
    assert "digit_scenes, count, but got" in result.message
    assert found in result.message


def test_losses_that_pool_their_batch_take_part() -> None:
    spec = job(
        task="segmentation", dataset={"digit_scenes": {"num_samples": 30}},
        model={"unet": {"channels": [4]}}, loss={"dice": {"batch": True}},
        training={
            "epochs": 2, "batch_size": 8,
            "curriculum": {"start_share": 0.1, "difficulty": {"array": "count"}},
        },
    )  # fmt: skip
    setup = ready(spec)
    counts = setup.splits.bundle.difficulty
    assert counts is not None
    assert counts.tolist() == setup.splits.bundle.difficulty.round().tolist()  # type: ignore[union-attr]
    easiest = {n for step in drawn(setup, 1) for n in step}
    # All scenes of the fewest digits, since they are equally hard.
    assert easiest == set(torch.nonzero(counts == counts.min()).flatten().tolist())
    assert run(spec)[0].state == Job.SUCCEEDED


@two_cores
def test_two_processes_draw_and_end_as_one_does() -> None:
    training = {**{"epochs": 6, "batch_size": 15, "accumulation": 2}, "curriculum": {}}
    alone, report_of_one = run(wine(1, training=training))
    together, report = run(wine(2, training=training))
    assert together.state == Job.SUCCEEDED, together.message
    assert alone.model is not None
    assert together.model is not None
    assert torch.allclose(flat(together.model), flat(alone.model), rtol=0, atol=TOLERANCE)
    shares = report.series("curriculum/share")
    assert shares == report_of_one.series("curriculum/share")
    assert shares[1][1] < 0.35
