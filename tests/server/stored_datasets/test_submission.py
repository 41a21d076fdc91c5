"""Jobs that name stored data: which version they read, and what is refused."""

import hashlib
from typing import Any

import pytest
from tests.server.samples import SUCCEEDED, Rules, held
from tests.server.samples import spec as built_in
from tests.server.stored_datasets.parts import job

from talweg.server.errors import DatasetInUse, DatasetNotFound, InvalidSpec
from talweg.server.services.stored_datasets.views import row_of
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Preview
from talweg.server.store import stored_datasets
from talweg.server.store.record.rows import JobRow
from talweg.spec import from_dict
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset, ValueCount


def number(name: str, low: float = 0, high: float = 9, **fields: Any) -> DataColumn:
    return DataColumn(
        name=name, type=DataColumn.NUMBER, dtype="float64", min=low, max=high, num_distinct=40,
        **fields,
    )  # fmt: skip


def kinds(*counts: int) -> DataColumn:
    values = [ValueCount(value=f"k{index}", count=count) for index, count in enumerate(counts)]
    return DataColumn(
        name="kind", type=DataColumn.CATEGORY, dtype="int32", num_distinct=len(values),
        values=values,
    )  # fmt: skip


def record(rules: Rules, name: str, *columns: DataColumn, num_samples: int = 40) -> str:
    """Record a data set without content; return its digest."""
    info = StoredDataset(num_samples=num_samples, columns=columns)
    info.digest = hashlib.sha256(info.SerializeToString(deterministic=True)).hexdigest()
    with rules.database.write() as tx:
        stored_datasets.insert_version(tx, row_of(name, f"key of {info.digest}", info))
    return info.digest


def houses(rules: Rules, num_samples: int = 40) -> str:
    return record(
        rules, "houses", number("area"), kinds(20, 20), number("price"), num_samples=num_samples
    )


def delete(rules: Rules, name: str, *, force: bool = False) -> None:
    from talweg.server.services.stored_datasets import deletion
    from talweg.server.services.stored_datasets.lookup import dataset_name

    with rules.database.write() as tx:
        deletion._delete(tx, dataset_name(name), force)


async def ended(rules: Rules, row: JobRow) -> JobRow:
    (claimed,) = await rules.claim(worker="w")
    await rules.leases.finish(held(claimed), SUCCEEDED, None)
    return rules.get(row)


async def violations(rules: Rules, spec: JobSpec) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        await rules.submit(spec)
    return {each.field: each.description for each in caught.value.fields}


async def test_the_version_and_what_it_holds_stand_in_the_spec(rules: Rules) -> None:
    digest = houses(rules)
    row = await rules.submit(job(name="datasets/houses"))
    stored = row.job_spec.dataset.stored
    assert (stored.name, stored.digest) == ("houses", digest)
    assert stored.facts.num_samples == 40
    assert list(stored.facts.shape) == [4]
    assert stored.facts.num_targets == 1
    assert not stored.facts.in_unit_range


async def test_what_a_caller_says_of_the_data_is_not_believed(rules: Rules) -> None:
    houses(rules)
    given = job()
    given.dataset.stored.facts.num_samples = 10**9
    given.dataset.stored.facts.shape.append(77)
    row = await rules.submit(given)
    assert row.job_spec.dataset.stored.facts.num_samples == 40


async def test_a_name_alone_means_the_newest_version(rules: Rules) -> None:
    old, new = houses(rules, 40), houses(rules, 50)
    assert (await rules.submit(job())).job_spec.dataset.stored.digest == new
    named = await rules.submit(job(name=f"houses@{old[:8]}"))
    assert named.job_spec.dataset.stored.digest == old
    pinned = await rules.submit(job(digest=old))
    assert pinned.job_spec.dataset.stored.digest == old
    two = await violations(rules, job(name=f"houses@{new[:8]}", digest=old))
    assert "leave digest out" in two["dataset.stored.digest"]


async def test_a_retry_reads_what_the_job_has_read(rules: Rules) -> None:
    old = houses(rules, 40)
    row = await ended(rules, await rules.submit(job()))
    houses(rules, 50)
    again = await rules.submission.retry(row.name, "")
    assert again.job_spec.dataset.stored.digest == old
    again = await ended(rules, again)
    delete(rules, f"houses@{old}", force=True)
    with pytest.raises(InvalidSpec, match=f"{row.name} has read and which was deleted"):
        await rules.submission.retry(row.name, "")
    # The same file gets the same digest.
    houses(rules, 40)
    assert (await rules.submission.retry(row.name, "")).job_spec.dataset.stored.digest == old


async def test_a_replay_reads_what_the_job_has_read(rules: Rules) -> None:
    old = houses(rules, 40)
    row = await ended(rules, await rules.submit(job()))
    houses(rules, 50)
    replay = job()
    replay.replay.job, replay.replay.step = row.name, 1
    # The job has taken no step: that alone is wrong, and not the data.
    assert set(await violations(rules, replay)) == {"replay.step"}
    delete(rules, f"houses@{old}", force=True)
    assert "which was deleted" in (await violations(rules, replay))["dataset.stored.name"]


async def test_a_job_that_goes_on_reads_what_the_other_has_read(rules: Rules) -> None:
    old = houses(rules, 40)
    row = await ended(rules, await rules.submit(job()))
    houses(rules, 50)
    further = job()
    further.continued_from.job = row.name
    # The job has no checkpoint: that alone is wrong, and not the data.
    assert set(await violations(rules, further)) == {"continued_from.job"}
    delete(rules, f"houses@{old}", force=True)
    assert "which was deleted" in (await violations(rules, further))["dataset.stored.name"]


