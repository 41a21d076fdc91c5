"""The server under load: 500 watchers and 200 submissions a second for a minute.

Twenty simulated workers report once a second, 25 watchers follow each of their jobs, and ten
callers with a token each submit. Submissions begin on a schedule whether or not those before have
ended, and their time counts from there, so that a server that falls behind shows it. The server
runs as `talweg server` does, with tokens, over SQLite; the callers share its machine.

Run with `make bench`, or alone: `python -m tests.benchmarks.load [SECONDS] [A SECOND]`.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import psutil
from tests._parts import running_redis, running_server, with_tokens
from tests.benchmarks.table import Row, render
from tests.integration.stack import tiny_spec

from talweg.spec import from_dict
from talweg.v1 import identity_pb2, jobs_pb2, workers_pb2
from talweg.v1.identity_pb2_grpc import IdentityServiceStub
from talweg.v1.jobs_pb2_grpc import JobServiceStub
from talweg.v1.workers_pb2_grpc import WorkerServiceStub

if TYPE_CHECKING:
    from talweg.v1.jobs_pb2_grpc import JobServiceAsyncStub
    from talweg.v1.workers_pb2_grpc import WorkerServiceAsyncStub

SECONDS = 60
SUBMISSIONS_A_SECOND = 200
NUM_WATCHERS = 500
NUM_WORKERS = 20
NUM_CALLERS = 10
P99_GOAL_MS = 250
# Of a server that has warmed up for a third of the time. What it keeps grows by nothing a job.
GROWTH_GOAL_MIB = 16
_MIB = 1024**2
_DEADLINE_S = 30.0
_SECONDS_APART = 0.05


@dataclass
class Figures:
    """What was seen."""

    seconds: list[float] = field(default_factory=list)
    """Of each submission that was taken, from the time when it was due."""
    errors: Counter[str] = field(default_factory=Counter)
    """By status code, of all calls."""
    num_events: int = 0
    """Events that watchers received."""
    num_reports: int = 0
    """Reports of workers that were taken."""
    memory: list[float] = field(default_factory=list)
    """Of the server, in MiB, once a second."""
    cores: float = 0.0
    """That the server was busy with."""
    cores_of_callers: float = 0.0
    """That the callers were busy with."""
    waited: float = 0.0
    """Seconds that the server's threads together could have run and waited for a core; the callers
    and whatever else the machine does had it."""
    load_before: float = 0.0
    """The machine's load average over a minute, when the run began."""


