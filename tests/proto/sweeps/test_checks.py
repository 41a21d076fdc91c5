"""What is wrong with a sweep is said before anything runs: where, what, what may stand there."""

from typing import Any

import pytest
from tests.proto.specs import base
from tests.proto.sweeps.samples import INTERVAL, RATE, space, sweep, values

from talweg.spec import SpecError
from talweg.spec.sweeps import (
    check_sweep,
    fill_sweep,
)

LOSSES = {"path": "loss", "values": ["mse", "mae"]}
HUBER = {"value": {"huber": {}}, "space": [{"path": "loss.huber.delta", "values": [1, 2]}]}


def tied(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"zip": list(parts)}


# sweep, field of the violation, words in it
PROBLEMS: list[tuple[dict[str, Any], str, str]] = [
    # What is varied.
    (space(), "space", "at least 1"),
    (space({"path": "loss"}), "space[0]", "one of values, choices, uniform"),
    (space(LOSSES | {"uniform": {"low": 0, "high": 1}}), "space[0]", "values and uniform"),
    (space({"values": ["mse", "mae"]}), "space[0].path", "a path in the job"),
    (space(values("loss")), "space[0].values", "at least 1 value"),
    (space(values("loss", "mse", "mae", "mse")), "space[0].values[2]", "mse, as in [0]"),
    (space(values(RATE, 1, 0.1, 1.0)), "space[0].values[2]", "1, as in [0]"),
    (space({"path": "loss", "choices": [{}]}), "space[0].choices[0].value", "a value"),
    (
        space({"path": "loss", "choices": [{"value": "mse"}, {"value": "mse"}]}),
        "space[0].choices[1]",
        "each value once",
    ),
    (
        space({"path": "loss", "choices": [{"value": "mse", "space": [values("x")]}]}),
        "space[0].choices[0].space[0].values",
        "at least 1 value",
    ),
    # Intervals.
    (space({"path": RATE, "uniform": {"low": 1}}), "space[0].uniform.high", "a number"),
    (
        space({"path": RATE, "uniform": {"low": 1, "high": 1}}),
        "space[0].uniform.high",
        "above low, 1",
    ),
    (
        space({"path": RATE, "log_uniform": {"low": 0, "high": 1}}),
        "space[0].log_uniform.low",
        "> 0",
    ),
    (
        space({"path": "training.epochs", "integers": {"low": 0, "high": 9, "log": True}}),
        "space[0].integers.low",
        "> 0",
    ),
    # What is tied.
    (space(tied()), "space[0]", "one of values"),
    (space(tied(values("a"), values("b"))), "space[0].zip", "at least 1 value each"),
    (space(tied(values("a", 1), values("b", 1, 2))), "space[0].zip", "lists of one length"),
    (space(tied(values("a", 1), {"path": "b"})), "space[0].zip[1]", "path and values"),
    (space(tied(values("a", 1), tied(LOSSES))), "space[0].zip[1]", "path and values"),
    (space(tied(values("a", 1)) | {"path": "b"}), "space[0].path", "nothing beside zip"),
    (
        space(tied(values("a", 1, 2, 1), values("b", 3, 3, 3))),
        "space[0].zip[2]",
        "1, 3, as in [0]",
    ),
    # Values at their paths.
    (space(values("los", "mse", "mae")), "space: los", "did you mean 'loss'"),
    (space(values("loss..x", 1, 2)), "space: loss..x", "one of"),
    (space(values("training.epoch", 1, 2)), "space: training.epoch", "did you mean 'epochs'"),
    (space(values("training.epochs.x", 1)), "space: training.epochs.x", "nothing below it"),
    (space(values("loss", "mse", "hubr")), "space: loss", "did you mean 'huber'"),
    (space(values("training.epochs", 5, "ten")), "space: training.epochs", '"ten"'),
    (space(values("training.epochs", 5, 1.5)), "space: training.epochs", "1.5"),
    (space(values("training.epochs", 5, [])), "space: training.epochs", "an empty list"),
    (
        space(values("training.batch_size", *range(1, 400), "x")),
        "space: training.batch_size",
        '"x"',
    ),
    (
        space(values("training.batch_size", *range(400, 0, -1), 0)),
        "space: training.batch_size",
        "found 0",
    ),
    (
        space(values("model.mlp.hidden[2]", 8, 16)),
        "space: model.mlp.hidden[2]",
        "an index below 2",
    ),
    (
        space({"path": "training.batch_size", "uniform": {"low": 1, "high": 5}}, trials=3),
        "space: training.batch_size",
        "an integer",
    ),
    (space(values("tags.trial", "a", "b")), "space", "the service sets it"),
    # Pruning that never stops anything.
    ({"seeds": 4, "pruning": {"wilcoxon": {}}}, "seeds.count", "a number >= 5"),
    (
        {"seeds": 1, "pruning": {"wilcoxon": {"threshold": 0.25}}},
        "seeds.count",
        "a number >= 4",
    ),
    # Values that come to nothing.
    (space(LOSSES, LOSSES), "space: loss", "one of them"),
    (space(values("loss.huber.delta", 1, 2), LOSSES), "space: loss.huber.delta", "loss varied"),
    (space(LOSSES, values("loss.huber.delta", 1, 2)), "space: loss.huber.delta", "the choice"),
    (
        space(values("loss.huber.delta", 1, 2), values("loss.quantile.q", 0.5)),
        "space: loss.huber.delta",
        "exclude each other",
    ),
    (
        space(values("training.epochs", 1, 2), values("training.steps", 5)),
        "space: training.epochs",
        "exclude each other",
    ),
    # The base.
    ({"base": base(tags={"sweep": "x"})}, "base.tags.sweep", "the service sets it"),
    ({"base": base(tags={"trial": "x"})}, "base.tags.trial", "other tags"),
    ({"base": base(tags={"runs": "per_setting"})}, "base.tags.runs", "other tags"),
    ({"base": base(replay={"job": "jobs/x", "step": 3})}, "base.replay", "train anew"),
    ({"base": base(continued_from={"job": "jobs/x"})}, "base.continued_from", "train anew"),
    # The search.
    (space(INTERVAL, algorithm="grid"), "algorithm.grid", "an interval in space[0]"),
    (space(INTERVAL, LOSSES, algorithm="grid", compare="loss"), "algorithm.grid", "an interval"),
    ({"algorithm": "grid", "trials": 2}, "trials", "nothing beside algorithm.grid"),
    ({"trials": 0}, "trials", ">= 1"),
    ({"trials": 1_000_001}, "trials", "<= 1000000"),
    ({"parallel": 0}, "parallel", ">= 1"),
    (
        space(*(values(f"tags.t{index}", *range(10)) for index in range(7))),
        "space",
        "a grid of 10,000,000 settings",
    ),
    (
        space(*(values(f"tags.t{index}", *range(10)) for index in range(99))),
        "space",
        "at most 1,000,000 settings",
    ),
    # Bounds of the whole.
    ({"max_time": "2 hours"}, "max_time", "such as 90s, 30m, 2h or 1d"),
    ({"max_time": "0s"}, "max_time", "such as 90s"),
    ({"max_time": "999999999d"}, "max_time", "at most 3650d"),
    # Seeds.
    ({"seeds": 0}, "seeds.count", ">= 1"),
    ({"seeds": {"vary": ["training.epochs"]}}, "seeds.vary[0]", "the path of a seed"),
    ({"seeds": {"vary": ["training.sed"]}}, "seeds.vary[0]", "the path of a seed"),
    ({"seeds": {"vary": ["trainin.seed"]}}, "seeds.vary[0]", "one of"),
    ({"seeds": {"vary": ["training.seed", "dataset.rings.seed"]}}, "seeds.vary[1]", "one of"),
    (
        {"seeds": {"vary": ["dataset.synthetic_outliers.seed"]}},
        "seeds.vary[0]",
        "one of",
    ),
    (
        {"seeds": {"vary": ["preprocessing.target_outliers.seed"]}},
        "seeds.vary[0]",
        "a seed that the jobs have",
    ),
    (
        space(values("training.seed", 1, 2), seeds={"vary": ["training.seed"]}),
        "seeds.vary[0]",
        "which space varies too",
    ),
    (space(values("training.seed", 1, 2), seeds=3), "seeds.vary", "the path of a seed"),
    (space(LOSSES, values("training.seed", 1, 2), compare="loss"), "seeds.vary", "training.seed"),
    (
        {"base": base(training={"epochs": 5, "seed": 4294967290}), "seeds": 7},
        "base.training.seed",
        "seeds <= 4294967295",
    ),
    # What is compared.
    ({"compare": {}}, "compare.path", "found nothing"),
    ({"compare": "los"}, "compare.path", "did you mean 'loss'"),
    (space(INTERVAL, compare=RATE), "compare.path", "a dimension of space"),
    (space(values("loss", "mse"), compare="loss"), "compare.path", "2 different values"),
    (
        space(values("loss", "mse", {"mse": {}}), compare="loss"),
        "compare.path",
        "2 different values",
    ),
    ({"compare": {"path": "loss", "baseline": "ms"}}, "compare.baseline", "did you mean 'mse'"),
    (
        space(
            values("loss", {"huber": {"delta": 1}}, {"huber": {"delta": 2}}),
            compare={"path": "loss", "baseline": "huber"},
        ),
        "compare.baseline",
        "huber delta=1, huber delta=2",
    ),
    ({"compare": {"path": "loss", "margin": "0%"}}, "compare.margin", "> 0"),
    ({"compare": {"path": "loss", "margin": "1e999"}}, "compare.margin", "finite"),
    ({"compare": {"path": "loss", "margin": "little"}}, "compare.margin", "such as 1%"),
    ({"compare": {"path": "loss", "final_seeds": 1}}, "compare.final_seeds", ">= 2"),
    # What decides.
    ({"objective": "test/mae"}, "objective.metric", "too good"),
    ({"objective": "mae"}, "objective.metric", "val/…"),
]


