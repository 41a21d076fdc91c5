"""Answers about jobs of the record: pairs, seeds, splits, fairness, and the words."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from tests.server.samples import Rules, spec

from talweg.server.errors import InvalidRequest
from talweg.server.services.comparison.repetitions import Design
from talweg.spec import fill
from talweg.v1.answers_pb2 import Answer, Question
from talweg.v1.jobs_pb2 import Environment, Job, Outcome, Progress

# What a database has to do with it is tested elsewhere.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

NOISE = (0.0, 0.4, -0.3, 0.1, -0.2, 0.25, -0.35, 0.05)


@pytest.fixture
async def record(rules: Rules) -> AsyncIterator[Rules]:
    yield rules
    await rules.statistics.close()


async def train(rules: Rules, by_loss: Mapping[Any, Sequence[float]], **more: Any) -> None:
    """Leave jobs with the losses' values by seed."""
    for loss, values in by_loss.items():
        for seed, value in enumerate(values):
            await rules.finished(spec(loss=loss, training={"seed": seed}, **more), test_mae=value)


async def ask(
    rules: Rules, baseline: str = "", *, metric: str = "", by: Sequence[str] = (), **margin: Any
) -> tuple[Answer, dict[str, Answer.Group]]:
    """Return the answer about all jobs, and its groups by name."""
    comparison = await rules.comparison.compare(names=[], filter="", metric=metric, group_by=by)
    question = Question(baseline=baseline, **margin)
    answer = await rules.answers.answer(comparison, question, by or ["loss"])
    names = [" ".join(group.labels) for group in comparison.groups]
    return answer, dict(zip(names, answer.groups, strict=True))


async def test_verdicts_over_shared_seeds(record: Rules) -> None:
    mse = [50 + 5 * each for each in NOISE]
    await train(record, {
        "mse": mse,
        # Pairing removes what the seeds have in common.
        "mae": [value - 3 + 0.3 * each for value, each in zip(mse, reversed(NOISE), strict=True)],
        "log_cosh": [value + 0.1 * each for value, each in zip(mse, reversed(NOISE), strict=True)],
        "huber": [value + 40 * each for value, each in zip(mse, reversed(NOISE), strict=True)],
        "charbonnier": [value + 2 for value in mse[:5]],
    })  # fmt: skip
    await record.finished(spec(loss="mae", training={"seed": 8}), state=Job.DIVERGED, test_mae=9e9)
    await record.finished(spec(loss="quantile", training={"seed": 99}), test_mae=50.0)
    answer, groups = await ask(record, "mse", relative_margin=0.01)
    found = {
        name: Answer.Verdict.Name(group.difference.verdict)
        for name, group in groups.items()
        if group.HasField("difference")
    }
    assert found == {
        "mae": "BETTER",
        "log_cosh": "EQUIVALENT",
        "huber": "NOT_DISTINGUISHABLE",
        "charbonnier": "TOO_FEW",
        "quantile": "TOO_FEW",
    }
    assert not groups["mse"].HasField("difference")
    assert list(answer.baseline) == ["mse"]
    assert answer.margin == pytest.approx(0.01 * groups["mse"].mean)
    assert answer.noise_floor == groups["mse"].sd > 1
    assert (answer.level, answer.test) == (0.95, Answer.SIGN_FLIP)
    assert list(answer.varied) == ["training.seed"]

    mae, few = groups["mae"].difference, groups["charbonnier"].difference
    assert (groups["mae"].n, mae.n, mae.p, mae.adjusted_p) == (8, 8, 2 / 256, 4 * 2 / 256)
    assert mae.mean == pytest.approx(-3, abs=0.05)
    assert mae.interval.low < -3 < mae.interval.high < -2.8
    assert (few.n, few.least, few.HasField("p")) == (5, 8, False)
    assert groups["huber"].difference.needed > 8
    assert mae.text.startswith("mae is better than mse: difference -3.00")
    assert " p " not in groups["log_cosh"].difference.text
    assert "p 0.031, 8 paired seeds" in mae.text
    assert (
        "log_cosh is equivalent to mse within ±0.4997 (1%): " in groups["log_cosh"].difference.text
    )
    assert f"about {groups['huber'].difference.needed} seeds would show" in (
        groups["huber"].difference.text
    )
    assert "with 5 paired seeds: no difference, however large, is significant" in few.text
    assert "in 4 comparisons, but from 8 on one can be" in few.text
    assert "shares no seeds with mse" in groups["quantile"].difference.text
    assert any("this split" in remark for remark in answer.remarks)
    unequal = {each.what: each.values for each in answer.inequalities}
    assert set(unequal) == {"number of values", "jobs not SUCCEEDED"}


