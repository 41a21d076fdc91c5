"""Sweeps as they are created, listed and looked up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import json_format
from sqlalchemy import func, select
from tests.server.samples import Rules, spec
from tests.server.stored_datasets.parts import job as job_of_houses
from tests.server.stored_datasets.test_submission import houses
from tests.server.sweeps.sweeping import AT_RATE, Sweeping, sweep_spec
from tests.server.test_starting_weights import stored as weights

from talweg.server.errors import (
    BadPageToken,
    InvalidRequest,
    InvalidSpec,
    RequestIdReused,
    SpecTooLarge,
    SweepNotFound,
)
from talweg.server.services.sweeps.messages import SweepView, sweep_message
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.record.schema import metadata
from talweg.spec import to_dict
from talweg.v1.sweeps_pb2 import Objective, Sweep, SweepSpec, Trial

TENS = [{"path": f"tags.t{index}", "values": list("abcdefghij")} for index in range(5)]


async def create(
    rules: Rules, given: SweepSpec, request_id: str = "", *, validate_only: bool = False
) -> SweepRow:
    return await rules.creation.create(given, request_id, validate_only=validate_only, caller="")


def sizes(rules: Rules) -> dict[str, int]:
    """Count the rows of every table."""
    with rules.database.read() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }


async def test_what_is_created_has_all_defaults(rules: Rules) -> None:
    row = await create(rules, sweep_spec(compare="loss"))
    sweep = sweep_message(SweepView(row))
    assert (sweep.state, sweep.message) == (Sweep.RUNNING, "created")
    assert sweep.spec.algorithm.HasField("grid")
    assert (sweep.spec.objective.metric, sweep.spec.objective.at) == ("val/mae", Objective.best)
    assert (sweep.spec.seeds.count, list(sweep.spec.seeds.vary)) == (1, ["training.seed"])
    assert (sweep.spec.compare.metric, sweep.spec.compare.final_seeds) == ("test/mae", 10)
    # The base stays what its author wrote.
    assert to_dict(sweep.spec.base) == to_dict(spec())
    assert sweep == sweep_message(await rules.sweeps.get(row.name))


async def test_validation_alone_tells_the_size_and_changes_nothing(rules: Rules) -> None:
    before = sizes(rules)
    given = sweep_spec(space=TENS, seeds=3)
    row = await create(rules, given, "r1", validate_only=True)
    sweep = sweep_message(SweepView(row))
    assert (sweep.name, sweep.num_trials, sweep.num_jobs) == ("", 100_000, 300_000)
    assert sweep.spec.objective.metric == "val/mae"
    assert sizes(rules) == before
    # Nor has it taken the request_id.
    created = await create(rules, sweep_spec(), "r1")
    assert created.id
    # Of one that stands for a sweep it says what it says of any other.
    again = await create(rules, sweep_spec(), "r1", validate_only=True)
    assert (again.id, again.num_trials) == ("", 3)
    with pytest.raises(RequestIdReused):
        await create(rules, given, "r1", validate_only=True)


async def test_a_grid_of_100_000_begins_without_being_listed(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, space=TENS)
    assert sizes(rules)["trials"] == 0
    await rules.runner.step()
    found = sizes(rules)
    assert 0 < found["trials"] == found["trial_jobs"] == found["jobs"] <= 256
    assert (await sweeping.get()).num_trials == 100_000


async def test_the_same_request_gives_the_same_sweep(rules: Rules) -> None:
    first = await create(rules, sweep_spec(), "r1")
    assert await create(rules, sweep_spec(), "r1") == first
    assert (await create(rules, sweep_spec(), "r2")).id != first.id
    assert (await create(rules, sweep_spec())).id != (await create(rules, sweep_spec())).id
    with pytest.raises(RequestIdReused, match="new sweep") as caught:
        await create(rules, sweep_spec(seeds=2), "r1")
    assert caught.value.metadata == {"sweep": first.name, "request_id": "r1"}
    with pytest.raises(InvalidRequest):
        await create(rules, sweep_spec(), "x" * 101)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Rules]:
    """Another server's services over the same record."""
    database = Database(database_url)
    rules = Rules(database, [])
    yield rules
    rules.close()
    database.close()