@pytest.mark.parametrize(("fields", "field", "words"), PROBLEMS, ids=lambda each: str(each)[:60])
def test_problems(fields: dict[str, Any], field: str, words: str) -> None:
    violations = check_sweep(fill_sweep(sweep(**fields)))
    assert field in [each.field for each in violations]
    assert any(words in str(each) for each in violations if each.field == field), violations


GOOD: list[dict[str, Any]] = [
    {},
    space(INTERVAL, LOSSES, trials=3, algorithm="random"),
    space({"path": "loss", "choices": [{"value": "mse"}, HUBER]}, compare="loss", seeds=2),
    space(values("loss.huber.delta", 1, 2), values("loss.huber.reduction", "sum", "mean")),
    space(values("model", {"mlp": {"hidden": [8]}}, "linear"), compare="model"),
    space(values("training.clip_norm", None, 1)),
    space(values("tags.größe ☃", "größer", "☃")),
    space(tied(values("training.seed", 1, 2), values("split.seed", 1, 2)), algorithm="grid"),
    space(
        values("preprocessing.target_outliers.share", 0, 0.1),
        seeds={"count": 2, "vary": ["training.seed", "preprocessing.target_outliers.seed"]},
    ),
    {"compare": {"path": "loss", "baseline": "mae", "margin": "0.5 %", "final_seeds": 2}},
    {"base": base(training={"epochs": 5, "seed": 4294967289}), "seeds": 7},
    {"max_time": "3650d", "failure_budget": 0, "parallel": 10_000},
]


@pytest.mark.parametrize("fields", GOOD, ids=lambda each: str(each)[:60])
def test_what_is_in_order(fields: dict[str, Any]) -> None:
    assert check_sweep(fill_sweep(sweep(**fields))) == []


def test_all_problems_are_told_at_once_and_each_once() -> None:
    fields = space(
        values("training.epochs", 5, "ten", "eleven"), values("training.batch_size", 8, 16, "x")
    )
    found = [str(each) for each in check_sweep(fill_sweep(sweep(**fields)))]
    assert len(found) == 3
    assert {text.split(" ")[1] for text in found} == {
        "training.epochs:",
        "training.batch_size:",
    }


def test_the_file_is_read_as_any_other() -> None:
    with pytest.raises(SpecError, match="did you mean 'space'"):
        sweep(spase=[])
