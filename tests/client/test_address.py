import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from talweg.client import Client, Unavailable
from talweg.client._address import ServerAddress, check, find
from talweg.client._transport import channel_options


def write_stack(folder: Path, server: str, pid: int | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "stack.json"
    path.write_text(json.dumps({"format": 1, "pid": pid or os.getpid(), "server": server}))
    return path


@pytest.fixture(scope="module")
def dead_pid() -> int:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    return int(done.stdout)


def test_order(tmp_path: Path) -> None:
    """Each place is taken only where those before it say nothing."""
    environ = {
        "TALWEG_ADDRESS": "set:1",
        "TALWEG_DATA": str(tmp_path / "data"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    data = write_stack(tmp_path / "data", "data:2")
    here = write_stack(tmp_path / "here/.talweg", "here:3")
    write_stack(tmp_path / "state/talweg", "state:4")

    def found(address: str | None = None) -> ServerAddress:
        return find(address, environ=environ, folder=tmp_path / "here")

    assert found("given:9") == ServerAddress("given:9")
    assert found() == ServerAddress("set:1")
    environ["TALWEG_ADDRESS"] = ""
    assert found() == ServerAddress("data:2")
    data.unlink()
    assert found() == ServerAddress("here:3")
    here.unlink()
    assert found() == ServerAddress("state:4")


def test_state_folder_in_home(tmp_path: Path) -> None:
    write_stack(tmp_path / ".local/state/talweg", "home:5")
    assert find(environ={"HOME": str(tmp_path)}, folder=tmp_path).address == "home:5"


def test_stack_whose_process_has_ended_is_passed_over(tmp_path: Path, dead_pid: int) -> None:
    dead = write_stack(tmp_path / ".talweg", "dead:1", dead_pid)
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with pytest.raises(Unavailable) as raised:
        find(environ=environ, folder=tmp_path)
    assert f"{dead} (its process {dead_pid} has ended)" in str(raised.value)
    assert "talweg up" in str(raised.value)
    write_stack(tmp_path / "state/talweg", "alive:2")
    assert find(environ=environ, folder=tmp_path).address == "alive:2"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "1", "server": "a:1"}', "\0"])
def test_file_that_is_no_stack_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / ".talweg").mkdir()
    (tmp_path / ".talweg/stack.json").write_text(content)
    with pytest.raises(Unavailable, match="not the file of a stack"):
        find(environ={"HOME": str(tmp_path)}, folder=tmp_path)


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("localhost", "localhost:7070"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[::1]", "[::1]:7070"),
        ("[::1]:9", "[::1]:9"),
        ("unix:/tmp/talweg.sock", "unix:/tmp/talweg.sock"),
    ],
)
def test_address_is_completed(written: str, taken: str) -> None:
    assert check(written) == taken


@pytest.mark.parametrize(
    "address", ["http://host:1", "host:port", "host:0", "host:70000", "a b", "::1"]
)
def test_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Client(address)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("unix:/a", True),
     ("LOCALHOST:1", True), ("dns:///localhost:1", True), ("dns:127.0.0.1:1", True),
     ("ipv4:127.0.0.1:1", True), ("ipv6:[::1]:1", True),
     ("10.0.0.1:1", False), ("localhost.example:1", False), ("127.example:1", False),
     ("dns:///host:1", False)],
)  # fmt: skip
def test_proxies_stand_aside_for_this_machine_alone(address: str, loopback: bool) -> None:
    assert ServerAddress(address).is_loopback is loopback


@pytest.mark.parametrize(
    ("address", "environ", "used"),
    [
        ("gpu.example:7070", {}, ""),
        ("gpu.example:7070", {"http_proxy": "http://p"}, "http_proxy"),
        ("gpu.example:7070", {"grpc_proxy": "http://p", "http_proxy": "http://q"}, "grpc_proxy"),
        ("gpu.example:7070", {"https_proxy": "http://p", "no_proxy": ".example"}, ""),
        # Which gRPC itself does not read.
        ("gpu.example:7070", {"https_proxy": "http://p", "NO_PROXY": "a.org, gpu.example"}, ""),
        ("gpu.example:7070", {"https_proxy": "http://p", "NO_PROXY": "*"}, ""),
        ("gpu.example:7070", {"https_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "https_proxy"),
        ("10.1.2.3:7070", {"https_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, ""),
        ("[fd00::1]:7070", {"https_proxy": "http://p", "no_proxy": "fd00::/8"}, ""),
        ("127.0.0.1:7070", dict.fromkeys(("grpc_proxy", "http_proxy"), "http://p"), ""),
    ],
)
def test_whether_a_proxy_is_on_the_way(
    address: str, environ: dict[str, str], used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ServerAddress(address)
    assert server.proxy(environ) == used
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert dict(channel_options(server))["grpc.enable_http_proxy"] == bool(used)


def test_a_stack_file_of_another_user_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shared"
    planted = write_stack(folder / ".talweg", "127.0.0.1:9")
    assert find(environ={}, folder=folder).address == "127.0.0.1:9"
    if os.getuid() == 0:
        os.chown(planted, 12345, 12345)
    else:
        # Only root can give a file away: whoever looks is another user then.
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(Unavailable, match="of another user"):
        find(environ={}, folder=folder)


def test_a_stack_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    write_stack(tmp_path / ".talweg", "127.0.0.1:9").chmod(0o666)
    with pytest.raises(Unavailable, match="others may write it"):
        find(environ={}, folder=tmp_path)


def test_the_token_of_a_stack_is_found_by_its_address(tmp_path: Path) -> None:
    (tmp_path / ".talweg").mkdir()
    (tmp_path / ".talweg/admin-token").write_text("of-the-stack\n")
    facts = {"pid": os.getpid(), "server": "127.0.0.1:9", "data": str(tmp_path / ".talweg")}
    (tmp_path / ".talweg/stack.json").write_text(json.dumps(facts))

    def token(address: str, **environ: str) -> str:
        return find(address, environ=environ, folder=tmp_path).security.token

    assert token("127.0.0.1:9") == "of-the-stack"
    assert token("127.0.0.1:9", TALWEG_TOKEN="mine") == "mine"
    # The name may lead elsewhere: the number is called then.
    found = find("localhost:9", environ={}, folder=tmp_path)
    assert (found.address, found.security.token) == ("127.0.0.1:9", "of-the-stack")
    assert find("localhost:9", token="mine", environ={}, folder=tmp_path).address == "localhost:9"
    # It is for its own server alone.
    assert token("localhost:10") == ""
    assert token("127.0.0.1:10") == ""