def waited_for_cores(pid: int) -> float:
    """Return how long a process's threads have waited for a core, in seconds; 0 off Linux."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            total += int(file.read_text().split()[1])
    return total / 1e9


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that a share of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Load:
    """The callers of one server."""

    def __init__(self, address: str, tokens: dict[str, str], *, rate: int) -> None:
        """Keep whom to call, and how often.

        Args:
            address: Of the server.
            tokens: "admin" and "worker".
            rate: Submissions a second.
        """
        self._address = address
        self._tokens = tokens
        self._rate = rate
        self._stack = AsyncExitStack()
        self._background: set[asyncio.Task[None]] = set()
        self._num_watching = 0
        self.figures = Figures()
        """What was seen."""

    async def run(self, seconds: float, process: psutil.Process) -> None:
        """Put the load on, and note what becomes of it.

        Args:
            seconds: How long submissions go on.
            process: The server's.
        """
        async with self._stack:
            workers = WorkerServiceStub(await self._channel())
            callers = await self._callers()
            leases = await self._begin_jobs(callers[0], workers)
            for lease in leases:
                self._start(self._report(workers, lease))
            for index in range(0, NUM_WATCHERS, 50):
                jobs = JobServiceStub(await self._channel())
                for each in range(index, index + 50):
                    self._start(self._watch(jobs, leases[each % NUM_WORKERS].job))
            while self._num_watching < NUM_WATCHERS:
                await asyncio.sleep(_SECONDS_APART)
            self._start(self._measure_memory(process))
            of_server, own = process.cpu_times(), time.process_time()
            waited = waited_for_cores(process.pid)
            started = time.monotonic()
            await self._submit_on_schedule(callers, seconds)
            elapsed = time.monotonic() - started
            after = process.cpu_times()
            self.figures.cores = (
                after.user + after.system - of_server.user - of_server.system
            ) / elapsed
            self.figures.waited = waited_for_cores(process.pid) - waited
            self.figures.cores_of_callers = (time.process_time() - own) / elapsed
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)

    def _start(self, work: Any) -> None:
        self._background.add(asyncio.create_task(work))

    async def _channel(self) -> grpc.aio.Channel:
        # A connection of its own each; otherwise gRPC shares one among all.
        options = (("grpc.use_local_subchannel_pool", 1),)
        channel = grpc.aio.insecure_channel(self._address, options=options)
        return await self._stack.enter_async_context(channel)

    def _as(self, token: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {token}"),)

    async def _callers(self) -> "list[_Caller]":
        identity = IdentityServiceStub(await self._channel())
        callers = []
        for _ in range(NUM_CALLERS):
            request = identity_pb2.CreateTokenRequest(
                role=identity_pb2.Role.SUBMITTER, project="default"
            )
            created = await identity.CreateToken(
                request, metadata=self._as(self._tokens["admin"]), timeout=_DEADLINE_S
            )
            jobs = JobServiceStub(await self._channel())
            callers.append(_Caller(jobs, self._as(created.secret)))
        return callers

    async def _begin_jobs(
        self, caller: "_Caller", workers: "WorkerServiceAsyncStub"
    ) -> list[workers_pb2.Lease]:
        for seed in range(NUM_WORKERS):
            await caller.submit(seed)
        leases = []
        for index in range(NUM_WORKERS):
            request = workers_pb2.ClaimJobsRequest(
                queue="default",
                worker=f"worker-{index}",
                capabilities=workers_pb2.Capabilities(devices=["cpu"]),
            )
            claimed = await workers.ClaimJobs(
                request, metadata=self._as(self._tokens["worker"]), timeout=_DEADLINE_S
            )
            leases.append(claimed.assignments[0].lease)
        return leases

    async def _report(self, workers: "WorkerServiceAsyncStub", lease: workers_pb2.Lease) -> None:
        sequence = 0
        await asyncio.sleep(sequence_offset(lease.job))
        while True:
            sequence += 1
            values = {"train/loss": 1 / sequence, "val/mae": 2 / sequence}
            point = jobs_pb2.MetricPoint(step=10 * sequence, values=values)
            progress = jobs_pb2.Progress(step=10 * sequence, total_steps=100_000)
            request = workers_pb2.ReportProgressRequest(
                lease=lease,
                sequence=sequence,
                events=[jobs_pb2.Event(metrics=point)],
                progress=progress,
            )
            try:
                await workers.ReportProgress(
                    request, metadata=self._as(self._tokens["worker"]), timeout=_DEADLINE_S
                )
                self.figures.num_reports += 1
            except grpc.aio.AioRpcError as error:
                self.figures.errors[f"report {error.code().name}"] += 1
            # As often as workers do.
            await asyncio.sleep(1)

    async def _watch(self, jobs: "JobServiceAsyncStub", job: str) -> None:
        request = jobs_pb2.WatchJobRequest(name=job)
        watch = jobs.WatchJob(request, metadata=self._as(self._tokens["admin"]))
        try:
            try:
                await watch.wait_for_connection()
            finally:
                self._num_watching += 1
            async for _ in watch:
                self.figures.num_events += 1
        except grpc.aio.AioRpcError as error:
            self.figures.errors[f"watch {error.code().name}"] += 1

    async def _submit_on_schedule(self, callers: "list[_Caller]", seconds: float) -> None:
        started = time.monotonic()
        submissions = set()
        for index in range(round(self._rate * seconds)):
            due = started + index / self._rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            caller = callers[index % len(callers)]
            submissions.add(asyncio.create_task(self._submit(caller, 1_000_000 + index, due)))
        await asyncio.gather(*submissions)

    async def _submit(self, caller: "_Caller", seed: int, due: float) -> None:
        try:
            await caller.submit(seed)
            self.figures.seconds.append(time.monotonic() - due)
        except grpc.aio.AioRpcError as error:
            self.figures.errors[f"submit {error.code().name}"] += 1

    async def _measure_memory(self, process: psutil.Process) -> None:
        while True:
            # Once a second, as the figures say.
            self.figures.memory.append(process.memory_info().rss / _MIB)
            await asyncio.sleep(1)


@dataclass(frozen=True)
class _Caller:
    jobs: "JobServiceAsyncStub"
    metadata: tuple[tuple[str, str], ...]

    async def submit(self, seed: int) -> None:
        request = jobs_pb2.SubmitJobRequest(
            spec=from_dict(tiny_spec(seed, experiment="load")), request_id=f"load-{seed}"
        )
        await self.jobs.SubmitJob(request, metadata=self.metadata, timeout=_DEADLINE_S)


def sequence_offset(job: str) -> float:
    """Return a part of a second, by a job's name: workers do not report all at once."""
    return sum(job.encode()) % 100 / 100


