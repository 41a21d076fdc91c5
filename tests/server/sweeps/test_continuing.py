"""Jobs with more epochs that go on from shorter ones, and what an edited sweep runs."""

from typing import Any

import pytest
from tests.server.samples import Rules, held, point, spec, summary
from tests.server.sweeps.sweeping import AT_RATE, Sweeping, sweep_spec

from talweg.server.errors import InvalidSpec, SweepNotFound
from talweg.server.services.attempts.reports import Report
from talweg.server.services.plugins import PluginService
from talweg.server.services.retention import deletion
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.sweeps.difference import MOST_JOBS, DifferenceService
from talweg.server.services.sweeps.reusing import cell_of
from talweg.server.services.sweeps.running import submitting
from talweg.server.store.record.rows import JobRow
from talweg.spec import CheckpointName, ends_at_evaluation, fill, to_dict, why_no_prefix
from talweg.v1.jobs_pb2 import Checkpoint, Environment, Job, Outcome
from talweg.v1.sweeps_pb2 import Sweep, SweepDifference, Trial
from talweg.v1.workers_pb2 import Kept, ReportPluginsRequest

HERE = Environment(talweg="1", torch="2", python="3", device="cpu", cpu_capability="AVX2")
COSINE: dict[str, Any] = {"schedule": {"cosine": {}}}
STEPS = 9
"""In an epoch."""


def of_length(
    epochs: int, rates: tuple[float, ...] = (0.01, 0.1), **fields: Any
) -> dict[str, Any]:
    """Return a sweep over rates, whose jobs keep their checkpoints."""
    base = {"training": {"epochs": epochs}, "outputs": {"checkpoint": True, "plots": False}}
    job = spec(**{**base, **fields.pop("base", {})})
    space = [{"path": AT_RATE, "values": list(rates)}]
    return {"base": to_dict(job), "space": space, **fields}


async def begin(rules: Rules, environment: Environment = HERE, **fields: Any) -> Sweeping:
    request = ReportPluginsRequest(worker="w1", queues=["default"], environment=environment)
    await PluginService(rules.database).report(request)
    return await Sweeping.begin(rules, **fields)


async def train(rules: Rules, row: JobRow) -> None:
    """Has a job end as a worker would, with the checkpoint of its end."""
    training = row.job_spec.training
    end = training.steps or STEPS * training.epochs
    epochs = end // STEPS
    name = str(CheckpointName(row.name, end, 1))
    kept = Checkpoint(name=name, step=end, epoch=epochs, attempt=1)
    first, every = row.job_spec.continued_from.step // STEPS + 1, training.evaluate_every_epochs
    evaluated = [STEPS * each for each in range(first, epochs + 1) if each % every == 0]
    evaluated += [end] if end not in evaluated else []
    points = [point(step, val_mae=STEPS / step) for step in evaluated]
    # Each training ends with a point and with its test.
    points += [point(end, train_loss=3.0), point(end, test_mae=2.0)]
    summaries = [summary("val/mae", STEPS / end, step=end)]
    news = Report(1, points, summaries, kept=Kept(checkpoints=[kept]))
    outcome = Outcome(state=Job.SUCCEEDED, environment=HERE, weights_step=end)
    await rules.leases.finish(held(row), outcome, news)


async def run(sweeping: Sweeping) -> list[JobRow]:
    """Run a sweep to its end; return its jobs as they were claimed."""
    claimed: list[JobRow] = []
    for _ in range(20):
        await sweeping.rules.runner.step()
        if (await sweeping.get()).state == Sweep.SUCCEEDED:
            return claimed
        for row in await sweeping.rules.claim(100):
            claimed.append(row)
            await train(sweeping.rules, row)
    raise AssertionError("it goes on")


async def difference(rules: Rules, earlier: Sweeping, **fields: Any) -> SweepDifference:
    row = await rules.creation.create(sweep_spec(**fields), "", validate_only=True, caller="")
    return await DifferenceService(rules.database).difference(row.sweep_spec, earlier.name)


