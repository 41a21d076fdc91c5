"""Lists, metrics, waiting reasons and comparisons, from the record of either database."""

import base64
import json
from typing import Any

import pytest
from tests.server.samples import Rules, held, point, spec, summary

from talweg.server.errors import (
    BadGrouping,
    BadMetric,
    BadPageToken,
    InvalidRequest,
    JobNotFound,
)
from talweg.server.queueing.reaper import reap
from talweg.server.services.jobs import Page
from talweg.server.services.reports import Report
from talweg.server.store import events, jobs
from talweg.server.store.rows import JobRow
from talweg.v1.jobs_pb2 import Event, Job, LogLine
from talweg.v1.options_pb2 import MAXIMIZE, MINIMIZE
from talweg.v1.spec_pb2 import JobSpec


async def page(rules: Rules, filter: str = "", **more: Any) -> Page:
    arguments: dict[str, Any] = {
        "filter": filter,
        "order_by": "",
        "page_size": 0,
        "page_token": "",
    }
    return await rules.jobs.list_page(**(arguments | more))


async def ids(rules: Rules, filter: str = "", **more: Any) -> list[str]:
    return [view.row.id for view in (await page(rules, filter, **more)).jobs]


async def test_filters(rules: Rules) -> None:
    mse = await rules.submit(spec(tags={"team": "a", "say": 'x "y"'}))
    mae = await rules.submit(spec(loss="mae", tags={"team": "b"}, experiment="second"))
    huber = await rules.submit(spec(loss="huber", experiment="second"))
    (claimed,) = await rules.claim(worker="gpu0@box")
    assert claimed.id == mse.id
    # Times far enough apart to be told from each other in seconds.
    for number, row in enumerate((mse, mae, huber)):
        rules.alter(row, create_time=(1_700_000_000 + number) * 1_000_000)
    cases = {
        "": [huber, mae, mse],
        "state = RUNNING": [mse],
        "state != RUNNING": [huber, mae],
        "(state = RUNNING OR state = QUEUED) AND loss = huber": [huber],
        "(loss = mse OR loss = mae)": [mae, mse],
        "task = regression AND experiment = second": [huber, mae],
        'worker = "gpu0@box"': [mse],
        f"name = {mae.name}": [mae],
        f"name != {mae.name}": [huber, mse],
        f"name = {mae.name[:-1]}": [],
        f'name = "{mae.name[:-1]}*"': [mae],
        f"name != {mae.name[:-1]}*": [huber, mse],
        "name = jobs/*": [huber, mae, mse],
        "name = jobs/%*": [],
        "tags.team = b": [mae],
        "tags.team != b": [huber, mse],
        r'tags.say = "x \"y\""': [mse],
        "create_time < 2023-11-14T22:13:21Z": [mse],
        "create_time >= 2023-11-14T22:13:21Z": [huber, mae],
        "create_time = 2023-11-14T22:13:20Z": [mse],
    }
    for text, rows in cases.items():
        assert await ids(rules, text) == [row.id for row in rows], text


async def test_orders(rules: Rules) -> None:
    given = [("mse", 0), ("mae", 5), ("huber", 5), ("mae", 0)]
    rows = [await rules.submit(spec(loss=loss, priority=priority)) for loss, priority in given]
    cases = {
        "": [3, 2, 1, 0],
        "create_time": [0, 1, 2, 3],
        "priority desc, create_time": [1, 2, 0, 3],
        "priority, create_time desc": [3, 0, 2, 1],
        "loss": [2, 1, 3, 0],
        "loss desc": [0, 3, 1, 2],
        "loss, priority": [2, 3, 1, 0],
    }
    for text, order in cases.items():
        assert await ids(rules, order_by=text) == [rows[index].id for index in order], text


