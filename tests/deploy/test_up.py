"""`talweg up` from its start to its end, with every real service."""

import http.client
import json
import os
import pwd
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml
from tests._parts import wait_until
from tests.deploy.upped import START_SECONDS, Upped, guardian_of, processes_of, running_up, talweg

from talweg.client import Client, Job, Unavailable

TINY = {
    "task": "multiclass",
    "dataset": "iris",
    "model": "linear",
    "loss": "cross_entropy",
    "training": {"steps": 5},
    "outputs": {"model": False, "plots": False},
}
TAKEN = {"server": 7070, "tracking": 5000, "broker": 6379}


def is_gone(data: Path) -> bool:
    return not processes_of(data)


@contextmanager
def taken_ports() -> Iterator[None]:
    """Have the preferred ports taken, by these tests or by somebody else."""
    with ExitStack() as stack:
        for port in TAKEN.values():
            listener = stack.enter_context(socket.socket())
            # As servers do, so that only a listener counts and no connection of before.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                listener.listen()
        yield


@dataclass(frozen=True)
class FirstLife:
    """What a stack that was stopped has left."""

    data: Path
    job: str
    """The id of a job that has succeeded."""
    long: str
    """The id of a job that was in training."""


@pytest.fixture(scope="module")
def first_life(tmp_path_factory: pytest.TempPathFactory) -> FirstLife:
    """Start a stack while its ports are taken, use it, and stop it."""
    folder = tmp_path_factory.mktemp("up")
    data, pointer = folder / "data", folder / "state/talweg/stack.json"
    # No lease runs out here: a job comes back only if it is given back.
    with taken_ports(), running_up(data, TALWEG_LEASE_SECONDS="3600") as up:
        up.wait_for("broker", "server", "worker-0")
        facts = up.facts
        assert facts["pid"] == up.process.pid
        assert facts["data"] == str(data)
        assert set(facts["versions"]) == {"talweg", "python", "torch", "mlflow"}
        wait_until(
            lambda: json.loads(pointer.read_text()) == up.facts, timeout=5, what="both are alike"
        )
        secret = (data / "broker-password").read_text().strip()
        assert secret not in (data / "stack.json").read_text()
        for service, address in [(p, facts[p].removeprefix("http://")) for p in TAKEN]:
            host, port = address.split(":")
            assert host == "127.0.0.1"
            assert int(port) > TAKEN[service]
        wait_until(lambda: "Ready in " in up.output, timeout=5, what="it says that it is ready")
        assert all(facts[service].removeprefix("http://") in up.output for service in TAKEN)

        with Client(facts["server"]) as client:
            job = client.submit(TINY)
            assert job.wait(360).state == "SUCCEEDED"
            long = client.submit({**TINY, "training": {"steps": 1_000_000}})
            wait_until(lambda: long.refresh().state == "RUNNING", timeout=30, what="it runs")

        second = talweg(data, "up")
        assert second.returncode == 1
        assert f"process {up.process.pid} " in second.stderr
        assert str(data) in second.stderr

        assert {"broker", "server", "worker-0"} <= set(up.facts["parts"])
        assert len(processes_of(data)) >= 6
        stopped = talweg(data, "down", "--data", str(data))
        assert (stopped.returncode, stopped.stderr) == (0, "")
        assert f"stopped the stack at {facts['server']}" in stopped.stdout
        assert up.process.wait(180) == 0
        assert is_gone(data)
        assert not (data / "stack.json").exists()
        assert not pointer.exists()
    return FirstLife(data, job.id, long.id)


@pytest.fixture(scope="module")
def up(first_life: FirstLife) -> Iterator[Upped]:
    """The stack again, with what it held."""
    with running_up(first_life.data, "--port", "0", TALWEG_LEASE_SECONDS="3") as up:
        up.wait_for("server", "worker-0", "tracking")
        with Client(up.facts["server"]) as client:
            again = client.job(first_life.long)
            # It was given back, so that nobody waits for its lease to run out.
            wait_until(lambda: again.refresh().message.attempt == 2, timeout=10, what="it goes on")
            again.cancel()
        yield up


def test_a_second_life_has_the_jobs_of_the_first(up: Upped, first_life: FirstLife) -> None:
    assert first_life.job in talweg(up.data, "jobs").stdout
    with Client(up.facts["server"]) as client:
        assert {first_life.job, first_life.long} <= {found.id for found in client.jobs()}
        assert client.job(first_life.job).state == "SUCCEEDED"
    assert (up.data / "logs/server.log.1").exists()


def train(up: Upped) -> Job:
    with Client(up.facts["server"]) as client:
        job = client.submit(TINY)
        assert job.wait(360).state == "SUCCEEDED"
        return job


def answers(up: Upped) -> bool:
    try:
        with Client(up.facts["server"]) as client:
            client.status()
    except Unavailable:
        return False
    return True


def kill(up: Upped, service: str) -> None:
    pid = up.pid(service)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: up.pid(service) != pid, timeout=20, what=f"{service} started again")
    wait_until(lambda: answers(up), timeout=60, what="the server answers")


