"""Which refusals a worker waits out, from a real server."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from talweg.server.calls.interceptor import ErrorInterceptor
from talweg.server.errors import QuotaExceeded, RateLimited, ServerError, TooManyCalls
from talweg.worker.channels import call


@contextmanager
def refusing(*errors: ServerError) -> Iterator[tuple[grpc.Channel, list[bytes]]]:
    """A server whose method refuses calls by these errors, one after another, and then answers."""
    left, calls = list(errors), list[bytes]()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)

    async def method(request: Any, context: Any) -> bytes:
        calls.append(request)
        if left:
            raise left.pop(0)
        return b"done"

    async def begin() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        handlers = {"Do": grpc.unary_unary_rpc_method_handler(method, bytes, bytes)}
        generic = grpc.method_handlers_generic_handler("test.Test", handlers)
        server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    thread.start()
    server, port = asyncio.run_coroutine_threadsafe(begin(), loop).result(60)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, calls
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_worker_waits_while_there_are_too_many_calls() -> None:
    limited = RateLimited("too many", retry_after=timedelta(seconds=0.1))
    with refusing(limited, TooManyCalls("too many"), limited) as (channel, calls):
        method: Any = channel.unary_unary("/test.Test/Do")
        assert call(method, b"x", until=time.monotonic() + 600, timeout=60) == b"done"
    assert calls == [b"x"] * 4


def test_what_waiting_does_not_help_is_raised() -> None:
    with refusing(QuotaExceeded("max_open_jobs", "full")) as (channel, calls):
        method: Any = channel.unary_unary("/test.Test/Do")
        with pytest.raises(grpc.RpcError):
            call(method, b"x", until=time.monotonic() + 600, timeout=60)
    assert calls == [b"x"]