@pytest.mark.parametrize("order_by", ["", "create_time", "loss, priority desc", "state desc"])
async def test_pages_give_each_job_once_while_jobs_arrive(rules: Rules, order_by: str) -> None:
    losses = ("mse", "mae", "huber")
    specs = [spec(loss=losses[i % 3], priority=i % 2) for i in range(23)]
    before = {row.id for row in await rules.submit_many(specs)}
    seen: list[str] = []
    token = ""
    for _ in range(40):
        part = await page(rules, order_by=order_by, page_size=5, page_token=token)
        seen += [view.row.id for view in part.jobs]
        token = part.next_token
        if not token:
            break
        assert len(part.jobs) == 5
        if len(seen) < 30:
            await rules.submit_many([spec(loss="mse"), spec(loss="huber", priority=1)])
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


async def test_a_page_ends_before_it_outgrows_a_message(rules: Rules) -> None:
    large = spec(tags={f"k{i}": "v" * 200 for i in range(50)})
    await rules.submit_many([large] * 400)
    first = await page(rules, page_size=1000)
    size = sum(len(view.row.spec) for view in first.jobs)
    assert 2_500_000 < size < 3_500_000
    second = await page(rules, page_size=1000, page_token=first.next_token)
    assert len(first.jobs) + len(second.jobs) == 400
    assert second.next_token == ""


async def test_page_tokens_of_others_are_refused(rules: Rules) -> None:
    await rules.submit_many([spec()] * 3)
    token = (await page(rules, "loss = mse", page_size=1)).next_token
    # The size of the pages may change.
    assert len((await page(rules, "loss = mse", page_size=2, page_token=token)).jobs) == 2
    with pytest.raises(BadPageToken, match="another filter or order_by"):
        await page(rules, "loss = mae", page_size=1, page_token=token)
    with pytest.raises(BadPageToken, match="another filter or order_by"):
        await page(rules, "loss = mse", order_by="loss", page_size=1, page_token=token)


def forged(**parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    "token", ["x", "%%%", "bm8", forged(v=1), forged(v=2, a="", p=[]), forged(v=1, a="", p=1), "é"]
)
async def test_forged_page_tokens_are_refused(rules: Rules, token: str) -> None:
    with pytest.raises(BadPageToken):
        await page(rules, page_token=token)


async def test_a_forged_place_is_refused(rules: Rules) -> None:
    await rules.submit_many([spec()] * 3)
    token = (await page(rules, page_size=1)).next_token
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for place in ([], ["a", 1], [1], [1, 2**63], [1.0, 2], [None, 1], {"a": 1}):
        with pytest.raises(BadPageToken):
            await page(rules, page_token=forged(**(content | {"p": place})))


async def test_a_forged_place_beyond_a_column_is_a_place_all_the_same(rules: Rules) -> None:
    await rules.submit_many([spec()] * 3)
    order = "state, loss, priority"
    token = (await page(rules, order_by=order, page_size=1)).next_token
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for state, priority, num_left in ((2**40, 0, 0), (-(2**40), 0, 3), (1, 2**62, 0)):
        forgery = forged(**(content | {"p": [state, "mse", priority, 1]}))
        found = await page(rules, order_by=order, page_token=forgery)
        assert len(found.jobs) == num_left
    forgery = forged(**(content | {"p": [1, "\ud800", 0, 1]}))
    with pytest.raises(BadPageToken):
        await page(rules, order_by=order, page_token=forgery)


@pytest.mark.parametrize("size", [-1, 1001])
async def test_page_sizes_have_bounds(rules: Rules, size: int) -> None:
    with pytest.raises(InvalidRequest, match=f"page_size.*<= 1000, but got {size}"):
        await page(rules, page_size=size)