async def test_one_request_at_two_servers_at_once_gives_one_sweep(
    rules: Rules, other: Rules
) -> None:
    for number in range(5):
        rows = await asyncio.gather(
            *(create(each, sweep_spec(), f"r{number}") for each in (rules, other) * 2)
        )
        assert len({row.id for row in rows}) == 1
    assert sizes(rules)["sweeps"] == 5


# sweep, field, words of the description
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"space": []}, "space", "at least 1"),
    ({"space": [{"path": "los", "values": ["mse"]}]}, "space: los", "did you mean 'loss'"),
    # What only the rules of jobs know.
    ({"space": [{"path": "loss", "values": ["mse", "focal"]}]}, "space: loss", "loss=focal"),
    (
        {"space": [{"path": "training.batch_size", "values": [8, 0]}]},
        "space: training.batch_size",
        "found 0",
    ),
    (
        {"space": [{"path": "loss", "values": ["mse", "huber", {"huber": {"delta": 1}}]}]},
        "space",
        "loss=huber delta=1, the same job as loss=huber",
    ),
    ({"base": {"task": "regression"}}, "base.dataset", "nothing"),
    (
        {"base": to_dict(spec(tags={f"t{index}": "x" for index in range(49)}))},
        "base.tags",
        "at most 50",
    ),
    ({"base": to_dict(spec(dataset={"stored": "nosuch"}))}, "base.dataset.stored.name", "nosuch"),
    ({"objective": "val/maee"}, "objective.metric", "did you mean 'val/mae'"),
    ({"objective": "val/loss"}, "objective.metric", "varies what the loss is"),
    ({"objective": "test/mae"}, "objective.metric", "too good"),
    ({"compare": {"path": "loss", "metric": "test/maee"}}, "compare.metric", "'test/mae'"),
    ({"compare": {"path": "loss", "metric": "test/loss"}}, "compare.metric", "what the loss is"),
    (
        {"base": to_dict(spec(split={"train": 0.8, "validation": 0, "test": 0.2}))},
        "base.split.validation",
        "chosen on validation data",
    ),
]


@pytest.mark.parametrize(("fields", "field", "words"), REFUSED, ids=lambda each: str(each)[:50])
async def test_what_is_wrong_is_told_and_changes_nothing(
    rules: Rules, fields: dict[str, Any], field: str, words: str
) -> None:
    before = sizes(rules)
    for validate_only in (True, False):
        with pytest.raises(InvalidSpec) as caught:
            await create(rules, sweep_spec(**fields), validate_only=validate_only)
        assert any(
            each.field == field and words in each.description for each in caught.value.fields
        ), caught.value.fields
    assert sizes(rules) == before


async def test_a_spec_that_is_too_large_is_refused(rules: Rules) -> None:
    given = sweep_spec(space=[{"path": "tags.a", "values": ["x" * 100_000, "y" * 200_000]}])
    with pytest.raises(SpecTooLarge):
        await create(rules, given)


async def test_values_that_do_not_fit_together_end_their_trial_alone(rules: Rules) -> None:
    # Each value is in order beside the first one of the other list; two are not together.
    space = [
        {"path": "loss", "values": ["mse", "poisson_nll"]},
        {"path": "preprocessing.standardise_targets", "values": [False, True]},
    ]
    sweeping = await Sweeping.begin(
        rules, result=lambda job: {"val/mae": 1.0}, space=space, seeds=3, parallel=2
    )
    sweep = await sweeping.run()
    assert sweep.state == Sweep.SUCCEEDED
    trials = await sweeping.trials()
    assert [Trial.State.Name(each.state) for each in trials] == ["SUCCEEDED"] * 3 + ["FAILED"]
    assert "standardise_targets" in trials[3].message
    assert (len(trials[3].jobs), trials[3].count, trials[3].HasField("value")) == (0, 0, False)
    ended = [event.ended for event in await sweeping.events() if event.HasField("ended")]
    assert [each.number for each in ended] == [1, 2, 3, 4]
    assert ended[3].state == Trial.FAILED
    ranked = await sweeping.trials(best_first=True)
    assert ranked[-1].number == 4
    # It is refused again, and nothing else is run again.
    _, number = await rules.control.retry(sweep.name, [Trial.FAILED])
    assert number == 3
    await sweeping.run()
    assert await sweeping.trials() == trials
    assert sizes(rules)["jobs"] == 9


