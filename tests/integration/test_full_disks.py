"""One file system of a stack after another is full: of bytes, or of files.

Each is one that a folder of a stack may be on alone. Minutes long: `make faults`.
"""

import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from tests._parts import wait_until
from tests.integration.small_disks import SmallDisk, small_disks
from tests.integration.stack import TALWEG, Stack, tiny_spec

from talweg.client import Client, Job, TalwegError, Unavailable

pytestmark = pytest.mark.faults

# Room for a job's files beside what a worker must have to take one.
SIZE = "size=80M,nr_inodes=3000,mode=700"
Disks = Mapping[str, SmallDisk]


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Disks]]:
    folder = tmp_path_factory.mktemp("disks")
    record = f"sqlite:///{folder}/data/record/talweg.db"
    names = ("spool", "blobs", "uploads", "logs", "record")
    with small_disks(
        folder, *names, size=SIZE, TALWEG_DATABASE_URL=record, TALWEG_LEASE_SECONDS="10"
    ) as (stack, disks):
        # MLflow writes its log while it starts.
        wait_until(lambda: "tracking" in stack.facts["parts"], timeout=120, what="MLflow")
        yield stack, disks


@pytest.fixture
def stack(confined: tuple[Stack, Disks]) -> Stack:
    return confined[0]


@pytest.fixture
def disks(confined: tuple[Stack, Disks]) -> Iterator[Disks]:
    yield confined[1]
    for disk in confined[1].values():
        disk.make_room()


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.address, timeout=timedelta(seconds=20)) as client:
        yield client
    assert stack.process.poll() is None


def begun(client: Client) -> Job:
    """Submit a job of some minutes, and return it once it has a checkpoint."""
    job = client.submit(
        tiny_spec(
            experiment="disks",
            training={
                "steps": 100_000,
                "log_every_steps": 50,
                "evaluate_every_epochs": 500,
                "checkpoints": {"every_steps": 500},
            },
        )
    )
    wait_until(
        lambda: job.refresh().state == "RUNNING" and len(job.message.checkpoints) > 1,
        timeout=120,
        what="it trains",
    )
    return job