class TestWaiting:
    async def reasons(self, rules: Rules, rows: list[JobRow]) -> list[str]:
        views = (await page(rules)).jobs
        by_id = {view.row.id: view.waiting_reason for view in views}
        for row in rows:
            assert (await rules.jobs.get(row.name)).waiting_reason == by_id[row.id]
        return [by_id[row.id] for row in rows]

    async def test_says_how_many_go_before(self, rules: Rules) -> None:
        given = [spec(), spec(), spec(priority=1), spec(resources={"device": "cuda"})]
        rows = await rules.submit_many(given)
        free = "is next: waits for a worker that is free"
        expected = ["waits behind 1 job", "waits behind 2 jobs", free, free]
        assert await self.reasons(rules, rows) == expected
        await rules.claim()
        assert await self.reasons(rules, rows) == [free, "waits behind 1 job", "", free]

    async def test_says_that_no_worker_is_there(self, rules: Rules) -> None:
        rows = await rules.submit_many([spec(), spec(resources={"device": "cuda"})])
        rules.surroundings.served = {"default": False, "cuda": False}
        assert await self.reasons(rules, rows) == [
            "no worker is connected for queue 'default': start one with `talweg worker`",
            "no worker is connected for queue 'cuda': start one with `talweg worker` "
            "on a machine with CUDA",
        ]

    async def test_says_that_the_broker_is_down(self, rules: Rules) -> None:
        rows = [await rules.submit()]
        rules.surroundings.broker_answers = False
        (reason,) = await self.reasons(rules, rows)
        assert "the broker does not answer" in reason


class TestMetrics:
    async def test_gives_summaries_and_points(self, rules: Rules) -> None:
        row = await rules.running()
        told = [point(1, train_loss=2.0, val_mae=3.0), point(2, train_loss=1.0)]
        summaries = [summary("train/loss", 1.0), summary("val/mae", 3.0)]
        await rules.leases.report(held(row), Report(1, told, summaries))
        found = await rules.jobs.metrics(row.name, wanted=(), include_points=True)
        assert list(found.summaries) == summaries
        assert [event.metrics.step for event in found.points] == [1, 2]
        found = await rules.jobs.metrics(row.name, wanted=["val/"], include_points=True)
        assert [each.name for each in found.summaries] == ["val/mae"]
        assert [dict(event.metrics.values) for event in found.points] == [{"val/mae": 3.0}]
        found = await rules.jobs.metrics(
            row.name, wanted=["train/loss", "val"], include_points=False
        )
        assert [each.name for each in found.summaries] == ["train/loss"]
        assert not found.points

    def measure(self, rules: Rules, row: JobRow, new: list[Event]) -> None:
        """Writes events as they are, where a report's would be thinned."""
        with rules.database.write() as tx:
            locked = jobs.lock(tx, row.id)
            jobs.change(tx, locked, last_cursor=events.append(tx, locked, new))

    async def test_points_come_in_pages(self, rules: Rules) -> None:
        row = await rules.running()
        log = Event(log=LogLine(text="between"))
        self.measure(rules, row, [point(1, val_mae=1), log, *(point(s, lr=s) for s in (2, 3, 4))])
        arguments: dict[str, Any] = {"include_points": True, "page_size": 2}

        async def page(token: str, **more: Any) -> tuple[list[int], str]:
            found = await rules.jobs.metrics(row.name, page_token=token, **{**arguments, **more})
            return [event.metrics.step for event in found.points], found.next_token

        steps, token = await page("")
        assert steps == [1, 2]
        # A page that holds nothing of what is wanted is not the last.
        assert (await page("", wanted=["lr"]))[0] == [2]
        # Another attempt has begun meanwhile, from step 2: it measures some steps again.
        rules.lose_worker(row)
        with rules.database.write() as tx:
            reap(tx, 5)
        (again,) = await rules.claim()
        self.measure(rules, again, [point(s, lr=s) for s in (3, 4, 9)])
        steps, token = await page(token)
        assert steps == [3, 4]
        # Nor is a page that holds nothing new.
        steps, token = await page(token)
        assert steps == []
        assert await page(token) == ([9], "")
        steps, token = await page("")
        assert steps == [1, 2]
        for wrong in ({"wanted": ["lr"]}, {"page_size": 10_001}, {"page_size": -1}):
            with pytest.raises(InvalidRequest):
                await page(token, **wrong)

    async def test_summaries_come_once(self, rules: Rules) -> None:
        row = await rules.running()
        told = [point(step, lr=step) for step in range(3)]
        await rules.leases.report(held(row), Report(1, summaries=[summary("lr", 1.0)]))
        self.measure(rules, row, told)
        first = await rules.jobs.metrics(row.name, include_points=True, page_size=2)
        second = await rules.jobs.metrics(
            row.name, include_points=True, page_token=first.next_token
        )
        assert (len(first.summaries), len(second.summaries)) == (1, 0)

    async def test_a_page_of_points_ends_before_it_outgrows_a_message(self, rules: Rules) -> None:
        row = await rules.running()
        many = {f"val_metric_{number:02}": 1.0 for number in range(30)}
        self.measure(rules, row, [point(step, **many) for step in range(5000)])
        first = await rules.jobs.metrics(row.name, include_points=True)
        assert 2_500_000 < sum(event.ByteSize() for event in first.points) <= 3 * 1024 * 1024
        second = await rules.jobs.metrics(
            row.name, include_points=True, page_token=first.next_token
        )
        assert len(first.points) + len(second.points) == 5000

    async def test_absent_best_stays_absent(self, rules: Rules) -> None:
        row = await rules.running()
        plain = summary("lr", 0.1)
        plain.ClearField("best")
        await rules.leases.report(held(row), Report(1, summaries=[plain]))
        (found,) = (await rules.jobs.metrics(row.name, wanted=(), include_points=False)).summaries
        assert found == plain

    async def test_of_no_job(self, rules: Rules) -> None:
        with pytest.raises(JobNotFound):
            await rules.jobs.metrics("jobs/none", wanted=(), include_points=False)


