"""What code of others can do from a job, and what it cannot: on this system, tried out."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests._plugins import write_package
from tests.worker._jobs import tiny_spec
from tests.worker.sandbox._plugins import ATTACKS
from tests.worker.sandbox._running import run

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.confinement import landlock, namespaces
from talweg.worker.confinement.namespaces import Namespaces
from talweg.worker.sandbox.sandbox import Sandbox
from talweg.worker.settings import Settings
from talweg.worker.training import Result
from talweg.worker.training.distributed.launcher import ProcessLostError

pytestmark = pytest.mark.faults

SECRET = "very-secret-12345678"
needs_landlock = pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
_OWN = namespaces.available()
needs_network = pytest.mark.skipif(
    not _OWN & Namespaces.NETWORK and landlock.abi() < landlock.NETWORK_ABI,
    reason="this system lets users have no network of their own",
)
needs_processes = pytest.mark.skipif(
    not _OWN & Namespaces.PID, reason="this system lets users have no processes of their own"
)


class Place:
    """A worker's folders, with secrets in them, and its sandbox."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            blobs=str(folder / "blobs"),
            data_cache=folder / "cache",
            spool_dir=folder / "spool",
            sandbox_memory_bytes=2 * 2**30,
        )
        self.secrets = [
            folder / "blobs/jobs/other/model/weights",
            folder / "spool/other/1/lines.jsonl",
            folder / "token",
        ]
        for secret in self.secrets:
            secret.parent.mkdir(parents=True, exist_ok=True)
            secret.write_text(SECRET)
        self.sandbox = Sandbox(self.settings)

    def attack(self, attack: str, *, spec: dict[str, Any] | None = None, **how: Any) -> Result:
        parameters = json.dumps({"attack": attack, **how})
        loss = {"plugin": {"name": "attack", "parameters": parameters}}
        return run(self.sandbox, tiny_spec(loss=loss, **(spec or {})))

    def found(self, attack: str, **how: Any) -> Any:
        """Return what an attack has found, by the error that it ends with."""
        result = self.attack(attack, **how)
        assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC), result.message
        return json.loads(result.message.partition("ValueError: ")[2])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    write_package(folder / "site", "attacks", ATTACKS, {"talweg.losses:attack": "make"})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "site")
        patch.setenv("TALWEG_TOKEN", SECRET)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("TALWEG_BROKER_URL", f"redis://:{SECRET}@127.0.0.1")
        place = Place(folder)
        yield place
        place.sandbox.close()


@pytest.fixture(autouse=True)
def others_go_on(place: Place) -> Iterator[None]:
    """After each attack a job of the same worker succeeds, and the attack has left nothing."""
    yield
    assert place.attack("nothing").state == Job.SUCCEEDED
    assert list((place.settings.data_cache / ".scratch").iterdir()) == []
    server = place.sandbox._server._process
    assert server is not None
    assert psutil.Process(server.pid).children(recursive=True) == []


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user that knows a secret."""
    code = "import time; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], env={"TALWEG_TOKEN": SECRET})
    yield process
    process.kill()
    process.wait()


@needs_landlock
def test_no_secret_is_in_an_environment(place: Place, other: subprocess.Popen[bytes]) -> None:
    found = place.found("environment", other=other.pid)
    assert SECRET not in json.dumps(found)
    assert "PermissionError" in found["read"] or "FileNotFoundError" in found["read"]
    assert not [name for name in found["own"] if "TOKEN" in name or "AWS" in name]
    assert "TALWEG_BROKER_URL" not in found["own"]


def test_no_secret_is_in_its_memory(place: Place) -> None:
    assert place.found("memory") == 0


@needs_landlock
def test_files_of_others_are_out_of_sight(place: Place, tmp_path: Path) -> None:
    places = [str(secret) for secret in place.secrets]
    folders = [str(secret.parent) for secret in place.secrets] + [str(tmp_path), "/tmp", "/root"]
    found = place.found("files", places=places, folders=folders)
    assert found["read"] == ["PermissionError"] * len(places)
    assert found["listed"] == ["PermissionError"] * len(folders)
    assert found["written"] == ["PermissionError"] * len(folders)
    assert found["home"] == "1"


@needs_network
def test_it_reaches_nobody(place: Place) -> None:
    name = f"talweg-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        udp.setblocking(False)
        unix.bind("\0" + name)
        unix.listen()
        found = place.found("connections", port=port, abstract=name)
        assert "connected" not in found
        if _OWN & Namespaces.NETWORK:
            with pytest.raises(BlockingIOError):
                udp.recv(10)


@needs_processes
def test_it_signals_nobody(place: Place, other: subprocess.Popen[bytes]) -> None:
    found = place.found("kill", others=[other.pid, os.getpid()])
    assert found == ["ProcessLookupError"] * 2
    assert other.poll() is None


def test_a_fork_bomb_ends_its_job(place: Place) -> None:
    result = place.attack("forks", count=400, seconds=600, size=0)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "The limit of 256 processes was reached: the job had " in result.message


def test_what_it_leaves_behind_goes_with_it(place: Place) -> None:
    # Which `others_go_on` looks for: it would run for a day.
    assert place.attack("daemon", seconds=86_400).state == Job.SUCCEEDED


def test_memory_is_limited_for_one_process(place: Place) -> None:
    result = place.attack("hoard", size=4 * 2**30)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert "A job with plug-ins may take 2 GiB here" in result.message


def test_memory_is_limited_for_all_processes(place: Place) -> None:
    result = place.attack("forks", count=5, seconds=600, size=2**29)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert "The memory limit of 2 GiB was reached: the job's processes took " in result.message


@pytest.mark.parametrize(("size", "count"), [(200 * 2**20, 1), (2**20, 200)])
def test_the_disk_is_limited(size: int, count: int, place: Place) -> None:
    spec = {"resources": {"disk_gb": 0.1}}
    result = place.attack("fill", spec=spec, size=size, count=count)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "The disk limit of 0.1 GiB was reached" in result.message
    assert "resources.disk_gb" in result.message


def test_junk_is_no_message(place: Place) -> None:
    with pytest.raises(ProcessLostError, match="sent what cannot be"):
        place.attack("junk")


def test_no_link_makes_the_worker_read_a_file_of_its_own(place: Place) -> None:
    with pytest.raises(ProcessLostError, match="weights.safetensors cannot be read"):
        place.attack("links", target=str(place.secrets[0]))


def test_it_says_how_it_has_died(place: Place) -> None:
    with pytest.raises(ProcessLostError, match=signal.SIGSEGV.name):
        place.attack("die")
