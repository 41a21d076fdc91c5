"""What the worker takes from a process that it does not trust, and what that process gets."""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from tests.worker._jobs import tiny_spec

from talweg.blobs import Blobs, job_blobs
from talweg.spec.stored import DatasetName, stored_versions
from talweg.worker.confinement import landlock, namespaces
from talweg.worker.confinement.confining import confine
from talweg.worker.confinement.environment import cleaned
from talweg.worker.confinement.namespaces import Namespaces
from talweg.worker.sandbox import inputs, usage
from talweg.worker.sandbox.limits import Limits
from talweg.worker.sandbox.messages import MAX_BYTES, Connection, ProtocolError
from talweg.worker.sandbox.sandbox import Sandbox
from talweg.worker.sandbox.scratch import Exchange, scratch_folder
from talweg.worker.settings import Settings

SECRETS = {
    "TALWEG_TOKEN": "t",
    "TALWEG_TOKEN_FILE": "/t",
    "TALWEG_BROKER_URL": "redis://:p@h",
    "TALWEG_TRACKING_URI": "http://u:p@h",
    "AWS_SECRET_ACCESS_KEY": "k",
    "MLFLOW_TRACKING_PASSWORD": "p",
    "http_proxy": "http://u:p@h",
    "DATABASE_URL": "postgresql://u:p@h",
}


def test_the_environment_holds_what_computes_alone() -> None:
    useful = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "1", "MINE": "x"}
    passed = cleaned(["MINE"], environ=SECRETS | useful)
    assert passed.keys() == useful.keys() | {"PYTHONPATH"}
    assert "MINE" not in cleaned(environ=useful)


_INTERFACES = """
import socket
from talweg.worker.confinement import namespaces
namespaces.enter(namespaces.available())
print([name for _, name in socket.if_nameindex()])
"""


