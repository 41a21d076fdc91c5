"""Speed of the service as its users see it, on a stack of its own.

Run with `make bench`, or alone: `python -m tests.benchmarks.service`.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import mlflow
from tests._parts import wait_until
from tests.benchmarks.pairs import median_interval
from tests.benchmarks.table import Row, render
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client, Job

NUM_WARM = 20
NUM_LATENCIES = 41
NUM_SUBMISSIONS = 400
NUM_TINY_JOBS = 1_000
TINY_JOBS_A_BLOCK = 50
LATENCY_GOAL_MS = 20
PACE_GOAL = 50
DELIVERY_GOAL = 30


def first_step(client: Client) -> Row:
    """Seconds from the call of submit to the event of the first step, on an idle warm worker."""
    # The first jobs find a worker that has never trained, and programs that still start.
    warm = [client.submit(tiny_spec(seed, experiment="warm")) for seed in range(NUM_WARM)]
    wait_until(
        lambda: all(job.refresh().message.tracking.complete for job in warm),
        timeout=120,
        what="the first jobs delivered",
    )
    seconds = []
    for seed in range(NUM_LATENCIES):
        submitted = time.time()
        job = client.submit(tiny_spec(seed, training={"steps": 1}, experiment="latency"))
        for event in job.watch():
            if event.HasField("progress") and event.progress.step >= 1:
                seconds.append(event.time.ToNanoseconds() / 1e9 - submitted)
                break
        job.wait(30)
    ms = [1000 * each for each in seconds]
    low, high = median_interval(ms)
    return Row(
        "submission to first step, idle warm worker, median",
        f"{statistics.median(ms):.1f} ms [{low:.1f}, {high:.1f}]",
        goal=f"{LATENCY_GOAL_MS} ms",
        met=high <= LATENCY_GOAL_MS,
        remark=f"of {len(ms)}, and its 95% interval; slowest {max(ms):.0f} ms",
    )


def submissions(client: Client) -> list[Row]:
    """Submissions a second, one after another and from eight threads."""

    def submit(seed: int) -> None:
        client.submit(tiny_spec(seed, experiment="submissions"))

    started = time.perf_counter()
    for seed in range(NUM_SUBMISSIONS // 4):
        submit(seed)
    alone = NUM_SUBMISSIONS // 4 / (time.perf_counter() - started)
    with ThreadPoolExecutor(8) as threads:
        started = time.perf_counter()
        list(threads.map(submit, range(NUM_SUBMISSIONS)))
        together = NUM_SUBMISSIONS / (time.perf_counter() - started)
    wait_until(
        lambda: not list(client.jobs(filter="(state = QUEUED OR state = RUNNING)", limit=1)),
        timeout=300,
        what="the submitted jobs ended",
    )
    remark = "while the worker trains them"
    return [
        Row("submissions a second, one client", f"{alone:.0f}", remark=remark),
        Row("submissions a second, eight threads", f"{together:.0f}", remark=remark),
    ]


def tiny_jobs(client: Client, stack: Stack) -> list[Row]:
    """1,000 jobs of five steps in one call: accepted, ended, delivered."""
    # What was submitted before would be delivered first.
    wait_until(
        lambda: all(job.message.tracking.complete for job in client.jobs()),
        timeout=300,
        what="earlier jobs delivered",
    )
    specs = [tiny_spec(seed, experiment="tiny") for seed in range(NUM_TINY_JOBS)]
    started = time.perf_counter()
    jobs = client.submit_many(specs)
    accepted = time.perf_counter() - started
    names = {job.name for job in jobs}
    assert len(names) == NUM_TINY_JOBS

    waiting = 'experiment = "tiny" AND (state = QUEUED OR state = RUNNING)'
    # Asked more often, the server would be busy with the question.
    while list(client.jobs(filter=waiting, limit=1)):
        time.sleep(0.25)
    trained = time.perf_counter() - started
    done = list(client.jobs(filter='experiment = "tiny" AND state = SUCCEEDED'))
    assert {job.name for job in done} == names
    assert all(job.message.attempt == 1 for job in done)

    tracking = mlflow.MlflowClient(stack.tracking)

    def runs() -> list[str]:
        experiment = tracking.get_experiment_by_name("tiny")
        if experiment is None:
            return []
        found: list[str] = []
        token = None
        while True:
            page = tracking.search_runs(
                [experiment.experiment_id],
                "attributes.status = 'FINISHED'",
                max_results=1000,
                page_token=token,
            )
            found += [run.data.tags["talweg.job"] for run in page]
            token = page.token
            if not token:
                return found

    def all_delivered() -> bool:
        # Asked of MLflow more often, its search would take what the delivery needs.
        time.sleep(1)
        return len(runs()) >= NUM_TINY_JOBS

    wait_until(all_delivered, timeout=900, what="tiny jobs delivered")
    delivered = time.perf_counter() - started
    assert sorted(runs()) == sorted(job.id for job in done)
    return [
        Row(
            "1,000 tiny jobs in one call, accepted after",
            f"{accepted:.2f} s",
            goal="2 s",
            met=accepted < 2,
        ),
        Row(
            "1,000 tiny jobs, ended after",
            f"{trained:.1f} s",
            remark="none lost, none doubled",
        ),
        _pace(done),
        Row(
            "1,000 tiny jobs, one run each in MLflow after",
            f"{delivered:.0f} s",
            remark="counted by search",
        ),
        Row(
            "1,000 tiny jobs, all in MLflow after the last end",
            f"{delivered - trained:.0f} s",
            goal=f"{DELIVERY_GOAL} s",
            met=delivered - trained < DELIVERY_GOAL,
        ),
    ]


def _pace(done: Sequence[Job]) -> Row:
    """Jobs ended a second, by the times at which they ended."""
    ends = sorted(job.message.end_time.ToNanoseconds() / 1e9 for job in done)
    marks = ends[::TINY_JOBS_A_BLOCK]
    paces = [TINY_JOBS_A_BLOCK / (after - before) for before, after in pairwise(marks)]
    low, high = median_interval(paces)
    return Row(
        "tiny jobs ended a second, one worker",
        f"{statistics.median(paces):.0f} [{low:.0f}, {high:.0f}]",
        goal=f"{PACE_GOAL}",
        met=low >= PACE_GOAL,
        remark=f"median of {len(paces)} times {TINY_JOBS_A_BLOCK} jobs and its interval",
    )


def measure() -> list[Row]:
    """Return all figures of the service."""
    with tempfile.TemporaryDirectory() as folder:
        stack = start_stack(Path(folder))
        try:
            with Client(stack.address) as client:
                return [first_step(client), *submissions(client), *tiny_jobs(client, stack)]
        finally:
            stack.stop()


if __name__ == "__main__":
    print(render(measure()))
