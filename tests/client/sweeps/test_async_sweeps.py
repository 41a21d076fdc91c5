"""Sweeps in the client for asyncio: the same handle, awaited."""

from collections.abc import Callable

import grpc
from tests.client.faulty import FaultyServer
from tests.client.sweeps.training import Training, Value, by_setting, sweep

from talweg.client import AsyncClient, Client

Train = Callable[[Value], Training]
COMPARED = {"path": "loss", "baseline": "mse", "final_seeds": 6}


async def test_a_session(faulty: FaultyServer, train: Train) -> None:
    async with AsyncClient(faulty.address) as client:
        created = await client.sweep(sweep(compare=COMPARED))
        assert created.state == "RUNNING"
        await created.pause()
        assert created.state == "PAUSED"
        await created.resume()
        train(by_setting)
        kinds: list[str | None] = []
        await created.wait(120, on_event=lambda event: kinds.append(event.WhichOneof("kind")))
        assert kinds[-1] == "finished"
        assert created.state == "SUCCEEDED"
        faulty.fail_next("WatchSweep event", None, grpc.StatusCode.UNAVAILABLE)
        events = [event async for event in created.watch()]
        assert [event.cursor for event in events] == list(range(1, len(events) + 1))
        best = [trial async for trial in created.trials(best=True, limit=1)]
        assert best[0].setting["loss"] == "mae"
        assert len([job async for job in created.jobs()]) == 16
        answer = await created.answer()
        assert answer.comparison is not None
        assert [group.labels for group in answer.comparison.groups] == [("mae",), ("mse",)]
        series = await answer.comparison.series("val/mae")
        assert [len(of_group) for of_group in series] == [6, 6]
        assert "better" in answer._repr_html_()
        assert "SUCCEEDED" in created._repr_html_()
        assert [each.name async for each in client.sweeps()] == [created.name]
        again = await client.get_sweep(created.id)
        assert again.spec == created.spec
    with Client(faulty.address) as other:
        assert list(other.get_sweep(created.id).watch()) == events
