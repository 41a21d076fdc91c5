"""Speed of sweeps beside plain jobs, on a stack of its own.

Run with `make bench`, or alone: `python -m tests.benchmarks.sweeps`.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.pairs import median_interval
from tests.benchmarks.table import Row, render
from tests.integration.stack import start_stack, tiny_spec

from talweg.client import Client
from talweg.client.sweeps._files import sweep_of
from talweg.server.services.search.asking import AskingService
from talweg.server.services.search.process import SearchProcess
from talweg.spec.sweeps import Plan, check_sweep, fill_sweep
from talweg.v1.options_pb2 import Goal

NUM_JOBS = 1_000
NUM_PAIRS = 5
PACE_GOAL = 0.9
AGAIN_GOAL = 2.0
GRID_GOAL = 1.0
NUM_ASKED, ASKED_GOAL_MS = 200, 5
# Asked more often, the server would be busy with the question.
_POLL_S = 0.25


def _sweep(first_seed: int, **fields: Any) -> dict[str, Any]:
    """Return a sweep of as many jobs of five steps, by seeds that no other has."""
    base = {**tiny_spec(0)}
    seeds = list(range(first_seed, first_seed + NUM_JOBS))
    return {
        "base": {**base, "experiment": "sweeps"},
        "space": [{"path": "training.seed", "values": seeds}],
        "objective": {"metric": "val/mae", "at": "last"},
        **fields,
    }


def _plain(client: Client, first_seed: int) -> float:
    """Return the seconds that the same jobs take in one call."""
    name = f"plain {first_seed}"
    specs = [tiny_spec(first_seed + index, experiment=name) for index in range(NUM_JOBS)]
    started = time.perf_counter()
    client.submit_many(specs)
    waiting = f'experiment = "{name}" AND (state = QUEUED OR state = RUNNING)'
    while list(client.jobs(filter=waiting, limit=1)):
        time.sleep(_POLL_S)
    return time.perf_counter() - started


def _swept(client: Client, first_seed: int) -> tuple[float, int]:
    """Return the seconds that a sweep takes, and how many of its jobs were taken over."""
    started = time.perf_counter()
    sweep = client.sweep(_sweep(first_seed))
    while not sweep.state.is_final:
        time.sleep(_POLL_S)
        sweep.refresh()
    assert sweep.state == "SUCCEEDED"
    return time.perf_counter() - started, sweep.message.num_reused


def pace(client: Client) -> list[Row]:
    """A sweep of 1,000 trials beside 1,000 plain jobs, and the same sweep once more."""
    shares, again = [], []
    for index in range(NUM_PAIRS):
        first = 1_000_000 * (index + 1)
        plain = _plain(client, first + 500_000)
        seconds, reused = _swept(client, first)
        assert reused == 0
        shares.append(plain / seconds)
        seconds, reused = _swept(client, first)
        assert reused == NUM_JOBS
        again.append(seconds)
    low, high = median_interval(shares)
    least, most = median_interval(again)
    return [
        Row(
            f"sweep of {NUM_JOBS:,} trials, rate against as many plain jobs",
            f"{statistics.median(shares):.2f} [{low:.2f}, {high:.2f}]",
            goal=f"{PACE_GOAL}",
            met=low >= PACE_GOAL,
            remark=f"median of {NUM_PAIRS} pairs and its interval; jobs of five steps",
        ),
        Row(
            f"the same sweep of {NUM_JOBS:,} trials created again, ended after",
            f"{statistics.median(again):.1f} s [{least:.1f}, {most:.1f}]",
            goal=f"{AGAIN_GOAL:.0f} s",
            met=most <= AGAIN_GOAL,
            remark=f"median of {NUM_PAIRS} and its interval; all jobs taken over, none trained",
        ),
    ]


def grid(client: Client) -> Row:
    """A grid of 100,000 trials, accepted."""
    spec = _sweep(0)
    spec["space"].append({"path": "training.batch_size", "values": list(range(2, 102))})
    started = time.perf_counter()
    sweep = client.sweep(spec)
    seconds = time.perf_counter() - started
    assert sweep.message.num_trials == 100 * NUM_JOBS
    sweep.cancel().wait(60)
    return Row(
        "grid of 100,000 trials, accepted after",
        f"{seconds:.2f} s",
        goal=f"{GRID_GOAL:.0f} s",
        met=seconds <= GRID_GOAL,
    )


async def asked() -> Row:
    """The time that one setting more takes, by each algorithm that looks at no results."""
    spec = _sweep(0)
    rate = {"path": "optimizer.adamw.learning_rate"}
    listed = [{**rate, "values": [1e-4 * number for number in range(1, NUM_ASKED + 1)]}]
    drawn = [{**rate, "log_uniform": {"low": 1e-4, "high": 1e-1}}]
    process = SearchProcess()
    asking, found = AskingService(process), []
    for name, space in (("grid", listed), ("random", drawn), ("qmc", drawn)):
        fields: dict[str, Any] = {"space": space, "algorithm": {name: {}}}
        if space is drawn:
            fields["trials"] = NUM_ASKED
        message = fill_sweep(sweep_of({**spec, **fields}))
        assert not check_sweep(message)
        plan, seconds = Plan(message), []
        # The first question starts the process, where there is one.
        await asking.settings(plan, [1], {}, goal=Goal.MINIMIZE)
        for number in range(1, NUM_ASKED + 1):
            started = time.perf_counter()
            (setting,) = await asking.settings(plan, [number], {}, goal=Goal.MINIMIZE)
            seconds.append(time.perf_counter() - started)
            assert setting
        found.append((name, 1000 * statistics.median(seconds)))
    await process.close()
    return Row(
        "a setting asked for, median",
        ", ".join(f"{name} {ms:.2f} ms" for name, ms in found),
        goal=f"{ASKED_GOAL_MS} ms",
        met=max(ms for _, ms in found) <= ASKED_GOAL_MS,
        remark=f"of {NUM_ASKED}, one by one",
    )


def measure() -> list[Row]:
    """Return all figures of sweeps."""
    with tempfile.TemporaryDirectory() as folder:
        stack = start_stack(Path(folder))
        try:
            with Client(stack.address) as client:
                _plain(client, 100)  # Programs that still start would count.
                return [*pace(client), grid(client), asyncio.run(asked())]
        finally:
            stack.stop()


if __name__ == "__main__":
    print(render(measure()))