def in_a_child(do: Callable[[], object]) -> str:
    """Do something in a child of its own, and return what comes of it, or the error's name."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            said = str(do())
        except BaseException as exc:
            said = type(exc).__name__
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading) as told:
        return told.read()


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_a_confined_process_sees_its_own_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests of plug-ins may have left their folders there, which can be read then.
    elsewhere = [each for each in sys.path if not tmp_path.is_relative_to(each or ".")]
    monkeypatch.setattr(sys, "path", elsewhere)
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "file").write_text("content")

    def confined(do: Callable[[], object]) -> str:
        def act() -> object:
            confine(writable=[own])
            return do()

        return in_a_child(act)

    assert confined((own / "file").read_text) == "content"
    assert confined(lambda: (own / "new").write_text("x")) == "1"
    assert confined((other / "file").read_text) == "PermissionError"
    assert confined(lambda: os.listdir(other)) == "PermissionError"
    assert confined(lambda: (other / "new").write_text("x")) == "PermissionError"

    # No way around it by a link, nor by a name of its own.
    def linked() -> object:
        os.link(other / "file", own / "link")
        return None

    def moved() -> object:
        os.rename(other / "file", own / "link")
        return None

    # Refused as between file systems, or as what may not be removed.
    assert {confined(linked), confined(moved)} <= {"OSError", "PermissionError"}
    assert not (own / "link").exists()
    assert confined(Path(os.__file__).exists) == "True"
    assert confined(lambda: Path("/proc/1/environ").read_bytes()) == "PermissionError"


@pytest.mark.skipif(
    landlock.abi() < landlock.NETWORK_ABI, reason="Landlock of this kernel knows no network"
)
def test_a_confined_process_connects_to_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def connect() -> object:
            confine()
            return socket.create_connection(address, timeout=5)

        assert in_a_child(connect) == "PermissionError"


def test_namespaces_are_of_this_process_alone() -> None:
    own = namespaces.available()
    if not own & Namespaces.NETWORK:
        pytest.skip("users have no networks of their own here")

    # Of a fresh process: gRPC starts threads in a forked one, and a user's namespace takes one.
    done = subprocess.run(
        [sys.executable, "-c", _INTERFACES], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['lo']"
    assert in_a_child(lambda: namespaces.enter(Namespaces.NONE)) == "None"


def test_messages_arrive_whole_or_are_refused() -> None:
    ends = socket.socketpair()
    here, there = Connection(ends[0]), Connection(ends[1])
    there.send(told=[["log", [1, "a" * 100_000]]])
    assert here.receive()["told"][0][1] == [1, "a" * 100_000]
    assert here.poll(0) is None
    for content, what in (
        (struct.pack("<I", MAX_BYTES + 1), "may have"),
        (b"\x02\0\0\0[]", "no JSON object"),
        (b"\x02\0\0\0{]", "is no JSON"),
        (struct.pack("<I", 200_000) + b"[" * 200_000, "is no JSON"),
    ):
        mine, theirs = socket.socketpair()
        connection = Connection(mine)
        with theirs:
            theirs.sendall(content)
            with pytest.raises(ProtocolError, match=what):
                connection.receive()
        connection.close()
    there.close()
    with pytest.raises(ProtocolError, match="is gone"):
        here.receive()
    here.close()


def test_files_are_taken_by_their_names_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    folder = tmp_path / "exchange"
    folder.mkdir()
    exchange = Exchange(folder, most_bytes=10)
    os.symlink(secret, folder / "link")
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(bytes(11))
    for name in ("link", "pipe", "large"):
        with pytest.raises(ProtocolError, match=name):
            exchange.read(name)
    assert exchange.read("none") is None
    exchange.write("link", b"mine")
    assert exchange.read("link") == b"mine"
    assert secret.read_text() == "s"
    exchange.close()


def test_a_scratch_folder_goes_with_its_job(tmp_path: Path) -> None:
    parent = tmp_path / "scratch"
    left = parent / "left"
    (left / "home").mkdir(parents=True)
    # A worker may have been killed at any line.
    left.with_name("left.lock").touch()
    (parent / "without_lock").mkdir()
    (parent / "without_folder.lock").touch()
    with scratch_folder(parent) as folder, scratch_folder(parent) as other:
        # That of a worker that was killed is gone; those in use are not.
        lock, other_lock = (each.with_suffix(".lock") for each in (folder, other))
        assert set(parent.iterdir()) == {folder, lock, other, other_lock}
        (folder / "home/closed/below").mkdir(parents=True)
        (folder / "home/closed").chmod(0)
        os.symlink("/", folder / "home/root")
        assert usage.disk_of(folder) < 2**20
    assert list(parent.iterdir()) == []


def test_no_worker_removes_what_another_is_making(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_another() -> None:
        with scratch_folder(tmp_path):
            pass

    def flock_late(file: IO[str] | int, operation: int) -> None:
        if not isinstance(file, int) and threading.current_thread() is threading.main_thread():
            # It waits for this one, and so does not end.
            other.start()
            other.join(0.5)
        real(file, operation)

    real, other = fcntl.flock, threading.Thread(target=make_another)
    monkeypatch.setattr(fcntl, "flock", flock_late)
    with scratch_folder(tmp_path) as folder:
        other.join()
        assert (folder / "home").is_dir()


def test_a_job_reads_what_its_spec_names(tmp_path: Path) -> None:
    digest, other = "a" * 64, "b" * 64
    spec = tiny_spec()
    spec.dataset.stored.name, spec.dataset.stored.digest = "mine", digest
    spec.weights.job = "jobs/first"
    url, own = str(tmp_path), tmp_path / "projects" / "vision"
    blobs = job_blobs(url, "vision")
    names = {f"datasets/{digest}", "jobs/first/artifacts"}
    assert set(inputs.readable(spec, blobs)) == {own / name for name in names}
    assert set(inputs.readable(spec, Blobs(url))) == {tmp_path / name for name in names}
    # What its project had stored before it had a prefix.
    Blobs(url).write("jobs/first/artifacts/1/training.json", b"{}")
    old = job_blobs(url, "vision", root_digests=[digest])
    assert set(inputs.readable(spec, old)) == {tmp_path / name for name in names}
    spec.weights.ClearField("job")
    spec.weights.stored = f"datasets/start@{other}"
    mine, start = DatasetName("mine", digest), DatasetName("start", other)
    assert stored_versions(spec) == {mine, start}
    # Whoever has forged a digest gets no folder for it.
    spec.dataset.stored.digest = "../.."
    assert stored_versions(spec) == {start}


def test_plugins_enter_the_sandbox_and_limits_follow_the_spec(tmp_path: Path) -> None:
    settings = Settings(blobs=str(tmp_path), sandbox_disk_bytes=2**30)
    nested = {"sum": {"terms": [{"loss": {"plugin": "own"}}]}}
    plain, plugin = tiny_spec(), tiny_spec(loss=nested, resources={"disk_gb": 0.5})
    sandbox = Sandbox(settings)
    assert [sandbox.takes(plain), sandbox.takes(plugin)] == [False, True]
    assert not Sandbox(Settings(blobs=str(tmp_path), sandbox="off")).takes(plugin)
    free = 10 * 2**30
    assert Limits.of(plugin, settings, free).disk_bytes == 2**29
    assert Limits.of(plain, settings, free).disk_bytes == 2**30
    assert Limits.of(plain, settings, free).memory_bytes == 9 * 2**30