def stopped(job: Job) -> None:
    """The rest of its steps would tell nothing more."""
    job.cancel("enough was seen")
    assert job.wait(timedelta(minutes=6)).state == "CANCELLED"
    wait_until(lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered")


def lines(job: Job) -> list[str]:
    return [event.log.text for event in job.watch() if event.log.text]


def trouble(stack: Stack, name: str) -> str:
    """Return what the status says of a part in trouble, and what to do."""
    # As somebody sees it for whom the folders are on those file systems.
    inside = ("nsenter", "--target", str(stack.process.pid), "--user", "--mount")
    rows = subprocess.run(
        [*inside, "--preserve-credentials", *TALWEG, "status"],
        env=stack.env,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    (index,) = [i for i, row in enumerate(rows) if row.split()[:2] == [name, "trouble"]]
    assert rows[index + 1].split()[:2] == ["to", "do"]
    return rows[index]


def all_is_well(stack: Stack) -> None:
    wait_until(lambda: stack.run("status").returncode == 0, timeout=120, what="all is well")


@pytest.mark.parametrize("kind", ["bytes", "files"])
def test_checkpoints(kind: str, stack: Stack, disks: Disks, client: Client) -> None:
    job = begun(client)
    step = job.refresh().message.checkpoints[-1].step

    def goes_on() -> bool:
        # A checkpoint that is removed makes room for another one.
        fill(disks["blobs"], kind)
        return job.refresh().message.progress.step > step + 2000

    wait_until(goes_on, timeout=120, what="it trains on")
    assert "blobs" in trouble(stack, "blobs")
    kept = [each.step for each in job.refresh().message.checkpoints]
    # The last good one stands, and is there.
    assert kept
    names = {path.name.partition(".")[0] for path in disks["blobs"].folder.rglob("*.json")}
    assert {each.name.rpartition("/")[2] for each in job.message.checkpoints} <= names
    # What ends meanwhile succeeds; its files follow.
    tiny = client.submit(tiny_spec(experiment="disks", outputs={"model": True, "plots": True}))
    disks["blobs"].make_room()
    wait_until(
        lambda: (c := job.refresh().message.checkpoints) and c[-1].step > kept[-1] + 1000,
        timeout=120,
        what="checkpoints are written again",
    )
    assert (job.state, job.message.attempt) == ("RUNNING", 1)
    stopped(job)
    said = [line for line in lines(job) if "could not be saved" in line]
    assert said
    assert "is kept" in said[-1]
    assert tiny.wait(timedelta(minutes=6)).state == "SUCCEEDED"
    all_is_well(stack)


def fill(disk: SmallDisk, kind: str) -> None:
    if kind == "bytes":
        disk.fill()
    else:
        disk.fill_inodes()


@pytest.mark.parametrize("kind", ["bytes", "files"])
def test_spool(kind: str, stack: Stack, disks: Disks, client: Client) -> None:
    job = begun(client)
    waiting = client.submit(tiny_spec(experiment="disks"))
    fill(disks["spool"], kind)
    if kind == "bytes":
        wait_until(lambda: job.refresh().state == "QUEUED", timeout=60, what="it is given back")
        assert "the worker's disk is full" in job.message.waiting_reason
    else:
        # Its lines go into a file that is there; what is delivered cannot be noted.
        job.cancel("enough was seen")
        assert job.wait(timedelta(minutes=6)).state == "CANCELLED"
    wait_until(
        lambda: "takes jobs now" in waiting.refresh().message.waiting_reason,
        timeout=60,
        what="the reason",
    )
    assert "spool has " in waiting.message.waiting_reason
    assert "takes no jobs" in trouble(stack, "workers")
    kept = [each.step for each in job.refresh().message.checkpoints]
    disks["spool"].make_room()
    if kind == "bytes":
        wait_until(lambda: job.refresh().state == "RUNNING", timeout=90, what="it goes on")
        stopped(job)
        # Or from a later one, which it could not report.
        (said,) = [line for line in lines(job) if line.startswith("Resumes from the checkpoint")]
        assert int(said.rstrip(".").split()[-1]) >= kept[-1]
    assert waiting.wait(timedelta(minutes=6)).state == "SUCCEEDED"
    all_is_well(stack)


@pytest.mark.parametrize("kind", ["bytes", "files"])
@pytest.mark.parametrize("place", ["uploads", "blobs"])
def test_upload(
    place: str, kind: str, stack: Stack, disks: Disks, client: Client, tmp_path: Path
) -> None:
    table = tmp_path / f"{place}_{kind}.csv"
    # What is stored already would not be stored again.
    salt = 10 * len(place) + (3 if kind == "bytes" else 5)
    table.write_text("a,b\n" + "".join(f"{i},{(i * salt) % 97}\n" for i in range(3_000)))
    fill(disks[place], kind)
    add = ("data", "add", str(table), "--name", f"{place}-{kind}")
    assert place in trouble(stack, "blobs")
    if place == "uploads":
        said = stack.run(*add)
        assert said.returncode != 0
        assert "make room in TALWEG_UPLOADS" in said.stderr
        disks[place].make_room()
        said = stack.run(*add)
    else:
        # The client tries again by itself for ten minutes.
        log = disks["logs"].folder / "server.log"
        before = log.read_text().count("the blob store fails")
        with ThreadPoolExecutor(1) as pool:
            adding = pool.submit(stack.run, *add)
            wait_until(
                lambda: log.read_text().count("the blob store fails") > before + 1,
                timeout=60,
                what="it is tried again",
            )
            disks[place].make_room()
            said = adding.result()
    assert said.returncode == 0, said.stderr
    all_is_well(stack)


def test_record(stack: Stack, disks: Disks, client: Client) -> None:
    job = begun(client)
    accepted = [client.submit(tiny_spec(experiment="disks")) for _ in range(3)]
    disks["record"].fill()

    def submit_many() -> None:
        for _ in range(200):
            accepted.append(client.submit(tiny_spec(experiment="disks")))

    with pytest.raises(Unavailable) as refused:
        submit_many()
    assert "the record's disk is full" in str(refused.value)
    assert "cannot be read or written" in trouble(stack, "database")
    step = job.refresh().message.progress.step
    # Longer than its lease.
    wait_until(lambda: spool_bytes(disks, job) > 0, timeout=30, what="results are kept")
    since = spool_bytes(disks, job)
    wait_until(lambda: spool_bytes(disks, job) > since + 40_000, timeout=120, what="it trains on")
    disks["record"].make_room()
    wait_until(
        lambda: job.refresh().message.progress.step > step + 500, timeout=60, what="told again"
    )
    assert (job.state, job.message.attempt) == ("RUNNING", 1)
    stopped(job)
    for each in accepted:
        assert each.wait(timedelta(minutes=6)).state == "SUCCEEDED"
    all_is_well(stack)
    said = (disks["logs"].folder / "server.log").read_text()
    assert " lost jobs/" not in said
    assert "Traceback" not in said


def spool_bytes(disks: Disks, job: Job) -> int:
    folder = disks["spool"].folder / job.id
    return sum(path.stat().st_size for path in folder.rglob("lines.jsonl"))


def test_logs(stack: Stack, disks: Disks, client: Client) -> None:
    job = begun(client)
    disks["logs"].fill()
    assert "logs" in trouble(stack, "disk")
    for part in ("server", "worker-0"):
        # What is started anew appends to its log.
        stack.kill(part)
    tiny = client.submit(tiny_spec(experiment="disks"))
    with pytest.raises(TalwegError):
        client.submit({"task": "regression"})
    wait_until(
        lambda: job.refresh().state == "RUNNING" and job.message.attempt > 1,
        timeout=120,
        what="it is resumed",
    )
    stopped(job)
    assert tiny.wait(timedelta(minutes=6)).state == "SUCCEEDED"
    disks["logs"].make_room()
    stack.kill("server")
    wait_until(
        lambda: (disks["logs"].folder / "server.log").read_text().rstrip().endswith(stack.address),
        timeout=60,
        what="the log is written again",
    )
    all_is_well(stack)
