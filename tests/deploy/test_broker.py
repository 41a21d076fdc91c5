"""The embedded broker, as the supervisor would start it."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from tests._parts import free_port, start, stop, wait_until

from talweg.deploy.errors import BrokerNotFoundError
from talweg.deploy.folder import Folder
from talweg.deploy.services import broker

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    # A line feed would begin a setting of its own.
    folder = Folder(tmp_path / 'a "data" folder\nof \\ Jürgen')
    folder.create()
    return folder


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start_broker(folder: Folder, port: int) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def start_it() -> subprocess.Popen[bytes]:
        password = broker.read_password(folder)
        config = broker.write_config(folder, port=port, password=password)
        command = [broker.find_broker().path, str(config)]
        process = start(command, log=folder.log_file("broker"))
        running.append(process)
        wait_until(lambda: broker.answers(port, password), timeout=10, what="the broker answers")
        return process

    yield start_it
    for process in running:
        stop(process)


def connect(folder: Folder, port: int) -> redis.Redis:
    return redis.Redis(port=port, password=broker.read_password(folder))


def test_it_asks_for_the_password_and_writes_nothing(
    folder: Folder, port: int, start_broker: Start
) -> None:
    process = start_broker()
    assert not broker.answers(port, "another")
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with connect(folder, port) as client:
        # What cannot be written on a full disk would have it refuse all changes.
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        client.set("ticket", "1")
    stop(process)
    assert [path.name for path in folder.broker.iterdir()] == ["broker.conf"]


def test_the_password_is_for_the_owner_alone_and_in_no_argument(
    folder: Folder, port: int, start_broker: Start
) -> None:
    process = start_broker()
    password = broker.read_password(folder)
    assert len(password) >= 32
    for path in (folder.broker_password, folder.broker / "broker.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert password.encode() not in arguments


def test_a_wiped_broker_comes_back_with_the_same_port_and_password(
    folder: Folder, port: int, start_broker: Start
) -> None:
    process = start_broker()
    password = broker.read_password(folder)
    process.kill()
    process.wait()
    shutil.rmtree(folder.broker)
    start_broker()
    assert broker.answers(port, password)


def program(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


def test_a_broker_on_path_is_used_where_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    old = program(tmp_path, "valkey-server", "Redis server v=6.0.16 sha=0 bits=64")
    assert broker.find_broker().path != str(old)
    new = program(tmp_path, "redis-server", "Redis server v=7.2.5 sha=0 bits=64")
    assert broker.find_broker() == broker.BrokerProgram(str(new), "redis 7.2")


def test_without_any_broker_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(broker, "_packaged", lambda: None)
    with pytest.raises(BrokerNotFoundError, match="TALWEG_BROKER_URL"):
        broker.find_broker()