async def test_without_a_baseline_each_group_has_its_interval(record: Rules) -> None:
    await train(record, {"mse": [5.0, 6.0, 7.0], "mae": [4.0]})
    answer, groups = await ask(record)
    interval = groups["mse"].interval
    assert (interval.low, interval.high) == pytest.approx((6 - 2.4841, 6 + 2.4841), abs=1e-3)
    assert groups["mse"].method == Answer.STUDENT_T
    assert not groups["mae"].HasField("interval")
    assert not any(group.HasField("difference") for group in answer.groups)
    assert not answer.HasField("noise_floor")
    nothing = await record.comparison.compare(
        names=[], filter="experiment = none", metric="", group_by=[]
    )
    assert await record.answers.answer(nothing, Question(), []) == Answer(level=0.95)


async def test_folds_and_splits_share_samples(record: Rules) -> None:
    for loss, by_fold in {"mse": (6.0, 8.0, 7.0), "huber": (3.0, 5.1, 3.9)}.items():
        for fold, value in enumerate(by_fold, start=1):
            for seed in (0, 1):
                split = {"fold": fold, "folds": 3, "validation": 0}
                given = spec(loss=loss, split=split, training={"seed": seed})
                await record.finished(given, test_mae=value + seed)
    answer, groups = await ask(record, "mse")
    assert answer.overlapping_splits
    assert list(answer.varied) == ["split.fold", "training.seed"]
    huber = groups["huber"]
    # Two seeds on one fold are one value: their training and test data are the same.
    assert (huber.n, huber.difference.n, huber.method) == (3, 3, Answer.CORRECTED_T)
    assert answer.test == Answer.CORRECTED_RESAMPLED_T
    # mean 3, sd 0.1, se = 0.1·√(1/3 + 1/2), t with 2 degrees of freedom.
    assert huber.difference.mean == pytest.approx(-3)
    half = 4.30265 * 0.1 * (1 / 3 + 1 / 2) ** 0.5
    assert huber.difference.interval.high == pytest.approx(-3 + half, rel=1e-4)
    assert huber.difference.verdict == Answer.BETTER
    assert "3 paired splits" in huber.difference.text
    assert any("Nadeau and Bengio" in remark for remark in answer.remarks)
    assert any(remark.startswith("6 more values have the split.fold") for remark in answer.remarks)


async def test_data_of_new_seeds_are_independent(record: Rules) -> None:
    for loss in ("cross_entropy", "focal"):
        for seed in range(3):
            await record.finished(
                spec(
                    task="multiclass",
                    dataset={"synthetic_classification": {"seed": seed}},
                    loss=loss,
                    split={"seed": seed},
                ),
                test_accuracy=0.5 + 0.1 * seed,
            )
    answer, groups = await ask(record, "focal", metric="test/accuracy")
    assert list(answer.varied) == ["dataset.seed", "split.seed"]
    assert not answer.overlapping_splits
    assert groups["focal"].n == 3
    assert not answer.inequalities


async def test_repeats_are_one_value_and_what_is_unequal_is_named(record: Rules) -> None:
    for seed in range(3):
        for loss, rate, torch in (("mse", 0.01, "2.13.0"), ("huber", 0.02, "2.12.0")):
            row = await record.finished(
                spec(
                    loss=loss,
                    optimizer={"adamw": {"learning_rate": rate}},
                    training={"seed": seed, "steps": 5},
                    tags={"any": loss},
                ),
                environment=Environment(talweg="1", torch=torch, device="cpu" * 99),
                test_mae=5.0 + seed,
            )
            steps = {"mse": 5, "huber": 7}[loss]
            ran_on = Outcome.FromString(record.get(row).outcome or b"").environment
            assert len(ran_on.device) == 200
            record.alter(row, progress=Progress(total_steps=steps).SerializeToString())
    again = spec(optimizer={"adamw": {"learning_rate": 0.01}}, training={"seed": 0, "steps": 5})
    await record.finished(again, test_mae=5.0)
    answer, groups = await ask(record, "mse")
    assert (groups["mse"].n, groups["huber"].difference.n) == (3, 3)
    named = {each.what: list(each.values) for each in answer.inequalities}
    order = list(groups)
    mse = order.index("mse")
    assert named["optimizer.adamw.learning_rate"][mse] == "0.01"
    assert named["version of torch"][1 - mse] == "2.12.0"
    assert named["steps"] == (["5", "7"] if mse == 0 else ["7", "5"])
    assert set(named) == {"optimizer.adamw.learning_rate", "version of torch", "steps"}
    # What is grouped by is meant to differ, under whatever name.
    answer, _ = await ask(record, by=["loss", "optimizer.adamw.lr"])
    assert {each.what for each in answer.inequalities} == {"version of torch", "steps"}


async def test_lists_in_specs_are_unequal_in_words(record: Rules) -> None:
    rates = [f"0.0{number}" for number in range(1, 8)]
    for rate in rates:
        terms = [{"loss": "mse", "weight": 2.0 if rate == "0.07" else 0.5}, {"loss": "mae"}]
        optimizer = {"adamw": {"learning_rate": float(rate)}}
        await record.finished(
            spec(loss={"sum": {"terms": terms}}, optimizer=optimizer), test_mae=5
        )
    answer, groups = await ask(record, by=["optimizer.adamw.lr"])
    (unequal,) = answer.inequalities
    assert unequal.what == "loss.sum.terms"
    assert "weight=2" in unequal.values[rates.index("0.07")]
    # The odd one is named, however many there are.
    (remark,) = [each for each in answer.remarks if each.startswith("unequal")]
    assert "(0.01, 0.02, 0.03, 0.04, 0.05, …); " in remark
    assert remark.endswith("(0.07)")
    assert list(groups) == rates


