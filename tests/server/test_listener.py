import socket
from pathlib import Path

import pytest

from talweg.server import listener


@pytest.mark.parametrize("is_secured", [False, True])
async def test_an_open_port_where_nobody_answers_is_silent(is_secured: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        host, port = held.getsockname()
        assert not await listener.answers(f"{host}:{port}", is_secured=is_secured, seconds=0.2)


async def test_of_a_socket_nothing_is_asked(tmp_path: Path) -> None:
    assert await listener.answers(f"unix:{tmp_path}/socket", is_secured=False, seconds=1)
