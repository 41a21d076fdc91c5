"""The whole life of sweeps: trials, seeds, final jobs, ranking."""

from collections import Counter

import pytest
from tests.server.samples import Rules
from tests.server.sweeps.sweeping import AT_RATE, LOSSES, RATES, Sweeping, errors, loss_of, rate_of

from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, Trial

TWO_VARIED = [{"path": "loss", "values": LOSSES}, {"path": AT_RATE, "values": RATES}]


async def test_every_setting_is_tried_and_the_best_one_told(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, space=TWO_VARIED, seeds=2)
    sweep = await sweeping.run()
    assert (sweep.state, sweep.message) == (Sweep.SUCCEEDED, "all trials have ended")
    assert (sweep.num_trials, sweep.num_jobs) == (9, 18)
    assert [(each.state, each.count) for each in sweep.jobs] == [(Job.SUCCEEDED, 18)]
    trials = await sweeping.trials()
    assert [each.number for each in trials] == list(range(1, 10))
    settings = {tuple((value.path, str(value.value)) for value in each.setting) for each in trials}
    assert len(settings) == 9
    for trial in trials:
        specs = sweeping.jobs(trial)
        assert [job.training.seed for job in specs] == [0, 1]
        assert {loss_of(job) for job in specs} == {trial.setting[0].value.string_value}
        assert {rate_of(job) for job in specs} == {trial.setting[1].value.number_value}
        assert {(job.tags["sweep"], job.tags["trial"]) for job in specs} == {
            (sweep.name.removeprefix("sweeps/"), str(trial.number))
        }
        values = [errors(job)["val/mae"] for job in specs]
        assert trial.value == pytest.approx(sum(values) / 2)
        assert trial.sd == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert trial.count == 2
    (best,) = sweep.best
    assert best.label == "loss=mae, learning_rate=0.01"
    ranked = await sweeping.trials(best_first=True)
    assert [each.value for each in ranked] == sorted(each.value for each in trials)


async def test_jobs_keep_and_test_the_weights_of_the_objective(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, objective="val/rmse")
    await rules.runner.step()
    for trial in await sweeping.trials():
        (job,) = sweeping.jobs(trial)
        assert job.training.early_stopping.metric == "val/rmse"
        assert job.training.early_stopping.patience >= 1_000_000


async def test_at_last_no_evaluation_is_preferred(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, objective={"metric": "val/mae", "at": "last"})
    sweep = await sweeping.run()
    assert sweep.best[0].label == "loss=mae"
    assert not any(
        job.training.HasField("early_stopping")
        for trial in await sweeping.trials()
        for job in sweeping.jobs(trial)
    )


async def test_values_are_compared_on_test_data_at_settings_that_validation_chose(
    rules: Rules,
) -> None:
    def result(job: JobSpec) -> dict[str, float]:
        # On validation data 0.01 is best for each loss, on test data by far 0.1.
        test = 5.0 if rate_of(job) == 0.1 else 50.0
        return {**errors(job), "test/mae": test + errors(job)["val/mae"]}

    sweeping = await Sweeping.begin(
        rules,
        result=result,
        space=TWO_VARIED,
        seeds={"count": 2, "vary": ["training.seed", "split.seed"]},
        compare={"path": "loss", "baseline": "mse", "margin": "1%", "final_seeds": 6},
    )
    sweep = await sweeping.run()
    assert (sweep.state, sweep.in_final_phase) == (Sweep.SUCCEEDED, True)
    assert (sweep.num_trials, sweep.num_jobs) == (9, 9 * 2 + 3 * 6)
    assert [each.compared for each in sweep.best] == LOSSES
    assert {each.setting[1].value.number_value for each in sweep.best} == {0.01}
    trials = await sweeping.trials()
    final = [each for each in trials if each.is_final]
    assert [each.number for each in final] == [10, 11, 12]
    assert [each.label for each in final] == [each.label for each in sweep.best]
    for trial in final:
        specs = sweeping.jobs(trial)
        # Fresh, and the same ones for each value.
        assert [job.training.seed for job in specs] == list(range(2, 8))
        assert [job.split.seed for job in specs] == list(range(2, 8))
        assert trial.count == 6
    # Searches take turns.
    assert [each.compared for each in trials[:6]] == LOSSES * 2

    answer = await rules.sweep_answers.answer(sweep.name)
    assert not answer.is_provisional
    assert answer.comparison is not None
    assert answer.answer is not None
    assert answer.comparison.metric == "test/mae"
    means = {each.labels[0]: each.mean for each in answer.comparison.groups}
    assert list(means) == ["mae", "log_cosh", "mse"]
    # A search by the test metric would have found 5.
    assert all(mean is not None and mean > 50 for mean in means.values())
    assert {len(each.values) for each in answer.comparison.groups} == {6}