async def test_maps_in_specs_are_unequal_in_words(record: Rules) -> None:
    for low in (1.0, 2.0):
        own = {"expression": {"formula": "low * abs(pred - target)", "params": {"low": low}}}
        await record.finished(spec(loss=own, tags={"low": f"{low}"}), test_mae=5)
    answer, _ = await ask(record, by=["tags.low"])
    (unequal,) = answer.inequalities
    assert unequal.what == "loss.expression.params"
    assert sorted(unequal.values) == ["low=1.0", "low=2.0"]


async def test_jobs_with_and_without_outliers_are_pairs(record: Rules) -> None:
    for seed in range(6):
        await record.finished(spec(training={"seed": seed}), test_mae=5.0 + seed)
        injected = spec(preprocessing={"target_outliers": {}}, training={"seed": seed})
        await record.finished(injected, test_mae=6.0 + 1.1 * seed)
    _, groups = await ask(record, "none", by=["preprocessing.target_outliers"])
    assert (groups["defaults"].difference.n, groups["defaults"].difference.p) == (6, 1 / 32)
    assert groups["defaults"].difference.verdict == Answer.WORSE


async def test_repeated_cross_validation(record: Rules) -> None:
    for loss in ("mse", "mae"):
        for number in range(12):
            seeds = {
                "split_seed": number % 2,
                "fold": 1 + number // 2 % 3,
                "training": number // 6,
            }
            split = {"seed": seeds["split_seed"], "fold": seeds["fold"], "folds": 3}
            value = 5.0 + number + (loss == "mae") * (1 + 0.01 * number)
            given = spec(loss=loss, split=split, training={"seed": seeds["training"]})
            await record.finished(given, test_mae=value)
    answer, groups = await ask(record, "mse")
    assert groups["mae"].difference.n == 6
    assert any("12 more values have the split.seed and split.fold of" in r for r in answer.remarks)
    # Splits differ by all that is held out of the training data.
    filled = [fill(spec(split={"seed": seed})) for seed in (0, 1)]
    of_split = [Design.of([filled], metric).overlap for metric in ("test/mae", "train/loss")]
    assert of_split == pytest.approx([0.2 / 0.6, 0.4 / 0.6])


async def test_values_too_large_for_statistics_are_none(record: Rules) -> None:
    await train(record, {"mse": [1e200, 1e200], "mae": [5.0, 6.0]})
    with pytest.raises(InvalidRequest, match="with a usable value of test/mae, but 'mse' has"):
        await ask(record, "mse", relative_margin=0.01)
    _, groups = await ask(record, "mae")
    assert groups["mse"].difference.text == "mse cannot be compared: it has no usable value"


@pytest.mark.parametrize(
    ("relative_margin", "words"),
    [(0.0125, "(1.25%)"), (2.5, "within ±10,063 (250%)"), (1e-9, "not even 100,000 seeds would")],
)
async def test_figures_in_words_have_no_exponents(
    record: Rules, relative_margin: float, words: str
) -> None:
    mse = [4025.0 + each for each in NOISE[:3]]
    await train(record, {"mse": mse, "mae": [12_100.0, 12_000.0, 12_050.0]})
    _, groups = await ask(record, "mse", relative_margin=relative_margin)
    text = groups["mae"].difference.text
    assert words in text
    assert "difference +8025 (+199%)" in text


@pytest.mark.parametrize(
    ("baseline", "margin", "message"),
    [
        ("msee", {}, "found 'msee'; allowed: .*did you mean 'mse'"),
        ("mae", {}, "must have a job that SUCCEEDED"),
        ("", {"absolute_margin": 1.0}, "needs question.baseline"),
        ("mse", {"absolute_margin": 0.0}, "must be > 0 and finite, but got 0.0"),
        ("mse", {"relative_margin": float("nan")}, "must be > 0 and finite, but got nan"),
        ("huber", {"relative_margin": 0.01}, "absolute_margin where the baseline's mean"),
    ],
)
async def test_refuses_what_cannot_be_asked(
    record: Rules, baseline: str, margin: dict[str, Any], message: str
) -> None:
    await train(record, {"mse": [5.0, 6.0]})
    await record.finished(spec(loss={"huber": {"delta": 2}}), test_mae=0.0)
    await record.finished(spec(loss="mae"), state=Job.FAILED)
    with pytest.raises(InvalidRequest, match=message):
        await ask(record, baseline, **margin)
    with pytest.raises(InvalidRequest, match="needs a metric of which"):
        await ask(record, "mse", metric="guard/clipped")
