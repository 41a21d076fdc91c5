"""Parts of a stack listen on loopback alone, in the middle of a data parallel job too."""

import os

import psutil
import pytest
from tests._parts import wait_until
from tests._sockets import beyond_loopback, listeners
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client

_SERVICES = {"broker", "server", "tracking"}
_MEMBER = "talweg.worker.training.distributed.rank"


def processes(stack: Stack) -> list[psutil.Process]:
    up = psutil.Process(stack.process.pid)
    return [up, *up.children(recursive=True)]


def members(stack: Stack) -> list[psutil.Process]:
    found = []
    for process in processes(stack):
        try:
            if _MEMBER in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_every_part_listens_on_loopback_alone(stack: Stack) -> None:
    def all_serve() -> bool:
        pids = {stack.facts["parts"].get(name) for name in _SERVICES}
        return pids <= {int(who.split()[0]) for who in listeners(processes(stack))}

    # MLflow comes last, long after the stack is ready.
    wait_until(all_serve, timeout=120, what="broker, server and MLflow listen")
    with Client(stack.address) as client:
        spec = tiny_spec(0, training={"epochs": 100_000}, resources={"processes": 2})
        job = client.submit(spec)
        try:
            wait_until(lambda: job.refresh().message.progress.step > 0, timeout=120, what="steps")
            trainers = members(stack)
            found = listeners(processes(stack))
            assert job.refresh().state == "RUNNING"
        finally:
            job.cancel()
        assert job.wait(360).state == "CANCELLED"
    assert beyond_loopback(found) == {}
    # Nothing was overlooked: the services, `talweg up`, which holds ports, and the two that train.
    assert len(found) >= len(_SERVICES) + 3
    assert len(trainers) == 1
    assert len([who for who in found if _MEMBER in who]) == 1
    wait_until(lambda: not members(stack), timeout=30, what="no process is left")