async def test_a_longer_job_goes_on_from_the_longest_shorter_one(rules: Rules) -> None:
    for epochs in (2, 4):
        await run(await begin(rules, **of_length(epochs)))
    longer = await begin(rules, **of_length(6))
    claimed = await run(longer)
    assert [row.job_spec.continued_from.step for row in claimed] == [36, 36]
    assert (await longer.get()).num_continued == 2
    assert [each.continued for each in await longer.trials()] == [1, 1]
    for row in claimed:
        (start,) = row.kept
        assert (start.step, start.epoch) == (36, 4)
        events = rules.events(row)
        assert "training.epochs 4 -> 6" in events[0].state.reason
        series = [(each.metrics.step, name) for each in events for name in each.metrics.values]
        # Without the point and the test that ended the first part.
        evaluations = [(STEPS * epoch, "val/mae") for epoch in range(1, 7)]
        assert series == [*evaluations, (54, "train/loss"), (54, "test/mae")]
    # What went on is taken over, and gone on from, like any other.
    again = await begin(rules, **of_length(6))
    assert await run(again) == []
    assert (await again.get()).num_reused == 2
    (first, _) = await run(await begin(rules, **of_length(7)))
    assert first.job_spec.continued_from.job == claimed[0].name


def length(epochs: int, **training: Any) -> dict[str, Any]:
    return {"training": {"epochs": epochs, **training}}


@pytest.mark.parametrize(
    ("fields", "epochs", "why"),
    [
        ({}, 9, ""),
        (length(4, early_stopping={"patience": 9}), 9, ""),
        (length(4, early_stopping={"patience": 8}), 9, "early_stopping"),
        (length(4, evaluate_every_epochs=2), 9, ""),
        (length(4, evaluate_every_epochs=3), 9, "evaluate_every_epochs"),
        (length(4, curriculum={}), 9, "curriculum"),
        (length(4, checkpoints={"keep_best": True}), 9, "checkpoints"),
        ({"training": {"steps": 4}}, 9, "training.steps stands in place of training.epochs"),
        (COSINE, 9, "schedule.cosine"),
        ({"schedule": {"one_cycle": {}}}, 9, "schedule.one_cycle"),
        ({"schedule": {"plateau": {}}}, 9, ""),
        ({"schedule": {"step": {}}}, 9, ""),
        ({"outputs": {"checkpoint": False}}, 9, "outputs.checkpoint"),
        ({"outputs": {"model": True}}, 9, ""),
        ({"weights": {"job": "jobs/a"}}, 9, "starting weights"),
        ({"diagnostics": {"one_batch_steps": 3}}, 9, "before the first step"),
        ({"diagnostics": {"gradient_flow": {}}}, 9, "gradient_flow"),
        ({"split": {"train": 0.7, "validation": 0, "test": 0.3}}, 9, "evaluate_every_epochs"),
        ({}, 4, "no fewer"),
    ],
)
def test_only_what_does_not_depend_on_the_length_is_gone_on_from(
    fields: dict[str, Any], epochs: int, why: str
) -> None:
    given = {"training": {"epochs": 4}, "outputs": {"checkpoint": True}, **fields}
    before, after = fill(spec(**given)), fill(spec(**given))
    after.training.epochs = epochs
    found = why_no_prefix(before, after)
    assert why in found
    assert bool(found) == bool(why)
    after.optimizer.adamw.learning_rate = 0.5
    assert why_no_prefix(before, after) == "optimizer.adamw.learning_rate differs too"


def of_steps(steps: int) -> dict[str, Any]:
    return of_length(0, (0.01,), base={"training": {"steps": steps}})


@pytest.mark.parametrize(
    ("training", "why"),
    [
        ({}, ""),
        ({"spikes": "skip"}, "training.spikes may leave steps out"),
        ({"guard": "rollback"}, "training.guard may leave steps out"),
        ({"early_stopping": {"patience": 29}}, "training.early_stopping may end it"),
        ({"early_stopping": {"patience": 30}}, ""),
    ],
)
def test_only_steps_of_equal_epochs_are_gone_on_from(training: dict[str, Any], why: str) -> None:
    before, after = (
        fill(spec(training={"steps": steps, **training}, outputs={"checkpoint": True}))
        for steps in (18, 30)
    )
    found = why_no_prefix(before, after)
    assert why in found
    assert bool(found) == bool(why)
    assert why_no_prefix(after, before) == "it has no fewer steps"


