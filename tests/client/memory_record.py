"""What a server in memory holds, and how it refuses."""

import re
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from talweg import spec as specs
from talweg.v1 import jobs_pb2

Context = grpc.ServicerContext
FINAL = (jobs_pb2.Job.SUCCEEDED, jobs_pb2.Job.FAILED, jobs_pb2.Job.DIVERGED,
         jobs_pb2.Job.CANCELLED)  # fmt: skip


class Refusal(Exception):
    """An error of the service, on its way to its status."""

    def __init__(
        self, code: str, reason: str, message: str, violations: list[specs.Violation] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
        info = error_details_pb2.ErrorInfo(reason=reason, domain="talweg")
        self._add(info)
        if violations:
            self._add(error_details_pb2.BadRequest(field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field=violation.field, description=violation.description
                )
                for violation in violations
            ]))  # fmt: skip

    def _add(self, detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        self.status.details.append(packed)

    def abort(self, context: Context) -> NoReturn:
        code = next(code for code in grpc.StatusCode if code.value[0] == self.status.code)
        context.set_trailing_metadata(
            (("grpc-status-details-bin", self.status.SerializeToString()),)
        )
        context.abort(code, self.status.message)
        raise AssertionError("abort raises")


class Record:
    """Jobs, their events and metrics."""

    def __init__(self) -> None:
        self.jobs: dict[str, jobs_pb2.Job] = {}
        self.events: dict[str, list[jobs_pb2.Event]] = {}
        self.summaries: dict[str, dict[str, jobs_pb2.MetricSummary]] = {}
        self.requests: dict[str, tuple[bytes, str]] = {}
        self.changed = threading.Condition()

    def add(self, name: str, **kind: Any) -> None:
        events, job = self.events[name], self.jobs[name]
        event = jobs_pb2.Event(cursor=len(events) + 1, attempt=job.attempt, **kind)
        event.time.GetCurrentTime()
        events.append(event)
        job.last_cursor = event.cursor

    def find(self, name: str) -> jobs_pb2.Job:
        if name not in self.jobs:
            raise Refusal("NOT_FOUND", "JOB_NOT_FOUND", f"there is no job {name!r}")
        return self.jobs[name]

    def submit(self, request: jobs_pb2.SubmitJobRequest) -> jobs_pb2.Job:
        filled = specs.fill(request.spec)
        violations, warnings = specs.check(filled)
        if violations:
            raise Refusal("INVALID_ARGUMENT", "INVALID_SPEC", "the spec is wrong", violations)
        job = jobs_pb2.Job(spec=filled, state=jobs_pb2.Job.QUEUED, warnings=warnings)
        job.waiting_reason = "no worker is connected"
        job.create_time.GetCurrentTime()
        if request.validate_only:
            return job
        body = request.spec.SerializeToString(deterministic=True)
        known = self.requests.get(request.request_id)
        if known and known[0] != body:
            raise Refusal("ALREADY_EXISTS", "REQUEST_ID_REUSED", "the request id is taken")
        if known:
            return self.jobs[known[1]]
        job.name = f"jobs/{chr(97 + len(self.jobs) % 3)}{len(self.jobs):05d}"
        self.jobs[job.name], self.events[job.name], self.summaries[job.name] = job, [], {}
        if request.request_id:
            self.requests[request.request_id] = (body, job.name)
        self.add(job.name, state=jobs_pb2.StateChange(state=jobs_pb2.Job.QUEUED))
        return job

    def finish(self, name: str, outcome: jobs_pb2.Outcome) -> None:
        job = self.jobs[name]
        job.state = outcome.state
        job.end_time.GetCurrentTime()
        job.outcome.CopyFrom(outcome)
        self.add(name, state=jobs_pb2.StateChange(state=outcome.state))
        self.add(name, finished=outcome)

    def select(self, condition: str) -> list[jobs_pb2.Job]:
        wanted: dict[str, set[str]] = {}
        for field, value in re.findall(r"(\w+) = \"?([\w /*-]+?)\"?(?= AND|\)| OR|$)", condition):
            wanted.setdefault(field, set()).add(value)
        if condition and not wanted:
            raise Refusal("INVALID_ARGUMENT", "BAD_FILTER", f"no such filter: {condition}")
        names = wanted.pop("name", {"*"})
        values: dict[str, Callable[[jobs_pb2.Job], str | None]] = {
            "state": lambda job: jobs_pb2.Job.State.Name(job.state),
            "loss": lambda job: job.spec.loss.WhichOneof("kind"),
            "experiment": lambda job: job.spec.experiment,
        }
        return [
            job
            for job in reversed(list(self.jobs.values()))
            if all(values[field](job) in allowed for field, allowed in wanted.items())
            and any(fnmatchcase(job.name, name) for name in names)
        ]