class TestCompare:
    async def compare(self, rules: Rules, **more: Any) -> Any:
        arguments: dict[str, Any] = {"names": [], "filter": "", "metric": "", "group_by": []}
        return await rules.comparison.compare(**(arguments | more))

    async def test_groups_by_loss_the_best_first(self, rules: Rules) -> None:
        for loss, values in {"mse": (5.0, 7.0), "huber": (3.0, 4.0, 5.0)}.items():
            for seed, value in reversed(list(enumerate(values))):
                given = spec(loss=loss, training={"seed": seed})
                await rules.finished(given, test_mae=value)
        await rules.finished(spec(loss="mae"), state=Job.FAILED)
        await rules.running(spec(loss="mae"))

        found = await self.compare(rules)
        assert (found.metric, found.goal) == ("test/mae", MINIMIZE)
        huber, mse, mae = found.groups
        assert [group.labels for group in found.groups] == [("huber",), ("mse",), ("mae",)]
        assert (huber.mean, huber.sd, huber.num_succeeded) == (4.0, 1.0, 3)
        assert [(row.seed, row.value) for row in huber.rows] == [(0, 3.0), (1, 4.0), (2, 5.0)]
        assert mse.mean == 6.0
        assert mse.sd == pytest.approx(2**0.5)
        assert (mae.mean, mae.sd, mae.num_succeeded, len(mae.rows)) == (None, None, 0, 2)

    async def test_a_high_metric_is_better_where_its_goal_says_so(self, rules: Rules) -> None:
        for model, value in (("linear", 0.8), ({"mlp": {}}, 0.9)):
            given = spec(task="multiclass", dataset="iris", loss="cross_entropy", model=model)
            await rules.finished(given, test_accuracy=value)
        found = await self.compare(rules, metric="test/accuracy", group_by=["model"])
        assert found.goal == MAXIMIZE
        assert [group.labels for group in found.groups] == [("mlp",), ("linear",)]
        assert (found.groups[0].sd, found.groups[0].mean) == (None, 0.9)

    async def test_groups_by_paths(self, rules: Rules) -> None:
        one = {"adamw": {"learning_rate": 0.01}}
        await rules.finished(spec(optimizer=one, tags={"team": "a"}), test_mae=1.0)
        await rules.finished(spec(optimizer="sgd", loss={"huber": {"delta": 2}}), test_mae=2.0)
        paths = ["loss", "optimizer.adamw.learning_rate", "tags.team", "loss.huber"]
        found = await self.compare(rules, group_by=paths)
        assert [group.labels for group in found.groups] == [
            ("mse", "0.01", "a", "none"),
            ("huber delta=2", "none", "none", "delta=2"),
        ]

    async def test_tells_what_beside_the_seed_differs_within_a_group(self, rules: Rules) -> None:
        def given(rate: float, seed: int, **more: Any) -> JobSpec:
            adamw = {"adamw": {"learning_rate": rate}}
            return spec(
                optimizer=adamw, **{"training": {"seed": seed}, "tags": {"n": "1"}, **more}
            )

        await rules.finished(given(0.01, 0), test_mae=1.0)
        await rules.finished(given(0.01, 1, tags={}), test_mae=2.0)
        await rules.finished(given(0.02, 1), state=Job.FAILED)
        (group,) = (await self.compare(rules)).groups
        assert (group.varies, group.num_repeats) == ([], 0)

        await rules.finished(given(0.02, 0), test_mae=3.0)
        clipped = {"seed": 0, "clip_norm": 1}
        await rules.finished(given(0.01, 0, model="linear", training=clipped), test_mae=4.0)
        await rules.finished(given(0.01, 1, display_name="again"), test_mae=2.0)
        (group,) = (await self.compare(rules)).groups
        paths = ["model", "optimizer.adamw.learning_rate", "training.clip_norm"]
        assert (group.varies, group.num_repeats) == (paths, 1)
        parted = await self.compare(rules, group_by=paths)
        assert [each.varies for each in parted.groups] == [[], [], []]

    async def test_by_names_in_any_number(self, rules: Rules) -> None:
        one, two = await rules.finished(test_mae=1.0), await rules.finished(test_mae=2.0)
        await rules.finished(test_mae=9.0)
        found = await self.compare(rules, names=[two.name, one.name, two.name])
        (group,) = found.groups
        assert {row.job.id for row in group.rows} == {one.id, two.id}
        assert group.mean == 1.5

    async def test_by_filter(self, rules: Rules) -> None:
        await rules.finished(spec(experiment="a"), test_mae=1.0)
        await rules.finished(spec(experiment="b"), test_mae=2.0)
        (group,) = (await self.compare(rules, filter="experiment = b")).groups
        assert group.values == [2.0]
        assert (await self.compare(rules, filter="experiment = c")).groups == []

    @pytest.mark.parametrize(
        ("path", "hint"),
        [
            ("los", "Did you mean loss?"),
            ("loss.hubr", "Did you mean huber?"),
            ("optimizer.adamw.learn_rate", "Did you mean learning_rate?"),
            ("priority.x", "nothing after priority"),
            ("tags", "tags.KEY"),
            ("loss.sum.terms", "terms.0"),
            ("loss.sum.terms.0.wait", "Did you mean weight?"),
            ("", "allowed"),
        ],
    )
    async def test_refuses_unknown_paths(self, rules: Rules, path: str, hint: str) -> None:
        await rules.finished(test_mae=1.0)
        with pytest.raises(BadGrouping, match=hint):
            await self.compare(rules, group_by=[path])

    async def test_refuses_what_cannot_be_compared(self, rules: Rules) -> None:
        row = await rules.finished(test_mae=1.0)
        iris = spec(task="multiclass", dataset="iris", loss="cross_entropy", model="linear")
        await rules.finished(iris, test_accuracy=0.8)
        with pytest.raises(BadMetric, match="test/mae, test/accuracy"):
            await self.compare(rules)
        for misspelt in ("test/mea", "mae"):
            with pytest.raises(BadMetric, match="Did you mean test/mae"):
                await self.compare(rules, names=[row.name], metric=misspelt)
        (group,) = (await self.compare(rules, names=[row.name], metric="guard/clipped")).groups
        assert group.values == []
        for refused in ("test/mae\0", "x" * 201):
            with pytest.raises(InvalidRequest, match="metric"):
                await self.compare(rules, names=[row.name], metric=refused)
        with pytest.raises(InvalidRequest, match="names: must be <= 10,000, but got 10,001"):
            await self.compare(rules, names=[f"jobs/{number}" for number in range(10_001)])
        with pytest.raises(JobNotFound, match="jobs/none"):
            await self.compare(rules, names=[row.name, "jobs/none"])
        with pytest.raises(InvalidRequest, match="filter"):
            await self.compare(rules, names=[row.name], filter="loss = mse")
        with pytest.raises(InvalidRequest, match="names"):
            await self.compare(rules, names=["none"])