async def test_more_steps_go_on_where_the_fewer_ended_with_an_evaluated_epoch(
    rules: Rules,
) -> None:
    (uneven,) = await run(await begin(rules, **of_steps(20)))
    (longer,) = await run(await begin(rules, **of_steps(27)))
    assert not longer.job_spec.HasField("continued_from")
    reason = rules.events(longer)[0].state.reason
    why = "training.steps, 20, does not end with an epoch that is evaluated"
    assert reason.endswith(f"does not go on from {uneven.name} of 20 steps: {why}")
    # The longest that ended so, through one that went on itself.
    (third,) = await run(await begin(rules, **of_steps(30)))
    assert third.job_spec.continued_from.job == longer.name
    assert third.job_spec.continued_from.step == 27
    assert "training.steps 27 -> 30" in rules.events(third)[0].state.reason
    claimed = spec(**to_dict(third.job_spec))
    claimed.continued_from.job, claimed.continued_from.step = uneven.name, 20
    with pytest.raises(InvalidSpec, match="training.steps, 20"):
        await rules.submission.submit(Submission(claimed))
    # Epochs are another length.
    (epochs,) = await run(await begin(rules, **of_length(4, (0.01,))))
    assert rules.events(epochs)[0].state.reason == "submitted"


@pytest.mark.parametrize(
    ("every", "steps", "epoch", "first", "ends"),
    [
        (1, 18, 2, 9, True),
        (1, 9, 1, 9, True),
        (1, 20, 2, 9, False),
        (1, 8, 0, 8, False),
        (2, 18, 2, 18, True),
        (2, 27, 3, 18, False),
        (2, 9, 1, 9, False),
        (2, 19, 2, 18, False),
    ],
)
def test_a_job_of_steps_ends_with_an_evaluated_epoch(
    every: int, steps: int, epoch: int, first: int, ends: bool
) -> None:
    fewer = fill(spec(training={"steps": steps, "evaluate_every_epochs": every}))
    assert ends_at_evaluation(fewer, Checkpoint(step=steps, epoch=epoch), first) is ends


async def test_what_does_not_go_on_says_why(rules: Rules) -> None:
    await run(await begin(rules, **of_length(2, base={**length(2), **COSINE})))
    claimed = await run(await begin(rules, **of_length(3, base={**length(3), **COSINE})))
    assert not any(row.job_spec.HasField("continued_from") for row in claimed)
    reason = rules.events(claimed[0])[0].state.reason
    assert reason.endswith("of 2 epochs: schedule.cosine spans all steps")
    # Nor by other versions.
    await run(await begin(rules, **of_length(2)))
    other = Environment(talweg="1", torch="3", python="3", device="cpu", cpu_capability="AVX2")
    claimed = await run(await begin(rules, other, **of_length(3)))
    assert [row.job_spec.HasField("continued_from") for row in claimed] == [False, False]
    assert rules.events(claimed[0])[0].state.reason == "submitted"


async def test_a_job_deleted_while_it_is_gone_on_from_is_trained(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone, _) = await run(await begin(rules, **of_length(2)))
    found = submitting._due
    deleted: list[str] = []

    def slow(*args: Any) -> Any:
        due = found(*args)
        if not deleted:
            deleted.append(gone.id)
            with rules.database.write() as tx:
                deletion._delete(tx, gone.id, True, False)
        return due

    monkeypatch.setattr(submitting, "_due", slow)
    longer = await begin(rules, **of_length(3))
    await run(longer)
    assert (await longer.get()).num_continued == 1
    assert {each.state for each in await longer.trials()} == {Trial.SUCCEEDED}


async def test_whoever_says_that_a_job_is_the_first_part_is_right(rules: Rules) -> None:
    (row, _) = await run(await begin(rules, **of_length(2)))
    longer = spec(**to_dict(row.job_spec))
    longer.training.epochs = 5
    longer.continued_from.job = row.name
    longer.continued_from.as_whole = True
    taken = await rules.submit(longer)
    assert sum(each.HasField("metrics") for each in rules.events(taken)) == 2
    longer.training.clip_norm = 1
    with pytest.raises(InvalidSpec, match=r"training.clip_norm differs too"):
        await rules.submission.submit(Submission(longer))


