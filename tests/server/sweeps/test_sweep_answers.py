"""What a sweep shows: in words, with verdicts, and how far it can be trusted."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.server.samples import Rules
from tests.server.sweeps.sweeping import AT_RATE, LOSSES, RATES, Sweeping, errors, loss_of

from talweg.server.errors import InvalidRequest, SweepNotFound
from talweg.server.services.retention.deletion import DeletionService
from talweg.v1.answers_pb2 import Answer
from talweg.v1.spec_pb2 import JobSpec

COMPARE = {"path": "loss", "baseline": "mse", "margin": "1%", "final_seeds": 8}


async def asked(sweeping: Sweeping) -> Any:
    return await sweeping.rules.sweep_answers.answer(sweeping.name)


async def test_without_compare_the_best_trial_is_the_answer(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, seeds=2)
    answer = await asked(sweeping)
    assert (answer.is_provisional, answer.text) == (True, "No trial has a result yet.")
    await sweeping.run()
    answer = await asked(sweeping)
    assert not answer.is_provisional
    assert answer.text.startswith("The best of 3 trials is loss=mae: val/mae 1.019 ± ")
    assert answer.text.endswith("over 2 seeds.")
    assert answer.comparison is None
    assert [each.label for each in answer.chosen] == ["loss=mae"]
    assert answer.remarks == []


async def test_it_says_that_trials_have_no_value(rules: Rules) -> None:
    def without(job: JobSpec) -> dict[str, float]:
        r2 = {} if loss_of(job) == "mse" else {"val/r2": 0.5}
        return {**errors(job), **r2}

    sweeping = await Sweeping.begin(rules, result=without, objective="val/r2")
    await sweeping.run()
    answer = await asked(sweeping)
    assert answer.text.startswith("The best of 3 trials is loss=")
    (remark,) = answer.remarks
    assert remark.startswith("1 of 3 trials of the search succeeded without a value of val/r2")
    assert "undefined where the targets of the split do not vary" in remark


async def test_it_says_how_well_time_and_seeds_were_predicted(rules: Rules) -> None:
    def noisy(job: JobSpec) -> dict[str, float]:
        noise = job.training.seed * (2 + LOSSES.index(loss_of(job))) % 7 / 10
        return {name: value + noise for name, value in errors(job).items()}

    predicted = {"seconds": 1000.0, "seeds": 3}
    sweeping = await Sweeping.begin(rules, compare=COMPARE, predicted=predicted, result=noisy)
    await rules.runner.step()
    assert not any("predicted" in each for each in (await asked(sweeping)).remarks)
    await sweeping.run()
    answer = await asked(sweeping)
    told = [each for each in answer.remarks if "predicted" in each]
    assert told[0].startswith("it was predicted to take 1000 s and took ")
    needed = max(group.difference.needed for group in answer.answer.groups)
    least = max(group.difference.least for group in answer.answer.groups)
    assert "that 3 seeds show a difference of the margin" in told[1]
    assert f"final jobs it takes {max(needed, least)} (" in told[1]
    # Without a prediction it says nothing: see above.
    only_time = await Sweeping.begin(rules, predicted={"seconds": 0.5})
    await only_time.run()
    (remark,) = (await asked(only_time)).remarks
    assert "times as long" in remark


async def test_a_comparison_is_provisional_until_its_final_jobs_have_ended(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, compare=COMPARE)
    assert (await asked(sweeping)).text == "No compared value has a result yet."
    await rules.runner.step()
    await sweeping.work()
    await rules.runner.step()
    await sweeping.work(10)
    answer = await asked(sweeping)
    assert answer.is_provisional
    assert answer.comparison.metric == "test/mae"
    assert sum(len(each.values) for each in answer.comparison.groups) == 10
    await sweeping.run()
    answer = await asked(sweeping)
    assert not answer.is_provisional
    assert answer.text.startswith("test/mae over fresh seeds, each at the setting that validation")
    found = {
        group.labels[0]: each.difference.verdict
        for group, each in zip(answer.comparison.groups, answer.answer.groups, strict=True)
    }
    assert found == {
        "mse": Answer.VERDICT_UNSPECIFIED,
        "mae": Answer.BETTER,
        "log_cosh": Answer.BETTER,
    }
    assert answer.text.count("better") == 2
    assert answer.answer.margin == pytest.approx(0.3, rel=0.1)


# what the test errors are for a loss and a seed, verdict on mae, word in the text
VERDICTS: list[tuple[Callable[[str, int], float], Answer.Verdict.ValueType, str]] = [
    (lambda loss, seed: 10 + seed % 3, Answer.EQUIVALENT, "equivalent"),
    (
        lambda loss, seed: 10 + seed % 3 + (loss == "mae") * (2 + seed % 2),
        Answer.WORSE,
        "worse",
    ),
    (
        lambda loss, seed: 10 + (loss == "mae") * (-1) ** seed * (seed % 4 + 1),
        Answer.NOT_DISTINGUISHABLE,
        "not distinguishable",
    ),
]


@pytest.mark.parametrize(("error", "verdict", "word"), VERDICTS)
async def test_verdicts(
    rules: Rules, error: Callable[[str, int], float], verdict: int, word: str
) -> None:
    def result(job: JobSpec) -> dict[str, float]:
        test = error(loss_of(job), job.training.seed)
        return {"val/mae": errors(job)["val/mae"], "test/mae": test}

    space = [{"path": "loss", "values": ["mse", "mae"]}]
    sweeping = await Sweeping.begin(rules, result=result, space=space, compare=COMPARE)
    await sweeping.run()
    answer = await asked(sweeping)
    verdicts = [each.difference.verdict for each in answer.answer.groups]
    assert sorted(verdicts) == [Answer.VERDICT_UNSPECIFIED, verdict]
    assert word in answer.text


async def test_a_margin_of_a_mean_of_0_is_a_remark(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: {"val/mae": 1.0, "test/mae": float(loss_of(job) != "mse")},
        compare=COMPARE,
    )
    await sweeping.run()
    answer = await asked(sweeping)
    assert any("must be absolute_margin" in remark for remark in answer.remarks)
    assert list(answer.answer.baseline) == ["mse"]


async def test_unequal_effort_is_told(rules: Rules) -> None:
    space = [
        {
            "path": "loss",
            "choices": [
                {"value": "mse"},
                {"value": "mae", "space": [{"path": AT_RATE, "values": RATES}]},
            ],
        }
    ]
    sweeping = await Sweeping.begin(rules, space=space, compare=COMPARE)
    await sweeping.run()
    assert "unequal effort, in settings tried: mse 1, mae 3" in (await asked(sweeping)).remarks


async def test_a_cancelled_comparison_says_that_its_figures_are_too_good(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, compare=COMPARE)
    await rules.runner.step()
    await sweeping.work()
    await rules.control.cancel(sweeping.name, reason="enough")
    await rules.runner.step()
    answer = await asked(sweeping)
    assert not answer.is_provisional
    assert answer.comparison.metric == "val/mae"
    assert "so far, on the validation data" in answer.text
    assert "the sweep has not run to its end: cancelled: enough" in answer.remarks
    assert any("so too good" in remark for remark in answer.remarks)
    assert [each.compared for each in answer.chosen] == LOSSES


async def test_it_says_that_jobs_were_deleted(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, compare=COMPARE)
    await sweeping.run()
    whole = await asked(sweeping)
    assert not any("deleted" in remark for remark in whole.remarks)
    # Whoever deletes what is not to their liking changes the answer.
    (rows,) = [each.rows for each in whole.comparison.groups if each.labels == ("mae",)]
    for row in rows[:2]:
        await DeletionService(rules.database).delete(row.job.name, force=True)
    answer = await asked(sweeping)
    told = f"2 of {len(rows)} jobs of mae have been deleted and count no more"
    assert told in answer.remarks
    assert sum("deleted" in remark for remark in answer.remarks) == 1


async def test_answers_of_no_sweep(rules: Rules) -> None:
    with pytest.raises(SweepNotFound):
        await rules.sweep_answers.answer("sweeps/nosuch")
    with pytest.raises(InvalidRequest):
        await rules.sweep_answers.answer("jobs/x")