async def test_diverged_trials_are_ranked_last_whatever_some_seeds_reach(rules: Rules) -> None:
    def result(job: JobSpec) -> dict[str, float] | int:
        if loss_of(job) == "mae" and rate_of(job) == 0.01 and job.training.seed == 1:
            return Job.DIVERGED
        return errors(job)

    sweeping = await Sweeping.begin(
        rules, result=result, space=TWO_VARIED, seeds=2, failure_budget=0
    )
    sweep = await sweeping.run()
    assert sweep.state == Sweep.SUCCEEDED
    ranked = await sweeping.trials(best_first=True)
    assert ranked[-1].label == "loss=mae, learning_rate=0.01"
    assert ranked[-1].state == Trial.DIVERGED
    assert sweep.best[0].number == ranked[0].number
    assert sweep.best[0].label == "loss=mae, learning_rate=0.001"
    # Not trained again.
    assert sum(each.count for each in sweep.jobs) == 18
    answer = await rules.sweep_answers.answer(sweep.name)
    assert "1 of 9 trials of the search diverged" in answer.remarks


async def test_a_value_that_diverges_everywhere_is_said_to_have_no_result(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: Job.DIVERGED if loss_of(job) == "mse" else errors(job),
        compare={"path": "loss", "final_seeds": 6},
    )
    sweep = await sweeping.run()
    assert [each.compared for each in await sweeping.trials() if each.is_final] == LOSSES[1:]
    answer = await rules.sweep_answers.answer(sweep.name)
    assert "mse, the baseline, has no result: nothing is compared with it" in answer.remarks
    assert "1 of 1 trials of mse diverged" in answer.remarks
    assert "mae" in answer.text


async def test_final_jobs_that_diverge_are_told(rules: Rules) -> None:
    def result(job: JobSpec) -> dict[str, float] | int:
        is_unlucky = loss_of(job) == "mae" and job.training.seed in (3, 5)
        return Job.DIVERGED if is_unlucky else errors(job)

    sweeping = await Sweeping.begin(
        rules, result=result, compare={"path": "loss", "final_seeds": 8}
    )
    sweep = await sweeping.run()
    answer = await rules.sweep_answers.answer(sweep.name)
    assert "2 of 8 final jobs of mae diverged" in answer.remarks
    assert answer.comparison is not None
    counts = {each.labels[0]: len(each.values) for each in answer.comparison.groups}
    assert counts == {"mae": 6, "mse": 8, "log_cosh": 8}


async def test_settings_of_choices_and_zip(rules: Rules) -> None:
    space = [
        {
            "path": "loss",
            "choices": [
                {"value": "mse"},
                {
                    "value": {"huber": {}},
                    "space": [{"path": "loss.huber.delta", "values": [0.5, 2]}],
                },
            ],
        },
        {
            "zip": [
                {"path": "training.batch_size", "values": [32, 128]},
                {"path": "training.clip_norm", "values": [1, 4.5]},
            ]
        },
    ]
    sweeping = await Sweeping.begin(rules, result=lambda job: {"val/mae": 1.0}, space=space)
    sweep = await sweeping.run()
    assert sweep.num_trials == 6
    found = Counter(
        (
            loss_of(job),
            job.loss.huber.delta,
            job.training.batch_size,
            job.training.clip_norm,
        )
        for trial in await sweeping.trials()
        for job in sweeping.jobs(trial)
    )
    assert found == Counter(
        (loss, delta, *pair)
        for loss, delta in (("mse", 0.0), ("huber", 0.5), ("huber", 2.0))
        for pair in ((32, 1.0), (128, 4.5))
    )


async def test_events_tell_each_begin_and_end_once(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules, space=TWO_VARIED, seeds=2, parallel=3, compare={"path": "loss", "final_seeds": 2}
    )
    await sweeping.run()
    events = await sweeping.events()
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    assert events[0].state.state == Sweep.RUNNING
    assert events[-1].finished.state == Sweep.SUCCEEDED
    begun = [event.begun.number for event in events if event.HasField("begun")]
    ended = [event.ended.number for event in events if event.HasField("ended")]
    assert begun == list(range(1, 13))
    assert sorted(ended) == begun
    assert all(event.ended.HasField("value") for event in events if event.HasField("ended"))
    # From a cursor on.
    assert await sweeping.events(after=5) == events[5:]
    assert await sweeping.events(after=len(events)) == []


async def test_values_too_large_for_a_mean_do_not_stop_a_sweep(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: {"val/mae": 1.7e308 if loss_of(job) == "mse" else 1.0},
        seeds=3,
    )
    sweep = await sweeping.run()
    assert sweep.state == Sweep.SUCCEEDED
    first, *_ = await sweeping.trials()
    assert (first.state, first.HasField("value")) == (Trial.SUCCEEDED, False)
    ranked = await sweeping.trials(best_first=True)
    assert ranked[-1].number == first.number