async def test_what_is_refused_counts_as_failed(rules: Rules) -> None:
    space = [
        {"path": "loss", "values": ["mse", "poisson_nll"]},
        {"path": "preprocessing.standardise_targets", "values": [False, True]},
    ]
    sweeping = await Sweeping.begin(
        rules, result=lambda job: {"val/mae": 1.0}, space=space, failure_budget=0
    )
    sweep = await sweeping.run()
    assert sweep.state == Sweep.FAILED


@pytest.mark.parametrize("is_named", [False, True], ids=["the newest", "a version"])
async def test_all_jobs_read_one_version_of_stored_data(rules: Rules, is_named: bool) -> None:
    digest = houses(rules, 40)
    base = job_of_houses(name=f"houses@{digest[:8]}" if is_named else "houses")
    sweeping = await Sweeping.begin(rules, base=to_dict(base))
    # Another version comes before its jobs are submitted.
    assert houses(rules, 50) != digest
    await rules.runner.step()
    specs = [job for trial in await sweeping.trials() for job in sweeping.jobs(trial)]
    assert {job.dataset.stored.digest for job in specs} == {digest}
    assert len(specs) == 3


async def test_all_jobs_start_from_one_version_of_stored_weights(rules: Rules) -> None:
    digest, _ = weights(rules, "trunk", 1)
    sweeping = await Sweeping.begin(rules, base=to_dict(spec(weights={"stored": "trunk"})))
    assert weights(rules, "trunk", 2)[0] != digest
    await rules.runner.step()
    specs = [job for trial in await sweeping.trials() for job in sweeping.jobs(trial)]
    assert {job.weights.stored for job in specs} == {f"trunk@{digest}"}
    assert len(specs) == 3


async def test_data_that_are_varied_are_each_read(rules: Rules) -> None:
    houses(rules, 40)
    sweeping = await Sweeping.begin(
        rules,
        base=to_dict(job_of_houses()),
        space=[{"path": "dataset.stored.name", "values": ["houses", "datasets/houses"]}],
    )
    await rules.runner.step()
    assert [len(each.jobs) for each in await sweeping.trials()] == [1, 1]


async def test_sweeps_are_listed_the_newest_first(rules: Rules) -> None:
    rows = [await create(rules, sweep_spec()) for _ in range(5)]
    await rules.control.cancel(rows[2].name, reason="")
    await rules.runner.step()
    names = [row.name for row in reversed(rows)]
    found: list[str] = []
    token = ""
    while True:
        page = await rules.sweeps.list_page(states=[], page_size=2, page_token=token)
        found += [view.row.name for view in page.sweeps]
        token = page.next_token
        if not token:
            break
    assert found == names
    page = await rules.sweeps.list_page(states=[Sweep.CANCELLED], page_size=0, page_token="")
    assert [view.row.name for view in page.sweeps] == [rows[2].name]
    page = await rules.sweeps.list_page(states=[], page_size=2, page_token="")
    with pytest.raises(BadPageToken):
        await rules.sweeps.list_page(
            states=[Sweep.RUNNING], page_size=2, page_token=page.next_token
        )


