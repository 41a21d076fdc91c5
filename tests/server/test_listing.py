"""Lists, metrics, waiting reasons and comparisons, from the record of either database."""

import base64
import json
from typing import Any

import pytest
from tests.server.samples import Rules, spec

from talweg.server.errors import BadPageToken, InvalidRequest
from talweg.server.services.jobs import Page
from talweg.server.store.record.rows import JobRow


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
        free = "next in the queue: waiting for a free worker"
        expected = ["queued behind 1 job", "queued behind 2 jobs", free, free]
        assert await self.reasons(rules, rows) == expected
        await rules.claim()
        assert await self.reasons(rules, rows) == [free, "queued behind 1 job", "", free]

    async def test_says_that_no_worker_is_there(self, rules: Rules) -> None:
        rows = await rules.submit_many([spec(), spec(resources={"device": "cuda"})])
        rules.status.served = {"default": False, "cuda": False}
        assert await self.reasons(rules, rows) == [
            "no worker is connected for queue 'default': start one with `talweg worker`",
            "no worker is connected for queue 'cuda': start one with `talweg worker` "
            "on a machine with CUDA",
        ]

    async def test_says_why_workers_take_no_jobs(self, rules: Rules) -> None:
        rows = await rules.submit_many([spec(), spec()])
        rules.status.served = {"default": True}
        rules.status.unfit = {"default": "cpu0: /spool has 3 MiB of free space"}
        says = "no worker of queue 'default' takes jobs now: cpu0: /spool has 3 MiB of free space"
        assert await self.reasons(rules, rows) == [says, says]
        # One that has taken a job will take another.
        await rules.claim()
        assert (await self.reasons(rules, rows))[
            1
        ] == "next in the queue: waiting for a free worker"

    async def test_says_that_the_broker_is_down(self, rules: Rules) -> None:
        rows = [await rules.submit()]
        rules.status.broker_answers = False
        (reason,) = await self.reasons(rules, rows)
        assert "the broker is unreachable" in reason
