"""One simulated service: a server, its workers, people, and the faults of a schedule."""

import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from tests.simulation.invariants import BrokenError, Invariants
from tests.simulation.kernel import EPOCH_MS, Kernel
from tests.simulation.network import Network
from tests.simulation.people import Person, Watcher
from tests.simulation.record import Record, ServerCrashed
from tests.simulation.schedules import HORIZON_S, NUM_WORKERS, Schedule
from tests.simulation.server import Kinds, RpcFailure, Server, job_spec
from tests.simulation.worker import SECONDS, Worker

from talweg.server.errors import DatabaseUnavailable
from talweg.server.store.record.database import Changes
from talweg.v1.jobs_pb2 import (
    CancelJobRequest,
    Event,
    Job,
    PauseJobRequest,
    ResumeJobRequest,
    SubmitJobRequest,
)

_DUTIES_S = 1.0
# After the last fault. A server's clock that was put back keeps leases for as long as that.
_UNTIL_ALL_HAS_ENDED_S = 900.0
_ID_LETTERS = "23456789bcdfghjkmnpqrstvwxz"


class World:
    """Runs one schedule. Its methods without an underscore are what steps of schedules name."""

    def __init__(self, schedule: Schedule, record: Record, kinds: Kinds, folder: Path) -> None:
        self._kernel = Kernel()
        self._record, self._kinds = record, kinds
        self._ids = random.Random(schedule.seed)
        self._clock_jumped_us = 0
        self._restart_s = 1.0
        self._crashes_on_commit = False
        self._tickets, self._lost_tickets, self._repeated_tickets = 0, 0, 0
        self._tells: list[tuple[str, float]] = []
        self.trace: list[str] = []
        """The calls that have reached the server, in order."""
        self.jobs: dict[int, str] = {}
        """The names of those that were taken, by their numbers in the schedule."""
        self._watchers: list[Watcher] = []
        self.invariants = Invariants(lambda: self._workers, folder / "blobs")
        self._server: Server | None = None
        self._network = Network(self._kernel, schedule.seed, self)
        self._workers: list[Worker] = []
        for number in range(NUM_WORKERS):
            self._workers.append(Worker(number, self._kernel, self._network, self, folder))
        self._person = Person(self._kernel, self._network)
        self._start_server()
        self._schedule = schedule

    def run(self) -> None:
        """Run the schedule, and go on without faults until all jobs have ended.

        Raises:
            BrokenError: An invariant does not hold.
        """
        for step in self._schedule.steps:
            self._kernel.at(step.at, partial(getattr(self, step.kind), *step.arguments))
        self._kernel.after(_DUTIES_S, self._duties)
        self._kernel.run(HORIZON_S)
        self._end_faults()
        self._kernel.run(HORIZON_S + _UNTIL_ALL_HAS_ENDED_S, self._is_over)
        if not self._is_over():
            raise BrokenError(f"not over after {self._kernel.now:.0f} s: {self._what_is_open()}")

    def now(self) -> int:
        """Return the database's time."""
        return EPOCH_MS * 1000 + self._clock_jumped_us + int(self._kernel.now * 1e6)

    @property
    def elapsed(self) -> float:
        """Seconds since the schedule began, as no clock can be turned."""
        return self._kernel.now

    # What people do.

    def submit(self, job: int, steps: int, every: int, seconds: float) -> None:
        spec = job_spec().__class__()
        spec.CopyFrom(job_spec())
        spec.training.steps = steps
        spec.training.checkpoints.every_steps = every
        spec.tags[SECONDS] = f"{seconds:g}"
        request = SubmitJobRequest(spec=spec, request_id=f"request {job}")
        self._person.wish("SubmitJob", lambda: request, lambda name: self._taken(job, name))

    def cancel(self, job: int, grace: float, force: bool) -> None:
        def request() -> CancelJobRequest | None:
            name = self.jobs.get(job)
            if name is None:
                return None
            cancel = CancelJobRequest(name=name, force=force)
            cancel.grace_period.FromTimedelta(timedelta(seconds=grace))
            return cancel

        self._person.wish("CancelJob", request)

    def pause(self, job: int) -> None:
        self._ask("PauseJob", PauseJobRequest, job)

    def resume(self, job: int) -> None:
        self._ask("ResumeJob", ResumeJobRequest, job)

    def watch(self, job: int) -> None:
        if job in self.jobs:
            watcher = Watcher(self.jobs[job], self.invariants)
            self._watchers.append(watcher)
            if self._server is not None:
                self._with_server(watcher.begin)

    # What goes wrong with messages.

    def message(self, worker: int, method: str, fate: str, late: float) -> None:
        self._network.expect(self._workers[worker].name, method, fate, late)

    def cut_off(self, worker: int, seconds: float) -> None:
        self._network.cut_off(self._workers[worker].name, seconds)

    def lose_wake_ups(self, number: int) -> None:
        self._lost_tickets += number

    def repeat_wake_ups(self, number: int) -> None:
        self._repeated_tickets += number

    def lose_events(self, number: int) -> None:
        self._tells += [("lost", 0.0)] * number

    def repeat_events(self, number: int) -> None:
        self._tells += [("twice", 0.0)] * number

    def delay_events(self, number: int, seconds: float) -> None:
        self._tells += [("late", seconds)] * number

    # What goes wrong with workers.

    def crash(self, worker: int, seconds: float, is_told: bool) -> None:
        self._workers[worker].crash(seconds, has_last_words=is_told)

    def freeze(self, worker: int, seconds: float) -> None:
        self._workers[worker].freeze(seconds)

    def suspend(self, worker: int, seconds: float) -> None:
        self.invariants.clocks_run_alike = False
        self._workers[worker].freeze(seconds)
        self._workers[worker].process.lost += seconds

    def shut_down(self, worker: int, seconds: float) -> None:
        self._workers[worker].shut_down(seconds)

    def turn_worker_clock(self, worker: int, seconds: float) -> None:
        self._workers[worker].clock.jumped_ms += int(seconds * 1000)

    # What goes wrong with the server.

    def stop_server(self, seconds: float) -> None:
        self._end_server()
        self._kernel.after(seconds, self._start_server)

    def crash_server(self, num_statements: int, seconds: float) -> None:
        self._restart_s = seconds
        if num_statements == 0:
            self._crashes_on_commit = True
        else:
            self._record.crash_after(num_statements - 1)

    def conflict(self, num_statements: int, times: int) -> None:
        self._record.conflict_after(num_statements, times)

    def turn_server_clock(self, seconds: float) -> None:
        self.invariants.clocks_run_alike = False
        self._clock_jumped_us += int(seconds * 1e6)

    # What the network and the workers ask for.

    def serve(self, sender: str, method: str, request: Any) -> Any:
        """Answer a call, as `Serves` says."""
        if self._server is None:
            return RpcFailure(grpc.StatusCode.UNAVAILABLE, "connection refused")
        try:
            response = self._server.answer(method, request)
        except RpcFailure as exc:
            self._note(sender, method, request, exc)
            return exc
        except ServerCrashed:
            self._note(sender, method, request, "the server crashes")
            self._crashed()
            return RpcFailure(grpc.StatusCode.UNAVAILABLE, "connection reset")
        self._note(sender, method, request, response)
        self.invariants.answered(method, request, response)
        return response

    def _note(self, sender: str, method: str, request: Any, answer: Any) -> None:
        what = ""
        if method == "ReportProgress":
            kept = [each.name.rpartition("/")[2] for each in request.kept.checkpoints]
            what = f" {request.sequence} of attempt {request.lease.attempt}" + (
                f", which keeps {', '.join(kept)}" if kept else ""
            )
        elif method == "FinishJob":
            state = Job.State.Name(request.outcome.state)
            what = f" of attempt {request.lease.attempt} as {state}"
        elif method == "ClaimJobs":
            leases = [each.lease for each in getattr(answer, "assignments", ())]
            answer = ", ".join(f"{each.job} in attempt {each.attempt}" for each in leases)
        self.trace.append(
            f"{self._kernel.now:6.2f} s  {sender}: {method}{what}: {answer or 'done'}".rstrip()
        )

    def offer(self) -> None:
        """Hand wake-up messages to workers that wait for some, as `Broker` says."""
        for worker in self._workers:
            if self._tickets and worker.is_idle:
                self._tickets -= 1
                worker.ring()

    # The server's process.

    def _start_server(self) -> None:
        if self._server is None:
            self._server = Server(self._record, self._kinds, self._new_id)
            for watcher in self._watchers:
                self._with_server(watcher.begin)

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        for watcher in self._watchers:
            watcher.end()

    def _crashed(self) -> None:
        self._end_server()
        self._kernel.after(self._restart_s, self._start_server)

    def _with_server(self, do: Callable[[Server], None]) -> None:
        """Do something, unless the database does not answer or the server ends meanwhile."""
        if self._server is None:
            return
        try:
            do(self._server)
        except DatabaseUnavailable:
            pass  # The server's own duties are tried again.
        except ServerCrashed:
            self._crashed()

    def committed(self, changes: Changes) -> None:
        """Take what a transaction has changed, and tell of it."""
        self.invariants.committed(changes)
        if self._crashes_on_commit:
            self._crashes_on_commit = False
            raise ServerCrashed
        server = self._server
        for id_, new in changes.events.items():
            fate, late = self._tells.pop(0) if self._tells and self._watchers else ("", 0.0)
            if fate != "lost":
                for _ in range(2 if fate == "twice" else 1):
                    self._kernel.after(late, partial(self._tell, server, id_, new))
        if changes.queues:
            self._kernel.after(0.0, lambda: self._with_server(self._send_wake_ups))

    def _tell(self, server: Server | None, id_: str, new: list[Event]) -> None:
        if server is not None and server is self._server:
            server.hub.tell(id_, new)
            self._with_server(lambda _: self._go_on_watching())

    def _go_on_watching(self) -> None:
        for watcher in self._watchers:
            watcher.go_on()

    def _duties(self) -> None:
        """What the server does each second. Where there is nothing to find, it does not look."""
        self._kernel.after(_DUTIES_S, self._duties)
        states = {job.state for job in self.invariants.jobs.values()}
        if Job.RUNNING in states:
            self._with_server(lambda server: server.reap())
        if Job.QUEUED in states:
            self._with_server(self._send_wake_ups)
        self._with_server(self._nudge)

    def _nudge(self, server: Server) -> None:
        for watcher in self._watchers:
            if not watcher.is_over and not watcher.is_watching:
                watcher.begin(server)
        behind = (
            self.invariants.job(each.name.removeprefix("jobs/")).last_cursor > each.cursor
            for each in self._watchers
            if not each.is_over
        )
        if any(behind):
            server.nudge_watchers()
            self._go_on_watching()

    def _send_wake_ups(self, server: Server) -> None:
        for _ in range(server.num_wake_ups() - self._tickets):
            if self._lost_tickets:
                self._lost_tickets -= 1
                continue
            self._tickets += 1
            if self._repeated_tickets:
                self._repeated_tickets -= 1
                self._tickets += 1
        self._kernel.after(0.01, self.offer)

    # The end.

    def _end_faults(self) -> None:
        self._network.end_faults()
        self._record.end_faults()
        self._crashes_on_commit = False
        self._lost_tickets = self._repeated_tickets = 0
        self._tells.clear()
        self._start_server()
        for worker in self._workers:
            worker.process.frozen_until = min(worker.process.frozen_until, self._kernel.now)
        for step in self._schedule.steps:
            if step.kind == "submit":
                self.resume(int(step.arguments[0]))

    def _is_over(self) -> bool:
        jobs = self.invariants.jobs
        return (
            self._person.is_content
            and all(job.ended for job in jobs.values())
            and all(watcher.is_over for watcher in self._watchers)
            and not any(worker.training for worker in self._workers)
        )

    def _what_is_open(self) -> str:
        return "; ".join(
            [
                f"{job.id} is {Job.State.Name(job.state)} in attempt {job.attempt}"  # type: ignore[arg-type]
                for job in self.invariants.jobs.values()
                if not job.ended
            ]
            + [
                f"a watcher of {watcher.name} is at event {watcher.cursor}"
                for watcher in self._watchers
                if not watcher.is_over
            ]
            + [f"{each.name} trains" for each in self._workers if each.training]
        )

    def _taken(self, job: int, name: str) -> None:
        self.jobs[job] = name
        self.invariants.job(name.removeprefix("jobs/"))

    def _ask(self, method: str, kind: Callable[..., Any], job: int) -> None:
        def request() -> Any:
            name = self.jobs.get(job)
            if name is None or self.invariants.job(name.removeprefix("jobs/")).ended:
                return None
            return kind(name=name)

        self._person.wish(method, request)

    def _new_id(self) -> str:
        return "".join(self._ids.choice(_ID_LETTERS) for _ in range(12))

    def close(self) -> None:
        """End all that runs."""
        self._person.leave()
        for worker in self._workers:
            worker.remove()
        self._end_server()
