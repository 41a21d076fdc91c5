"""Requests about what is there and about nothing, as bytes; some of them are none."""

import hashlib
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from tests.fuzz.calls.callers import Callers
from tests.fuzz.calls.rpcs import Method
from tests.fuzz.files.samples import Sample, all_samples, broken
from tests.fuzz.messages import TEXTS, damaged, scatter
from tests.fuzz.specs import random_spec

from talweg.spec import from_dict, to_dict
from talweg.v1 import (
    jobs_pb2,
    sessions_pb2,
    stored_datasets_pb2,
    sweeps_pb2,
    workers_pb2,
)
from talweg.v1.jobs_pb2_grpc import JobServiceStub
from talweg.v1.sessions_pb2_grpc import SessionServiceStub
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2_grpc import StoredDatasetServiceStub
from talweg.v1.sweeps_pb2_grpc import SweepServiceStub
from talweg.v1.workers_pb2_grpc import WorkerServiceStub

TABLE = b"rooms,price\n" + b"".join(b"%d,%d\n" % (n % 5, 7 * n) for n in range(30))
_OWN = {"dataset": {"stored": {"name": "table", "target": "price"}}, "task": "regression",
        "model": "linear", "loss": "mse"}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is there, so that requests may be about it."""

    texts: Sequence[str]
    """Random ones; names of jobs, sweeps, sessions and data sets; tokens of pages."""
    leases: Sequence[workers_pb2.Lease]
    """Of running jobs."""


def begun(channel: Any, callers: Callers, rng: random.Random) -> Known:
    """Submit jobs, sweeps and data in both projects, and claim some of the jobs."""
    jobs, sweeps = JobServiceStub(channel), SweepServiceStub(channel)
    names: list[str] = []
    for submitter in callers.submitters:
        known: Any = {"metadata": submitter.metadata}
        stored = StoredDatasetServiceStub(channel).UploadStoredDataset(
            iter(upload_of(TABLE)), **known
        )
        names.append(stored.name)
        own = from_dict(_OWN, JobSpec, path="")
        for spec in (own, *(random_spec(rng) for _ in range(6))):
            jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec), **known)
        in_session = JobSpec()
        in_session.CopyFrom(from_dict({**_OWN, "dataset": "diabetes"}, JobSpec, path=""))
        in_session.session = "notebook"
        jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=in_session), **known)
        spec_ = sweep_of(random_spec(rng), rng)
        with suppress(grpc.RpcError):
            made = sweeps.CreateSweep(sweeps_pb2.CreateSweepRequest(spec=spec_), **known)
            names.append(made.sweep.name)
        names += [each.name for each in jobs.ListJobs(jobs_pb2.ListJobsRequest(), **known).jobs]
        names += _found(channel, known)
    claimed = WorkerServiceStub(channel).ClaimJobs(
        workers_pb2.ClaimJobsRequest(queue="default", worker="w", limit=12),
        metadata=callers.worker.metadata,
    )
    return Known([*TEXTS, *(names * 4)], [each.lease for each in claimed.assignments])


def _found(channel: Any, known: Any) -> list[str]:
    """Return names of sessions, and tokens of the second pages of lists."""
    sessions = SessionServiceStub(channel).ListSessions(
        sessions_pb2.ListSessionsRequest(page_size=1), **known
    )
    page = JobServiceStub(channel).ListJobs(jobs_pb2.ListJobsRequest(page_size=1), **known)
    return [*(each.name for each in sessions.sessions), page.next_page_token]


def upload_of(
    content: bytes, file_name: str = "table.csv"
) -> list[stored_datasets_pb2.UploadStoredDatasetRequest]:
    """Return the messages of an upload in order, with two chunks."""
    header = stored_datasets_pb2.UploadHeader(
        name="table",
        file_name=file_name,
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
    )
    half = len(content) // 2
    chunks = [
        stored_datasets_pb2.UploadChunk(offset=start, data=content[start:end])
        for start, end in ((0, half), (half, len(content)))
    ]
    return [
        stored_datasets_pb2.UploadStoredDatasetRequest(header=header),
        *(stored_datasets_pb2.UploadStoredDatasetRequest(chunk=chunk) for chunk in chunks),
    ]


def sweep_of(base: JobSpec, rng: random.Random) -> sweeps_pb2.SweepSpec:
    """Return a sweep over a job, most of which the server takes."""
    own = to_dict(base)
    paths = [
        path for path, value in _numbers(own) if not path.startswith(("dataset", "training.seed"))
    ]
    dimensions: list[dict[str, Any]] = [{"path": "training.seed", "values": [0, 1, 2]}]
    for path in rng.sample(paths, min(len(paths), rng.choice([0, 1, 2]))):
        listed = [rng.choice([0.1, 1, 2, 0.5, -1]) for _ in range(rng.choice([1, 2, 3]))]
        dimensions.append(
            rng.choice(
                [{"path": path, "values": listed},
                 {"path": path, "uniform": {"low": 0.1, "high": 0.5}},
                 {"path": path, "log_uniform": {"low": 1e-4, "high": 1e-2}},
                 {"path": path, "integers": {"low": 1, "high": 3}},
                 {"zip": [{"path": path, "values": [1, 2]}]}]
            )
        )  # fmt: skip
    content: dict[str, Any] = {"base": own, "space": dimensions, "parallel": 1}
    if rng.random() < 0.5:
        content |= {"trials": rng.choice([1, 2, 5]), "max_time": "1h"}
    return from_dict(content, sweeps_pb2.SweepSpec, path="")


def _numbers(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        parts = [_numbers(each, f"{path}.{name}".lstrip(".")) for name, each in value.items()]
        return [pair for part in parts for pair in part]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [(path, value)] if is_number else []


def requests_of(method: Method, rng: random.Random, known: Known) -> list[bytes]:
    """Draw what a call sends; some of it a worker or a person could have sent."""
    if method.descriptor.name == "UploadStoredDataset" and rng.random() < 0.8:
        messages = upload_of(*_file(rng))
        for message in messages:
            if rng.random() < 0.2:
                scatter(message, rng, texts=known.texts, share=0.2)
        if rng.random() < 0.2:
            rng.shuffle(messages)
        return [message.SerializeToString() for message in messages[: rng.choice([1, 2, 3, 3, 3])]]
    data = _request_of(method, rng, known)
    if not method.descriptor.client_streaming:
        return [data]
    return rng.choice([[], [data], [data, data]])


@cache
def _samples() -> list[Sample]:
    return all_samples()


def _file(rng: random.Random) -> tuple[bytes, str]:
    """Draw what is uploaded, and how it is called."""
    if rng.random() < 0.5:
        return damaged(TABLE, rng) if rng.random() < 0.3 else TABLE, "table.csv"
    sample = rng.choice(_samples())
    return sample.content if rng.random() < 0.3 else broken(sample, rng), sample.name


def _request_of(method: Method, rng: random.Random, known: Known) -> bytes:
    """Draw a request; some of them a worker or a person could have sent."""
    request = method.request()
    if rng.random() < 0.15:
        # The last is more than a server takes.
        return rng.randbytes(rng.choice([0, 1, 10, 1000] * 8 + [4_500_000]))
    scatter(request, rng, texts=known.texts, share=rng.choice([0.1, 0.3, 0.6, 0.9]))
    _make_plausible(request, rng, known)
    data = request.SerializeToString()
    return damaged(data, rng) if rng.random() < 0.2 else data


def _make_plausible(request: Message, rng: random.Random, known: Known) -> None:
    """Put something into a request that the server would take, half of the time."""
    if rng.random() < 0.5:
        return
    if isinstance(request, jobs_pb2.SubmitJobRequest):
        request.spec.CopyFrom(random_spec(rng))
        if rng.random() < 0.3:
            request.spec.session = rng.choice(["notebook", "b"])
    elif isinstance(request, sweeps_pb2.CreateSweepRequest):
        request.spec.CopyFrom(sweep_of(random_spec(rng), rng))
        request.edits = rng.choice(["", "", *known.texts])
    elif (lease := getattr(request, "lease", None)) is not None and known.leases:
        lease.CopyFrom(rng.choice(known.leases))


def shown(method: Method, messages: Sequence[bytes]) -> str:
    """Return a call for a person to read, and to repeat."""
    lines = [method.path]
    for data in messages:
        request = method.request()
        with suppress(DecodeError):
            request.ParseFromString(data)
        lines += [data.hex()[:20_000], str(request)[:3000]]
    return "\n".join(lines)
