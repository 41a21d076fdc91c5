"""Whatever is sent to whichever RPC gets a status that says what is wrong, from a whole server."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from tests._parts import Server, running_server
from tests.fuzz.messages import TEXTS, damaged, scatter
from tests.fuzz.seeds import SEED, chance, fixed_seed, new_seed, num_cases
from tests.fuzz.specs import random_spec

from talweg.server.identity.methods import METHODS as ROLES
from talweg.server.reflection import V1, V1ALPHA
from talweg.v1 import (
    artifacts_pb2,
    catalog_pb2,
    identity_pb2,
    jobs_pb2,
    predictions_pb2,
    sessions_pb2,
    stored_datasets_pb2,
    sweeps_pb2,
    system_pb2,
    workers_pb2,
)
from talweg.v1.jobs_pb2_grpc import JobServiceStub
from talweg.v1.stored_datasets_pb2_grpc import StoredDatasetServiceStub
from talweg.v1.workers_pb2_grpc import WorkerServiceStub

# Longer than any call takes on a busy machine; only a call that hangs passes it.
LIMIT_S = 60.0
# How long a stream that goes on for ever is listened to.
_LISTEN_S = 0.05
_ENDLESS = ("WatchJob", "WatchSweep", "Watch")
_BAD = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED)
TABLE = b"rooms,price\n" + b"".join(b"%d,%d\n" % (n % 5, 7 * n) for n in range(30))
NOWHERE = "redis://127.0.0.1:1/0"


@dataclass(frozen=True)
class Method:
    """One RPC."""

    path: str
    descriptor: MethodDescriptor

    def request(self) -> Message:
        return message_factory.GetMessageClass(self.descriptor.input_type)()


def methods() -> list[Method]:
    files = (
        jobs_pb2,
        workers_pb2,
        catalog_pb2,
        system_pb2,
        stored_datasets_pb2,
        artifacts_pb2,
        predictions_pb2,
        sweeps_pb2,
        sessions_pb2,
        identity_pb2,
        health_pb2,
        reflection_pb2,
    )
    known = []
    for file in files:
        for service in file.DESCRIPTOR.services_by_name.values():
            # Version 1 of reflection has the messages of the version before it.
            names = (V1, V1ALPHA) if service.full_name == V1ALPHA else (service.full_name,)
            known += [
                Method(f"/{name}/{method.name}", method)
                for name in names
                for method in service.methods
            ]
    return known


METHODS = methods()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own, whose log the test reads; it never needs a broker to answer."""
    blobs = str(tmp_path / "blobs")
    with running_server(tmp_path / "server", NOWHERE, TALWEG_BLOBS=blobs) as server:
        yield server


class Caller:
    """Sends bytes to any method."""

    def __init__(self, address: str) -> None:
        # Without serializers it takes bytes, of which grpc's stubs do not know.
        self.channel: Any = grpc.insecure_channel(address)
        self.jobs = JobServiceStub(self.channel)
        self.workers = WorkerServiceStub(self.channel)
        self.stored = StoredDatasetServiceStub(self.channel)

    def call(self, method: Method, messages: Sequence[bytes]) -> tuple[grpc.StatusCode, str]:
        """Call a method and return its status; OK where it answers.

        Args:
            method: The method.
            messages: What to send; the first alone where the method takes one message.
        """
        name = method.descriptor.name
        try:
            if method.descriptor.client_streaming:
                for _ in self.channel.stream_stream(method.path)(iter(messages), timeout=LIMIT_S):
                    pass
            elif method.descriptor.server_streaming:
                seconds = _LISTEN_S if name in _ENDLESS else LIMIT_S
                for _ in self.channel.unary_stream(method.path)(messages[0], timeout=seconds):
                    pass
            else:
                self.channel.unary_unary(method.path)(messages[0], timeout=LIMIT_S)
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.DEADLINE_EXCEEDED and name in _ENDLESS:
                return grpc.StatusCode.OK, ""
            return exc.code(), exc.details() or ""
        return grpc.StatusCode.OK, ""


@dataclass(frozen=True)
class Known:
    """What is there, so that requests may be about it."""

    texts: Sequence[str]
    """Random ones, names of jobs and of a stored data set."""
    leases: Sequence[workers_pb2.Lease]
    """Of running jobs."""


def begun(caller: Caller, rng: random.Random) -> Known:
    """Submit jobs and claim some of them."""
    for _ in range(12):
        caller.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=random_spec(rng)))
    claimed = caller.workers.ClaimJobs(
        workers_pb2.ClaimJobsRequest(queue="default", worker="w", limit=8)
    )
    names = [job.name for job in caller.jobs.ListJobs(jobs_pb2.ListJobsRequest()).jobs]
    names.append(caller.stored.UploadStoredDataset(iter(upload_of(TABLE))).name)
    leases = [assignment.lease for assignment in claimed.assignments]
    return Known([*TEXTS, *(names * 8)], leases)


