"""Whose connections over loopback are: what the kernel tells, and what it tells of closed ones."""

import os
import pwd
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from talweg.deploy.services import _peers
from talweg.deploy.services._peers import is_of_this_user

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells whose sockets are")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_open_connection_of_this_user_counts_and_a_closed_one_not(
    listening: socket.socket, family: socket.AddressFamily
) -> None:
    """The kernel shows closed sockets as the superuser's, whoever had them."""
    port = listening.getsockname()[1]
    with socket.socket(family) as client:
        client.connect((f"{'::ffff:' * (family == socket.AF_INET6)}127.0.0.1", port))
        accepted, peer = listening.accept()
        with accepted:
            assert is_of_this_user(peer, accepted.getsockname())
            # Another connection's ends, and a port that nobody has.
            assert not is_of_this_user(peer, ("127.0.0.1", port ^ 1))
            assert not is_of_this_user((peer[0], 0), accepted.getsockname())
            client.shutdown(socket.SHUT_WR)
            assert not is_of_this_user(peer, accepted.getsockname())
            client.close()
            assert not is_of_this_user(peer, accepted.getsockname())


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser may act as somebody else")
def test_a_connection_of_another_user_does_not_count(listening: socket.socket) -> None:
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        client = socket.socket()
    finally:
        os.seteuid(0)
    with client:
        client.connect(listening.getsockname())
        accepted, peer = listening.accept()
        with accepted:
            assert not is_of_this_user(peer, accepted.getsockname())


def test_where_the_kernel_tells_nothing_nobody_counts(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_connection(listening.getsockname()) as client:
        accepted, peer = listening.accept()
        with accepted:
            assert is_of_this_user(peer, client.getpeername())
            monkeypatch.setattr(_peers, "_TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))
            assert not is_of_this_user(peer, client.getpeername())
            assert not is_of_this_user(("::1", 1), ("::1", 2))
