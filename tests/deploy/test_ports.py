"""Which ports a stack takes, and that no two stacks take the same."""

import socket
from collections.abc import Iterator

import pytest
from tests._parts import free_port

from talweg.deploy.supervision.ports import HOST, Ports, is_free


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as ports:
        yield ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_preferred_port_is_taken_where_it_is_free(ports: Ports) -> None:
    port = free_port()
    assert ports.choose("server", port) == port


def test_a_taken_port_is_stepped_over(ports: Ports, taken: int) -> None:
    assert not is_free(taken)
    chosen = ports.choose("server", taken)
    assert chosen > taken
    assert is_free(chosen)


def test_a_port_taken_on_every_address_is_stepped_over(ports: Ports) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        assert ports.choose("server", listener.getsockname()[1]) != listener.getsockname()[1]


def test_two_services_never_get_the_same_port(ports: Ports) -> None:
    port = free_port()
    assert ports.choose("server", port) == port
    assert ports.choose("tracking", port) != port
    assert len(set(ports.chosen.values())) == 2


def test_two_stacks_that_start_at_once_never_get_the_same_port(ports: Ports) -> None:
    port = free_port()
    with Ports() as others:
        assert others.choose("tracking", port) == port
        # Nobody listens there yet.
        assert is_free(port)
        assert ports.choose("tracking", port) != port
    assert ports.choose("tracking", port) == port


def test_choosing_again_may_give_the_same_port(ports: Ports) -> None:
    port = free_port()
    assert ports.choose("server", port) == ports.choose("server", port)


def test_no_preference_and_the_end_of_the_range(ports: Ports) -> None:
    assert ports.choose("server", 0) >= 1024
    assert 0 < ports.choose("tracking", 65535) <= 65535
    assert ports.address("server") == f"127.0.0.1:{ports.chosen['server']}"
