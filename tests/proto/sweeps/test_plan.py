"""What a sweep consists of: searches in turn, trials by number, jobs by seed."""

from typing import Any

import pytest
from tests.proto.specs import base
from tests.proto.sweeps.samples import INTERVAL, RATE, plan_of

from talweg.spec import SpecError, from_dict, to_dict
from talweg.spec.sweeps import Plan, Setting

HUBER = {
    "path": "loss",
    "choices": [
        {"value": "mse"},
        {"value": {"huber": {}}, "space": [{"path": "loss.huber.delta", "values": [1, 2]}]},
    ],
}
BATCH = {"path": "training.batch_size", "values": [16, 32]}


def planned(plan: Plan) -> list[tuple[int, Setting]]:
    trials = [plan.trial(number) for number in range(1, plan.num_trials + 1)]
    return [(trial.search, trial.setting) for trial in trials]


def test_a_grid_by_default_where_all_is_listed() -> None:
    plan = plan_of()
    assert plan.is_grid
    assert [setting for _, setting in planned(plan)] == [(("loss", "mse"),), (("loss", "mae"),)]
    assert not plan_of(trials=1).is_grid
    plan = plan_of(space=[INTERVAL])
    assert (plan.is_grid, plan.num_trials, plan.num_jobs) == (False, 20, 20)


def test_without_compare_there_is_one_search() -> None:
    (search,) = plan_of(space=[HUBER, BATCH]).searches
    assert (search.label, search.fixed, search.num_trials) == ("", (), 6)


def test_compared_values_take_turns_until_each_has_its_own() -> None:
    plan = plan_of(space=[HUBER, BATCH], compare="loss", seeds=3)
    assert [(each.label, each.name, each.num_trials) for each in plan.searches] == [
        ("mse", "mse", 2),
        ("huber", "huber", 4),
    ]
    assert (plan.num_trials, plan.num_jobs) == (6, 6 * 3 + 2 * 10)
    found = planned(plan)
    assert [search for search, _ in found] == [0, 1, 0, 1, 1, 1]
    assert len(set(map(str, found))) == 6
    assert all(setting[0][0] == "loss" for _, setting in found)
    with pytest.raises(IndexError):
        plan.trial(7)


def test_compared_values_are_tried_at_the_same_settings() -> None:
    space = [{"path": "loss", "values": ["mse", "mae"]}, INTERVAL]
    found = planned(plan_of(space=space, compare="loss", trials=4))
    of_search = [[setting[1:] for at, setting in found if at == search] for search in (0, 1)]
    assert of_search[0] == of_search[1]
    assert len(set(of_search[0])) == 4


@pytest.mark.parametrize("space", [[INTERVAL], [HUBER, BATCH], [HUBER, INTERVAL]])
@pytest.mark.parametrize("compare", [False, True])
def test_more_trials_leave_those_before_as_they_are(space: Any, compare: bool) -> None:
    if compare and HUBER not in space:
        space = [HUBER, *space]
    fields: dict[str, Any] = {"space": space, "algorithm": "random"}
    if compare:
        fields["compare"] = "loss"
    before: list[Any] = []
    for trials in range(1, 9):
        found = planned(plan_of(trials=trials, **fields))
        assert found[: len(before)] == before
        before = found


def test_the_baseline_by_label_or_name() -> None:
    space = [{"path": "loss", "values": ["mse", "mae", {"huber": {"delta": 2}}]}]
    for baseline, index in ((None, 0), ("mae", 1), ("huber delta=2", 2), ("huber", 2)):
        compare = {"path": "loss"} | ({"baseline": baseline} if baseline else {})
        assert plan_of(space=space, compare=compare).baseline == index


def test_jobs_raise_all_seeds_from_those_of_thebase() -> None:
    plan = plan_of(
        base=base(training={"epochs": 5, "seed": 40}, split={"seed": 7}),
        seeds={"count": 3, "vary": ["training.seed", "split.seed"]},
    )
    jobs = [plan.job(plan.trial(1).setting, seed) for seed in range(3)]
    assert [(job.training.seed, job.split.seed) for job in jobs] == [(40, 7), (41, 8), (42, 9)]
    assert {job.training.epochs for job in jobs} == {5}


def test_a_job_is_what_a_user_would_submit() -> None:
    plan = plan_of(
        space=[HUBER, {"path": RATE, "values": [0.1]}, {"path": "tags.why", "values": ["x"]}]
    )
    job = plan.job(plan.trial(3).setting, 0)
    expected = base(loss={"huber": {"delta": 2}}, optimizer={"adamw": {"learning_rate": 0.1}}) | {
        "tags": {"why": "x"}
    }
    assert to_dict(job) == to_dict(from_dict(expected))


def test_a_value_of_null_leaves_the_default() -> None:
    plan = plan_of(space=[{"path": "training.clip_norm", "values": [None, 1.5]}])
    first, second = (plan.job(plan.trial(number).setting, 0) for number in (1, 2))
    assert not first.training.HasField("clip_norm")
    assert second.training.clip_norm == 1.5


# objective, early stopping of the base, what the jobs have: patience and metric
STOPPING: list[tuple[Any, Any, Any]] = [
    (None, None, None),
    ({"metric": "val/mae", "at": "last"}, None, None),
    ({"metric": "val/mae", "at": "last"}, {"patience": 3}, (3, "")),
    ("val/mae", None, (1_000_000_000, "val/mae")),
    ("val/mae", {"patience": 3}, (3, "val/mae")),
    ("val/mae", {"patience": 3, "metric": "val/mae"}, (3, "val/mae")),
]


@pytest.mark.parametrize(("objective", "stopping", "expected"), STOPPING)
def test_the_weights_of_the_objective_are_kept(
    objective: Any, stopping: Any, expected: Any
) -> None:
    training = {"epochs": 5, **({"early_stopping": stopping} if stopping else {})}
    fields = {"objective": objective} if objective else {}
    plan = plan_of(base=base(training=training), **fields)
    job = plan.job(plan.trial(1).setting, 0)
    found = job.training.early_stopping
    assert job.training.HasField("early_stopping") is (expected is not None)
    assert expected is None or (found.patience, found.metric) == expected


def test_what_does_not_fit_is_a_spec_error() -> None:
    plan = plan_of(space=[{"path": "training.batch_size", "values": ["many"]}])
    with pytest.raises(SpecError, match=r"training\.batch_size"):
        plan.job(plan.trial(1).setting, 0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), (None, None)]
)
def test_times(text: str | None, seconds: int | None) -> None:
    plan = plan_of(**({"max_time": text} if text else {}))
    assert plan.max_seconds == seconds


def test_a_plan_of_many_trials_lists_none() -> None:
    space = [{"path": f"tags.t{index}", "values": list("abcdefghij")} for index in range(6)]
    plan = plan_of(space=space)
    assert plan.num_trials == 1_000_000
    assert plan.trial(1_000_000).setting[0] == ("tags.t0", "j")