async def test_the_difference_of_an_edited_sweep(rules: Rules) -> None:
    earlier = await begin(rules, **of_length(2, seeds=2))
    await run(earlier)
    same = await difference(rules, earlier, **of_length(2, seeds=2))
    assert (same.num_kept, same.num_taken_over, len(same.changes)) == (2, 4, 0)
    assert same.is_complete
    found = await difference(rules, earlier, **of_length(2, (0.1, 0.2), seeds=3))
    kinds = [SweepDifference.Kind.Name(each.kind) for each in found.settings]
    assert kinds == ["NEW", "REMOVED", "KEPT"]
    assert (found.num_new, found.num_again, found.num_kept, found.num_removed) == (1, 0, 1, 1)
    assert (found.num_jobs, found.num_taken_over) == (6, 2)
    assert found.settings[2].why == "3 seeds in place of 2"
    assert list(found.changes) == ["seeds.count: 2 -> 3"]
    longer = await difference(rules, earlier, **of_length(3, seeds=2))
    assert (longer.num_again, longer.num_continued) == (2, 4)
    assert longer.settings[0].why == "training.epochs 2 -> 3"
    other = await difference(rules, earlier, **of_length(2, seeds=2, base={**length(2), **COSINE}))
    assert other.settings[0].why.startswith("schedule nothing -> cosine")
    off = await difference(rules, earlier, **of_length(2, seeds=2, cache="off"))
    assert (off.num_again, off.num_taken_over) == (2, 0)
    assert {each.why for each in off.settings} == {"cache is off"}
    with pytest.raises(SweepNotFound):
        await difference(rules, Sweeping(rules, "sweeps/nobody"), **of_length(2))


async def test_the_difference_says_what_it_cannot_tell(rules: Rules) -> None:
    earlier = await begin(rules, **of_length(2))
    tpe = await difference(rules, earlier, **of_length(2, algorithm={"tpe": {}}, trials=2))
    assert not tpe.settings
    assert not tpe.is_complete
    assert [each.partition(" ")[0] for each in tpe.remarks] == [earlier.name, "tpe"]
    rates = tuple(0.001 * number for number in range(1, 1001))
    large = of_length(2, rates)
    large["space"].append({"path": "training.batch_size", "values": list(range(8, 108))})
    found = await difference(rules, earlier, **large)
    assert not found.is_complete
    assert found.num_jobs == MOST_JOBS
    assert found.num_removed == 0


async def test_no_more_of_an_earlier_search_is_looked_at_than_of_a_grid(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = of_length(2, seeds=2, algorithm={"qmc": {}}, trials=4)
    searched["space"] = [{"path": AT_RATE, "log_uniform": {"low": 0.001, "high": 0.1}}]
    earlier = await begin(rules, **searched)
    await run(earlier)
    whole = await difference(rules, earlier, **of_length(2, (0.5,)))
    assert (whole.is_complete, whole.num_new, whole.num_removed) == (True, 1, 4)
    monkeypatch.setattr("talweg.server.services.sweeps.difference.MOST_JOBS", 4)
    part = await difference(rules, earlier, **of_length(2, (0.5,)))
    assert (part.is_complete, part.num_new, part.num_removed) == (False, 1, 2)


def test_a_lineage_is_of_all_but_the_length() -> None:
    cells = [cell_of(spec(training={"epochs": epochs})) for epochs in (3, 4)]
    assert cells[0].lineage == cells[1].lineage
    assert cells[0].digest != cells[1].digest
    assert len({each for cell in cells for each in (cell.digest, cell.lineage)}) == 3
    assert cell_of(spec(training={"batch_size": 8})).length == 20
    steps = [cell_of(spec(training={"steps": steps})) for steps in (3, 4)]
    assert steps[0].lineage == steps[1].lineage != cells[0].lineage


async def test_a_copy_of_a_sweeps_job_is_of_no_sweep(rules: Rules) -> None:
    sweeping = await begin(rules, **of_length(3), runs="per_setting")
    await rules.runner.step()
    (row, *_) = await rules.claim()
    await train(rules, row)
    tags = row.job_spec.tags
    assert set(tags) == {"sweep", "trial", "runs"}
    longer = spec(**{**to_dict(row.job_spec), "training": {"epochs": 4}})
    longer.continued_from.job = row.name
    continued = await rules.submit(longer)
    assert (await rules.submission.retry(row.name, "")).job_spec.tags == {}
    assert continued.job_spec.tags == {}
    with pytest.raises(InvalidSpec, match=r"tags\.sweep"):
        await rules.submit(row.job_spec)
    assert (await rules.submit(spec(tags={"trial": "1"}))).job_spec.tags == {"trial": "1"}
    assert (await sweeping.get()).state == Sweep.RUNNING