async def test_trials_are_listed_in_pages(rules: Rules) -> None:
    rates = [0.001 * number for number in range(1, 8)]
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: {"val/mae": -job.optimizer.adamw.learning_rate},
        space=[{"path": AT_RATE, "values": rates}],
    )
    await sweeping.run()

    async def numbers(*, best_first: bool) -> list[int]:
        found: list[int] = []
        token = ""
        while True:
            page = await rules.sweeps.list_trials(
                sweeping.name, best_first=best_first, states=[], page_size=3, page_token=token
            )
            found += [trial.number for trial in page.trials]
            token = page.next_token
            if not token:
                return found

    assert await numbers(best_first=False) == [1, 2, 3, 4, 5, 6, 7]
    assert await numbers(best_first=True) == [7, 6, 5, 4, 3, 2, 1]


async def test_trials_that_end_between_two_pages_hide_no_others(rules: Rules) -> None:
    rates = [0.001 * number for number in range(1, 6)]
    sweeping = await Sweeping.begin(rules, space=[{"path": AT_RATE, "values": rates}])
    await rules.runner.step()
    running: dict[str, Any] = {"best_first": False, "states": [Trial.RUNNING], "page_size": 2}
    first = await rules.sweeps.list_trials(sweeping.name, **running, page_token="")
    await sweeping.work(2)
    await rules.runner.step()
    rest = await rules.sweeps.list_trials(
        sweeping.name, **running | {"page_size": 3}, page_token=first.next_token
    )
    assert [trial.number for trial in (*first.trials, *rest.trials)] == [1, 2, 3, 4, 5]
    assert rest.next_token == ""


async def test_wrong_arguments_of_lists(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules)
    await rules.runner.step()
    lookup = rules.sweeps
    good: dict[str, Any] = {"states": [], "page_size": 1, "page_token": ""}
    trials = {**good, "best_first": False}
    token = (await lookup.list_trials(sweeping.name, **trials)).next_token
    other = await Sweeping.begin(rules)
    await rules.runner.step()
    for call, error in (
        (lookup.list_page(**good | {"page_size": 1001}), InvalidRequest),
        (lookup.list_page(**good | {"page_size": -1}), InvalidRequest),
        (lookup.list_page(**good | {"states": [0]}), InvalidRequest),
        (lookup.list_page(**good | {"states": [99]}), InvalidRequest),
        (lookup.list_page(**good | {"page_token": "x"}), BadPageToken),
        (lookup.list_page(**good | {"page_token": token}), BadPageToken),
        (lookup.list_trials("sweeps/nosuch", **trials), SweepNotFound),
        (lookup.list_trials("nosuch", **trials), InvalidRequest),
        (lookup.list_trials(sweeping.name, **trials | {"states": [77]}), InvalidRequest),
        (lookup.list_trials(other.name, **trials | {"page_token": token}), BadPageToken),
        (
            lookup.list_trials(
                sweeping.name, **trials | {"page_token": token, "best_first": True}
            ),
            BadPageToken,
        ),
        (lookup.get("sweeps/nosuch"), SweepNotFound),
        (lookup.get("sweeps/"), InvalidRequest),
    ):
        with pytest.raises(error):
            await call
    for cursor in (-1, 10**6):
        with pytest.raises(InvalidRequest, match="after_cursor"):
            await anext(lookup.watch(sweeping.name, cursor))


async def test_a_setting_is_told_as_it_was_written(rules: Rules) -> None:
    tags = ["1", "2.5", "true", "größe ☃"]
    losses = ["mse", {"huber": {"delta": 2}}]
    space = [{"path": "tags.a", "values": tags}, {"path": "loss", "values": losses}]
    given = sweep_spec(space=space)
    sweeping = await Sweeping.begin(rules, given)
    await rules.runner.step()
    trials = await sweeping.trials()
    assert trials[7].setting[0].value.string_value == "größe ☃"
    assert json_format.MessageToDict(trials[7].setting[1].value) == {"huber": {"delta": 2}}
    assert trials[7].label == "a=größe ☃, loss=huber delta=2"