# The worker is killed below, and whenever a file cannot be written.
@pytest.mark.parametrize("service", ["server", "broker"])
def test_a_service_that_is_killed_comes_back_at_its_address(up: Upped, service: str) -> None:
    before = up.facts
    kill(up, service)
    train(up)
    after = up.facts
    assert [after[name] for name in TAKEN] == [before[name] for name in TAKEN]
    for other in set(before["parts"]) - {service}:
        assert after["parts"][other] == before["parts"][other]


def test_a_stack_file_that_cannot_be_written_ends_nothing(up: Upped) -> None:
    """As on a full disk. A folder where the file is written aside stands for it."""
    in_the_way = up.data / f".stack.json.{up.process.pid}"
    in_the_way.mkdir()
    before = up.facts
    os.kill(up.pid("worker-0"), signal.SIGKILL)
    wait_until(lambda: "stack.json cannot be written" in up.output, timeout=20, what="it says so")
    wait_until(lambda: "restarting it" in up.output, timeout=20, what="the worker starts again")
    assert up.facts == before
    train(up)
    in_the_way.rmdir()
    wait_until(lambda: up.facts != before, timeout=20, what="the file is written")
    assert up.facts["parts"].keys() == before["parts"].keys()
    for other in set(before["parts"]) - {"worker-0"}:
        assert up.facts["parts"][other] == before["parts"][other]
    assert psutil.pid_exists(up.pid("worker-0"))
    assert up.output.count("stack.json cannot be written") == 1


def test_a_broker_that_is_wiped_comes_back(up: Upped) -> None:
    address = up.facts["broker"]
    shutil.rmtree(up.data / "broker")
    kill(up, "broker")
    train(up)
    assert up.facts["broker"] == address


def test_mlflow_is_one_process_and_comes_back(up: Upped) -> None:
    process = psutil.Process(up.pid("tracking"))
    assert "talweg.deploy.services._mlflow" in process.cmdline()
    assert process.children() == []
    host, _, port = up.facts["tracking"].removeprefix("http://").partition(":")
    # As a page of another site sends it, whose name leads to this machine.
    connection = http.client.HTTPConnection(host, int(port), timeout=180)
    with closing(connection):
        connection.request("GET", "/", headers={"Host": "elsewhere.example"})
        assert connection.getresponse().status == http.client.FORBIDDEN
    kill(up, "tracking")
    job = train(up)
    with Client(up.facts["server"]) as client:
        wait_until(
            lambda: client.job(job.name).message.tracking.complete, timeout=90, what="delivered"
        )


def socket_of_nobody() -> socket.socket:
    """Make a socket that belongs to another user of the machine."""
    if os.geteuid() != 0:
        pytest.skip("only the superuser may act as somebody else")
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        return socket.socket()
    finally:
        os.seteuid(0)


def address_of(up: Upped) -> tuple[str, int]:
    host, _, port = up.facts["tracking"].removeprefix("http://").partition(":")
    return host, int(port)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes


def test_mlflow_opens_to_its_user_and_to_others_by_its_token_or_a_link(up: Upped) -> None:
    up.wait_for("tracking")
    token = up.data / "mlflow-token"
    assert token.stat().st_mode & 0o777 == 0o600
    secret = token.read_text().strip()
    for each in processes_of(up.data):
        assert secret not in " ".join(each.cmdline())

    def ask(path: str, headers: Mapping[str, str], *, make: Callable[[], socket.socket]) -> Answer:
        address = up.facts["tracking"].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=180)
        connection.sock = make()
        with closing(connection):
            connection.sock.settimeout(180)
            connection.sock.connect((connection.host, connection.port))
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def answers() -> bool:
        with suppress(OSError):
            return ask("/health", {}, make=socket.socket).status == http.client.OK
        return False

    # An earlier test has ended it.
    wait_until(answers, timeout=START_SECONDS, what="MLflow answers")
    other = partial(ask, make=socket_of_nobody)
    # Whoever reads the ports of the owner's connections may name one of them.
    with closing(socket.create_connection(address_of(up))) as own:
        forged = {"X-Forwarded-For": "{}:{}".format(*own.getsockname())}
        assert other("/", forged).status == http.client.UNAUTHORIZED
    # Pages, both interfaces for programs, files.
    search = "experiments/search?max_results=1"
    paths = ("/", f"/api/2.0/mlflow/{search}", f"/ajax-api/2.0/mlflow/{search}",
             "/api/2.0/mlflow-artifacts/artifacts", "/get-artifact?path=x&run_uuid=y",
             "/static-files/index.html", "/docs")  # fmt: skip
    for path in paths:
        assert ask(path, {}, make=socket.socket).status != http.client.UNAUTHORIZED, path
    for path in paths:
        for headers in ({}, {"Authorization": "Bearer none"}, {"Cookie": "talweg=none"}):
            answer = other(path, headers)
            assert answer.status == http.client.UNAUTHORIZED, path
            assert "MLFLOW_TRACKING_TOKEN" in json.loads(answer.body)["message"]
    assert other(paths[1], {"Authorization": f"Bearer {secret}"}).status == http.client.OK
    assert "programs need the token" not in talweg(up.data, "status").stdout
    link = talweg(up.data, "open", "--print").stdout.strip()
    assert link.startswith(f"{up.facts['tracking']}/?token=")
    given = other(link.removeprefix(up.facts["tracking"]), {})
    assert (given.status, given.headers["Location"]) == (http.client.SEE_OTHER, "./")
    cookie = given.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    page = other("/", {"Cookie": cookie.partition(";")[0], "Accept": "text/html"})
    assert page.status == http.client.OK
    # Neither is in a log, nor where what is printed may be kept.
    for log in (up.data / "logs").iterdir():
        assert secret not in (text := log.read_text())
        assert "token=" not in text
    assert secret not in (up.data / "stack.json").read_text()
    assert "token=" not in up.output


