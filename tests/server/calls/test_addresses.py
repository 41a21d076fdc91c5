"""Connections of one address are bounded, whether or not they ever say anything."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from talweg.server.limits.addresses import ConnectionsByAddress
from talweg.server.servicers.health import HealthServicer

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux names a process's descriptors"
)

MOST = 3


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


@pytest.fixture
def opened(port: int) -> Iterator[ExitStack]:
    with ExitStack() as opened:
        # More files than an address may have connections.
        for _ in range(2 * MOST):
            opened.enter_context(open(os.devnull))
        yield opened


async def greeted(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection that the server has taken: it speaks first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.readexactly(9)
    return reader, writer


async def is_open(reader: asyncio.StreamReader) -> bool:
    """Return whether a connection is still open: of one that is closed the end can be read."""
    try:
        while await asyncio.wait_for(reader.read(1024), 0.5):
            pass
    except TimeoutError:
        return True
    except ConnectionError:
        pass
    return False


async def test_the_newest_are_closed_of_an_address_that_has_too_many(
    port: int, opened: ExitStack
) -> None:
    found = ConnectionsByAddress(port, MOST, spares_loopback=False)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.List(health_pb2.HealthListRequest())
        assert found.shed() == {}
        early = [await greeted(port) for _ in range(MOST - 1)]
        assert found.shed() == {}
        late = [await greeted(port) for _ in range(2)]
        assert found.shed() == {"127.0.0.1": 2}
        assert [await is_open(reader) for reader, _ in (*early, *late)] == [
            True,
            True,
            False,
            False,
        ]
        assert found.shed() == {}
        # The channel is the oldest, and goes on as it was.
        await health.List(health_pb2.HealthListRequest())
        # Where some have gone, others have room.
        for _, writer in (*early, *late):
            writer.close()
            await writer.wait_closed()
        reader, writer = await greeted(port)
        assert found.shed() == {}
        assert await is_open(reader)
        writer.close()


async def test_this_machine_and_other_ports_are_spared(port: int, opened: ExitStack) -> None:
    others = [await greeted(port) for _ in range(2 * MOST)]
    assert ConnectionsByAddress(port, MOST).shed() == {}
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        number = other.getsockname()[1]
        assert ConnectionsByAddress(number, MOST, spares_loopback=False).shed() == {}
    assert ConnectionsByAddress(port, MOST, spares_loopback=False).shed() == {"127.0.0.1": MOST}
    for _, writer in others:
        writer.close()