def put_on(seconds: float = SECONDS, rate: int = SUBMISSIONS_A_SECOND) -> Figures:
    """Start a server, put the load on, and return what was seen."""
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {
            **with_tokens(folder),
            "TALWEG_BLOBS": str(folder / "blobs"),
            "TALWEG_UPLOADS": str(folder / "uploads"),
        }
        with running_redis(folder) as broker, running_server(folder, broker, **env) as server:
            assert server.process is not None
            files = {role: folder / f"{role}-token" for role in ("admin", "worker")}
            tokens = {role: file.read_text().strip() for role, file in files.items()}
            print(f"server {server.process.pid} at {server.address}", file=sys.stderr)
            load = Load(server.address, tokens, rate=rate)
            asyncio.run(load.run(seconds, psutil.Process(server.process.pid)))
    load.figures.load_before = load_before
    return load.figures


def rows(figures: Figures, seconds: float, rate: int) -> list[Row]:
    """Return the table's rows of what was seen."""
    ms = [1000 * each for each in figures.seconds]
    p50, p99 = quantile(ms, 0.5), quantile(ms, 0.99)
    memory = figures.memory
    third = memory[len(memory) // 3]
    growth = memory[-1] - third
    num_errors = figures.errors.total()
    failed = ", ".join(f"{name}: {number}" for name, number in figures.errors.items())
    what = f"{NUM_WATCHERS} watchers, {rate} submissions a second for {seconds:g} s"
    return [
        Row(
            f"{what}: a submission, 50% / 99% / slowest",
            f"{p50:.0f} / {p99:.0f} / {max(ms):.0f} ms",
            goal=f"99% <= {P99_GOAL_MS} ms",
            met=p99 <= P99_GOAL_MS and not num_errors,
            remark=(
                f"{len(ms):,} taken, {num_errors} errors{f' ({failed})' if failed else ''}; "
                f"{figures.num_events:,} events and {figures.num_reports:,} reports; the server "
                f"used {figures.cores:.2f} cores and waited for one for {figures.waited:.0f} s, "
                f"the callers beside it used {figures.cores_of_callers:.2f}; load before "
                f"{figures.load_before:.1f}"
            ),
        ),
        Row(
            f"{what}: the server's memory at the beginning / a third / the end",
            f"{memory[0]:.0f} / {third:.0f} / {memory[-1]:.0f} MiB",
            goal=f"< {GROWTH_GOAL_MIB} MiB more than at a third",
            met=growth < GROWTH_GOAL_MIB,
            remark=f"at most {max(memory):.0f} MiB",
        ),
    ]


def measure() -> list[Row]:
    """Return the figures of the server under load."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    return rows(put_on(), SECONDS, SUBMISSIONS_A_SECOND)


if __name__ == "__main__":
    length = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    pace = int(sys.argv[2]) if len(sys.argv) > 2 else SUBMISSIONS_A_SECOND
    print(render(rows(put_on(length, pace), length, pace)))