def test_delivery_comes_back(up: Upped) -> None:
    def delivery() -> psutil.Process | None:
        for process in processes_of(up.data):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "talweg.worker.tracking" in process.cmdline():
                    return process
        return None

    first = wait_until(delivery, timeout=30, what="delivery runs")
    assert first is not None
    first.kill()

    def another() -> bool:
        now = delivery()
        return now is not None and now.pid != first.pid

    wait_until(another, timeout=30, what="delivery runs again")
    job = train(up)
    with Client(up.facts["server"]) as client:
        wait_until(
            lambda: client.job(job.name).message.tracking.complete, timeout=90, what="delivered"
        )


def test_everything_listens_on_loopback_alone(up: Upped) -> None:
    # gRPC listens on IPv4's loopback as IPv6 writes it.
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in processes_of(up.data)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_every_file_is_the_owners_alone(up: Upped) -> None:
    train(up)
    found = [up.data, *up.data.rglob("*")]
    assert up.data / "talweg.db" in found
    assert up.data / "mlflow/mlflow.db" in found
    open_to_others = []
    for path in found:
        # Some come and go.
        with suppress(FileNotFoundError):
            if path.stat().st_mode & 0o077:
                open_to_others.append(path)
    assert open_to_others == []


def test_no_argument_holds_the_password(up: Upped) -> None:
    secret = (up.data / "broker-password").read_text().strip()
    lines = []
    for process in processes_of(up.data):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            lines.append(" ".join(process.cmdline()))
    # The broker, the server, the worker, MLflow and `talweg up` at least.
    assert len(lines) >= 5
    assert [line for line in lines if secret in line] == []


# The last that uses the stack: it ends it.
def test_no_service_outlives_a_stack_that_is_killed(up: Upped) -> None:
    guardian = guardian_of(up.process.pid)
    assert guardian is not None
    # In one instant, so that nobody is left to see to the services.
    up.process.send_signal(signal.SIGSTOP)
    guardian.kill()
    up.process.kill()
    up.process.wait()
    wait_until(lambda: is_gone(up.data), timeout=5, what="no service has outlived `talweg up`")


def test_a_wanted_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = talweg(tmp_path / "data", "up", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert is_gone(tmp_path / "data")


def test_a_wrong_job_file_is_told_before_anything_starts(tmp_path: Path) -> None:
    batch = tmp_path / "batch.yaml"
    batch.write_text(yaml.safe_dump({**TINY, "los": "mse"}))
    done = talweg(tmp_path / "data", "up", "--submit", str(batch))
    assert done.returncode == 2
    assert "los" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = talweg(tmp_path / "file/data", "up")
    assert done.returncode == 1
    assert str(tmp_path / "file/data") in done.stderr
    assert "Traceback" not in done.stderr


def test_once_ends_after_the_table(tmp_path: Path) -> None:
    data, batch = tmp_path / "data", tmp_path / "batch.yaml"
    base = {**TINY, "task": "regression", "dataset": "diabetes", "loss": "mse"}
    jobs = [{"training": {"seed": seed}} for seed in range(2)]
    batch.write_text(yaml.safe_dump({"base": base, "jobs": jobs}))
    # Nothing waits for MLflow, so it may be away.
    elsewhere = {"TALWEG_TRACKING_URI": "http://127.0.0.1:9"}
    with running_up(data, "--port", "0", "--submit", str(batch), "--once", **elsewhere) as up:
        assert up.process.wait(540) == 0
        assert is_gone(data)
        (row,) = [line for line in up.output.splitlines() if line.startswith("mse ")]
        assert row.split()[-1] == "2/2"

    # At this learning rate training does not stay finite.
    wild = {"optimizer": {"sgd": {"learning_rate": 1000}}, "training": {"steps": 100}}
    batch.write_text(yaml.safe_dump({"base": base, "jobs": [*jobs, wild]}))
    with running_up(data, "--port", "0", "--submit", str(batch), "--once", **elsewhere) as up:
        assert up.process.wait(540) == 1
        assert "MLflow    http://127.0.0.1:9\n" in up.output
        assert is_gone(data)
        assert "DIVERGED" in up.output
        *_, row = [line for line in up.output.splitlines() if line.startswith("mse ")]
        assert row.split()[-1] == "2/3"
