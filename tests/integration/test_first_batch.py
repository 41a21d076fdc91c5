"""The first batch: on targets with one-sided outliers every robust loss beats mse."""

import pytest
from tests.benchmarks import diabetes_outliers
from tests.integration.examples import EXAMPLES, assert_unwarned
from tests.integration.stack import Stack

from talweg.client import Client, Verdict

BATCH = EXAMPLES / "diabetes_losses.yaml"
ROBUST = ("mae", "huber", "log_cosh")
# The same result in a fifth of the steps; tests/worker/training/test_run.py trains all of them.
EPOCHS, LEARNING_RATE = 80, 0.001


@pytest.fixture(scope="module")
def errors(stack: Stack) -> dict[str, dict[int, float]]:
    """Test MAE on clean targets, by loss and seed."""
    changed = {
        "training.epochs": EPOCHS,
        "optimizer.adamw.learning_rate": LEARNING_RATE,
        # Other tests look at them, and making them takes as long as the training.
        "outputs.model": "false",
        "outputs.plots": "false",
    }
    return errors_of(stack, "first", changed)


def errors_of(
    stack: Stack, experiment: str, changed: dict[str, object]
) -> dict[str, dict[int, float]]:
    changed = {"experiment": experiment, **changed}
    changes = [word for path, value in changed.items() for word in ("--set", f"{path}={value}")]
    submitted = stack.run("submit", str(BATCH), "--watch", *changes, timeout=1440)
    assert submitted.returncode == 0, submitted.stderr
    with Client(stack.address) as client:
        jobs = f'experiment = "{experiment}"'
        for job in client.jobs(filter=jobs):
            assert_unwarned(job)
        comparison = client.compare(filter=jobs)
        assert comparison.metric == "test/mae"
        return {
            group.labels[0].split()[0]: {
                row.seed: row.value for row in group.rows if row.value is not None
            }
            for group in comparison.groups
        }


@pytest.mark.faults
def test_a_fair_comparison_over_three_splits_finds_them_better(
    stack: Stack, errors: dict[str, dict[int, float]]
) -> None:
    with Client(stack.address) as client:
        job = next(iter(client.jobs(filter='experiment = "first"')))
        assert job.outcome is not None
        assert job.outcome.environment.device in ("cpu", "cuda")
        answer = client.compare(filter='experiment = "first"', baseline="mse").answer
    assert answer is not None
    assert answer.overlapping_splits
    assert len(answer.verdicts) == len(ROBUST)
    for group in answer.groups:
        if group.difference is not None:
            assert (group.difference.verdict, group.difference.n) == (Verdict.BETTER, 3)
    assert answer.inequalities == ()


def test_each_robust_loss_beats_mse_in_every_seed(errors: dict[str, dict[int, float]]) -> None:
    assert_robust(errors)


@pytest.mark.faults
def test_the_file_as_it_is_says_so_too(stack: Stack) -> None:
    assert_robust(errors_of(stack, "unchanged", {}))


def assert_robust(errors: dict[str, dict[int, float]]) -> None:
    assert set(errors) == {"mse", *ROBUST}
    for seed in range(3):
        for loss in ROBUST:
            assert errors[loss][seed] < errors["mse"][seed] - 5


def test_service_and_plain_script_agree(errors: dict[str, dict[int, float]]) -> None:
    # The others agree without a stack, as tests/worker/training/test_run.py shows.
    for loss in ("mse", "huber"):
        alone = diabetes_outliers.run(loss, 0, epochs=EPOCHS, learning_rate=LEARNING_RATE)
        assert errors[loss][0] == pytest.approx(alone, abs=1e-4)