def upload_of(content: bytes) -> list[stored_datasets_pb2.UploadStoredDatasetRequest]:
    """Return the messages of an upload in order, with two chunks."""
    header = stored_datasets_pb2.UploadHeader(
        name="table",
        file_name="table.csv",
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


def requests_of(method: Method, rng: random.Random, known: Known) -> list[bytes]:
    """Draw what a call sends; some of it a worker or a person could have sent."""
    if method.descriptor.name == "UploadStoredDataset" and rng.random() < 0.8:
        messages = upload_of(damaged(TABLE, rng) if rng.random() < 0.3 else TABLE)
        for message in messages:
            if rng.random() < 0.2:
                scatter(message, rng, texts=known.texts, share=0.2)
        if rng.random() < 0.2:
            rng.shuffle(messages)
        return [message.SerializeToString() for message in messages[: rng.choice([1, 2, 3, 3, 3])]]
    data = request_of(method, rng, known)
    return [data, data] if method.descriptor.client_streaming else [data]


def request_of(method: Method, rng: random.Random, known: Known) -> bytes:
    """Draw a request; some of them a worker or a person could have sent."""
    request = method.request()
    if rng.random() < 0.1:
        return rng.randbytes(rng.choice([0, 1, 10, 1000]))
    scatter(request, rng, texts=known.texts, share=rng.choice([0.1, 0.3, 0.6, 0.9]))
    if isinstance(request, jobs_pb2.SubmitJobRequest) and rng.random() < 0.5:
        request.spec.CopyFrom(random_spec(rng))
    lease = getattr(request, "lease", None)
    if lease is not None and rng.random() < 0.7:
        lease.CopyFrom(rng.choice(known.leases))
    data = request.SerializeToString()
    return damaged(data, rng) if rng.random() < 0.2 else data


def shown(method: Method, messages: Sequence[bytes]) -> str:
    lines = [method.path]
    for data in messages:
        request = method.request()
        with suppress(DecodeError):
            request.ParseFromString(data)
        lines += [data.hex(), str(request)[:3000]]
    return "\n".join(lines)


def run(server: Server, seed: int, cases: int) -> None:
    caller = Caller(server.address)
    known = begun(caller, chance(seed, -1))
    codes: dict[grpc.StatusCode, int] = {}
    wrong: list[str] = []
    for case in range(cases):
        rng = chance(seed, case)
        method = METHODS[case % len(METHODS)]
        messages = requests_of(method, rng, known)
        code, details = caller.call(method, messages)
        codes[code] = codes.get(code, 0) + 1
        if code in _BAD or code == grpc.StatusCode.DEADLINE_EXCEEDED:
            wrong.append(f"case {case}: {code.name} {details}\n{shown(method, messages)}")
        assert server.process is not None
        assert server.process.poll() is None, f"{SEED}={seed}: the server ended at case {case}"
    print({code.name: number for code, number in codes.items()})
    log = (server.folder / "server.log").read_text()
    assert not wrong, f"{SEED}={seed}: {len(wrong)} calls\n" + "\n".join(wrong[:5]) + log[-3000:]
    assert "Traceback" not in log, f"{SEED}={seed}:\n{log[-5000:]}"
    assert codes[grpc.StatusCode.OK] > 0.05 * cases
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > 0.05 * cases
    is_well(caller)


def is_well(caller: Caller) -> None:
    health = HealthStub(caller.channel).Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    request = jobs_pb2.SubmitJobRequest(spec=random_spec(random.Random(0)))
    job = caller.jobs.SubmitJob(request, timeout=LIMIT_S).job
    listed = caller.jobs.ListJobs(jobs_pb2.ListJobsRequest(page_size=5), timeout=LIMIT_S)
    assert job.name in [each.name for each in listed.jobs]


def test_each_method_is_called() -> None:
    paths = [method.path for method in METHODS]
    assert len(paths) == len(set(paths))
    # All that the server has, as its table of roles must.
    assert set(paths) == set(ROLES)


def test_some_random_requests_leave_a_server_whole(server: Server) -> None:
    run(server, fixed_seed(), 2 * len(METHODS))


@pytest.mark.faults
def test_thousands_of_random_requests_leave_a_server_whole(server: Server) -> None:
    seed = new_seed()
    print(f"{SEED}={seed}")
    run(server, seed, num_cases(8_500))