async def test_a_request_id_stands_for_the_body_as_it_was_sent(rules: Rules) -> None:
    old = houses(rules, 40)
    row = await rules.submit(job(), request_id="r")
    houses(rules, 50)
    again = await rules.submit(job(), request_id="r")
    assert again.id == row.id
    assert again.job_spec.dataset.stored.digest == old


async def test_all_that_is_wrong_is_told_at_once(rules: Rules) -> None:
    record(
        rules,
        "houses",
        number("area", num_non_finite=2, non_finite_rows=[3, 7]),
        number("price", num_missing=1, missing_rows=[4]),
        DataColumn(name="note", type=DataColumn.TEXT, num_distinct=40),
    )
    spec = job(group="city")
    spec.training.batch_size = 0
    found = await violations(rules, spec)
    assert set(found) == {
        "dataset.stored.group",
        "dataset.stored.inputs",
        "dataset.stored.target",
        "training.batch_size",
    }
    assert "in row 5" in found["dataset.stored.target"]


async def test_labels_that_are_missing_are_named_by_their_rows(rules: Rules) -> None:
    column = kinds(20, 19)
    column.num_missing = 1
    column.missing_rows.append(12)
    record(rules, "houses", number("area"), column)
    spec = from_dict(
        {
            "task": "multiclass",
            "dataset": {"stored": {"name": "houses", "target": "kind"}},
            "model": {"mlp": {"hidden": [8]}},
            "loss": "cross_entropy",
            "training": {"steps": 5},
        }
    )
    found = await violations(rules, spec)
    assert "missing values in" in found["dataset.stored.target"]
    assert "in row 13" in found["dataset.stored.target"]


async def test_a_name_that_is_not_there_is_answered_with_the_nearest(rules: Rules) -> None:
    houses(rules)
    found = await violations(rules, job(name="huoses"))
    assert '"huoses"' in found["dataset.stored.name"]
    assert "houses" in found["dataset.stored.name"]
    found = await violations(rules, job(name="houses@" + "0" * 64))
    assert "a version that is not stored" in found["dataset.stored.name"]
    assert "dataset.stored.name" in await violations(rules, job(name="../x"))


async def test_a_batch_reads_each_data_set_once(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    houses(rules)
    finds = []
    find = stored_datasets.find

    def counted(*arguments: Any) -> Any:
        finds.append(arguments[1])
        return find(*arguments)

    monkeypatch.setattr(stored_datasets, "find", counted)
    specs = [job() for _ in range(100)]
    for index, each in enumerate(specs):
        each.training.seed = index
    rows = await rules.submit_many(specs)
    assert len({row.job_spec.dataset.stored.digest for row in rows}) == 1
    assert len(finds) == 1


async def test_checking_alone_gives_the_version_too(rules: Rules) -> None:
    digest = houses(rules)
    answer = await rules.submission.submit(Submission(job(), validate_only=True))
    assert isinstance(answer, Preview)
    assert JobSpec.FromString(answer.spec).dataset.stored.digest == digest


async def test_data_that_jobs_read_is_not_deleted(rules: Rules) -> None:
    digest = houses(rules)
    other = record(rules, "cars", number("x"))
    row = await rules.submit(job())
    await rules.submit(built_in())
    for force in (False, True):
        with pytest.raises(DatasetInUse, match=f"{row.name}.*not ended"):
            delete(rules, "houses", force=force)
    await ended(rules, row)
    with pytest.raises(DatasetInUse, match="could not be repeated"):
        delete(rules, f"datasets/houses@{digest}")
    delete(rules, "houses", force=True)
    delete(rules, "cars")
    for name in ("houses", f"cars@{other}"):
        with pytest.raises(DatasetNotFound):
            delete(rules, name)


async def test_a_job_whose_data_go_while_it_is_checked_is_refused(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    from talweg.server.services.submission import preparing, submit

    houses(rules)
    prepare = preparing.prepare

    def late(*arguments: Any) -> Any:
        prepared = prepare(*arguments)
        delete(rules, "houses")
        return prepared

    monkeypatch.setattr(submit, "prepare", late)
    found = await violations(rules, job())
    assert "which was deleted" in found["dataset.stored.name"]


async def test_weights_and_folds_are_held_against_the_columns(rules: Rules) -> None:
    record(rules, "houses", number("area"), kinds(30, 10), number("price"), number("w", 0, 3))
    given = job()
    given.training.sampling.weighted.column = "w"
    row = await rules.submit(given)
    assert row.job_spec.dataset.stored.weight == "w"
    assert list(row.job_spec.dataset.stored.facts.shape) == [4]
    given = job(group="kind")
    given.split.fold, given.split.folds = 1, 2
    assert (await rules.submit(given)).job_spec.split.test == 0.5
    given.split.folds = 3
    too_many = await violations(rules, given)
    assert too_many["split.folds"].startswith("found 3 folds of 2 groups in kind")
    record(rules, "houses", number("area"), number("price"), number("w", -1, 3))
    given = job()
    given.training.sampling.weighted.column = "w"
    assert "numbers from -1 to 3" in (await violations(rules, given))["dataset.stored.weight"]
