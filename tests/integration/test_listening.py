"""Parts of a stack listen on loopback alone, in the middle of a data parallel job too."""

import ipaddress
import os
import socket

import psutil
import pytest
from tests._parts import wait_until
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client

_MEMBER = "talweg.worker.training.distributed.member"


def processes(stack: Stack) -> list[psutil.Process]:
    up = psutil.Process(stack.process.pid)
    parts = [psutil.Process(pid) for pid in stack.facts["parts"].values()]
    below = [child for root in (up, *parts) for child in root.children(recursive=True)]
    return list({process.pid: process for process in (up, *parts, *below)}.values())


def listeners(stack: Stack) -> set[tuple[str, int, str]]:
    """Return address, port and program of each TCP listener and each bound UDP socket."""
    found = set()
    for process in processes(stack):
        try:
            connections = process.net_connections(kind="inet")
            program = " ".join(process.cmdline())[-60:]
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            is_udp = connection.type == socket.SOCK_DGRAM
            if connection.status == psutil.CONN_LISTEN or (is_udp and connection.laddr):
                found.add((connection.laddr.ip, connection.laddr.port, program))
    return found


def is_loopback(address: str) -> bool:
    # gRPC listens on IPv4 by sockets of IPv6.
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback


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
    with Client(stack.address) as client:
        job = client.submit(tiny_spec(0, training={"steps": 100_000}, resources={"processes": 2}))
        try:
            wait_until(lambda: job.refresh().message.progress.step > 0, timeout=120, what="steps")
            trainers = members(stack)
            assert len(trainers) == 1
            found = listeners(stack)
        finally:
            job.cancel()
        assert job.wait(60).state == "CANCELLED"
    # The server, MLflow, the broker, and those that train together.
    assert len(found) >= 4
    assert {port for _, port, _ in found} >= {int(stack.address.rpartition(":")[2])}
    assert [each for each in found if not is_loopback(each[0])] == []
    wait_until(lambda: not members(stack), timeout=30, what="no process is left")
