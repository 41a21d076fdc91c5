"""Whatever is sent to whichever RPC gets a status that says what is wrong, from a whole server.

The server asks for tokens. It is called by each role in two projects, and by those who have no
token that holds.
"""

import random
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from tests._parts import Server, running_server
from tests.fuzz.calls.callers import Caller, Callers, Metadata, goodbye, noise, odd_metadata
from tests.fuzz.calls.requests import begun, requests_of, shown
from tests.fuzz.calls.rpcs import LIMIT_S, METHODS, Method, NotSentError, call
from tests.fuzz.seeds import SEED, chance, fixed_seed, new_seed, num_cases
from tests.fuzz.specs import random_spec

from talweg.server.identity.methods import METHODS as ROLES
from talweg.spec import has_control
from talweg.v1 import jobs_pb2
from talweg.v1.jobs_pb2_grpc import JobServiceStub

_BAD = (
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
# Larger requests are refused before anybody is asked for a token.
_LARGE = 4_000_000
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own, whose log the test reads; it never needs a broker to answer."""
    with guarded_server(tmp_path) as server:
        yield server


def guarded_server(folder: Path) -> Any:
    """Start a server that asks for tokens."""
    return running_server(
        folder / "server",
        NOWHERE,
        TALWEG_BLOBS=str(folder / "blobs"),
        TALWEG_AUTHENTICATION="token",
        TALWEG_TOKEN_KEY_FILE=str(folder / "key"),
        TALWEG_ADMIN_TOKEN_FILE=str(folder / "admin"),
        TALWEG_WORKER_TOKEN_FILE=str(folder / "worker"),
    )


def run(server: Server, seed: int, cases: int, *, methods: Sequence[Method] = METHODS) -> None:
    """Call methods in turn, and require of each answer what holds whatever was sent.

    Args:
        server: Asks for tokens; its log is read.
        seed: What the calls are drawn from.
        cases: How many calls.
        methods: What is called.
    """
    channel: Any = grpc.insecure_channel(server.address)
    callers = Callers(channel, server.folder.parent)
    known = begun(channel, callers, chance(seed, -1))
    codes: Counter[grpc.StatusCode] = Counter()
    wrong: list[str] = []
    for case in range(cases):
        rng = chance(seed, case)
        method = methods[case % len(methods)]
        caller, more = callers.draw(method.path, rng), _more(rng)
        messages = requests_of(method, rng, known)
        if rng.random() < 0.02:
            _disturb(server, noise(rng))
        send = partial(
            call, channel, method, messages, is_refused=caller.refusal(method.path) is not None
        )
        try:
            code, details = send((*caller.metadata, *more))
        except NotSentError:
            code, details = send(caller.metadata)
            more = ()
        codes[code] += 1
        may_differ = bool(more) or any(len(message) > _LARGE for message in messages)
        if code in _BAD or not _is_admitted(caller, method.path, code, may_differ=may_differ):
            wrong.append(
                f"case {case}: {caller.role} {code.name} {details}\n{shown(method, messages)}"
            )
        assert server.process is not None
        assert server.process.poll() is None, f"{SEED}={seed}: the server ended at case {case}"
    print({code.name: number for code, number in codes.items()})
    _disturb(server, goodbye(b"\x1b[2Jevil\nforged"))
    is_well(channel, callers.quiet)
    log = (server.folder / "server.log").read_bytes().decode("utf-8", "replace")
    # What peers send stands in no log as it is.
    assert not any(has_control(line) or "\ufffd" in line for line in log.split("\n")), log[-3000:]
    assert "forged" not in log
    assert not wrong, f"{SEED}={seed}: {len(wrong)} calls\n" + "\n".join(wrong[:5]) + log[-3000:]
    assert "Traceback" not in log, f"{SEED}={seed}:\n{log[-5000:]}"
    assert codes[grpc.StatusCode.OK] > 0.05 * cases
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > 0.05 * cases


def _more(rng: random.Random) -> Metadata:
    return odd_metadata(rng) if rng.random() < 0.1 else ()


def _is_admitted(caller: Caller, path: str, code: grpc.StatusCode, *, may_differ: bool) -> bool:
    """Tell whether a call was refused if it had to be, and for that reason.

    Args:
        caller: Who called.
        path: The method.
        code: The status of the answer.
        may_differ: What else the call carried may have been refused before.
    """
    expected = caller.refusal(path)
    if expected is None or code == expected:
        return True
    return may_differ and code != grpc.StatusCode.OK


def _disturb(server: Server, content: bytes) -> None:
    """Write to the port what is no call, and wait for an answer or the end."""
    host, _, port = server.address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(content)
        connection.settimeout(0.05)
        while connection.recv(1000):
            pass


def is_well(channel: Any, caller: Caller) -> None:
    """Require that a server still does what it is there for."""
    health = HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    jobs, known = JobServiceStub(channel), {"metadata": caller.metadata, "timeout": LIMIT_S}
    request = jobs_pb2.SubmitJobRequest(spec=random_spec(random.Random(0)))
    job = jobs.SubmitJob(request, **known).job
    listed = jobs.ListJobs(jobs_pb2.ListJobsRequest(), **known)
    # Nothing of the other projects is there.
    assert [each.name for each in listed.jobs] == [job.name]


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
