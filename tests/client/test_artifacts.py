"""Files of jobs through the client and the command line, from a real server and a real store."""

import json
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from tests.client.commands import Talweg
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.blobs import PICTURES, TRAINING, Blobs, write_artifacts
from talweg.client import (
    Artifact,
    Client,
    FailedPrecondition,
    InvalidRequest,
    Job,
    NotFound,
    ServerError,
    Unavailable,
)
from talweg.client.results import _artifacts
from talweg.v1 import jobs_pb2

WEIGHTS = bytes(range(256)) * 10_000  # 2.5 MiB: three chunks
WEIGHTS_PATH = "model/weights.safetensors"
FILES = {
    "job.yaml": b"task: regression\n",
    WEIGHTS_PATH: WEIGHTS,
    "model/model.json": b"{}",
}


@pytest.fixture
def service(faulty: FaultyServer) -> FaultyServer:
    return faulty


@pytest.fixture
def blobs(faulty: FaultyServer) -> Blobs:
    return Blobs(faulty.blobs)


@pytest.fixture
def ended(client: Client, worker: Worker, blobs: Blobs) -> Job:
    """A job that has ended, with its files and without its plots."""
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    write_artifacts(blobs, job.name, 1, TRAINING, FILES, awaits=[PICTURES])
    attempt.finish()
    return job.refresh()


def test_files_arrive_whole_under_their_paths(ended: Job, tmp_path: Path) -> None:
    arrived: dict[str, list[int]] = {}

    def progress(file: Artifact, num_bytes: int) -> None:
        arrived.setdefault(file.path, []).append(num_bytes)

    written = ended.download("model", tmp_path / "got", progress=progress)
    assert written == [tmp_path / "got" / path for path in sorted(FILES)[1:]]
    for path in written:
        assert path.read_bytes() == FILES[str(path.relative_to(tmp_path / "got"))]
    assert len(list((tmp_path / "got").rglob("*"))) == 3, "nothing else is left"
    counts = arrived[WEIGHTS_PATH]
    assert counts == [0, 1 << 20, 2 << 20, len(WEIGHTS)]


def test_a_break_costs_nothing_that_has_arrived(
    ended: Job, faulty: FaultyServer, tmp_path: Path
) -> None:
    lost = grpc.StatusCode.UNAVAILABLE
    faulty.fail_next("DownloadArtifact event", None, lost, None, lost)
    asked: list[int] = []
    (path,) = ended.download(
        WEIGHTS_PATH, tmp_path, progress=lambda file, num_bytes: asked.append(num_bytes)
    )
    assert path.read_bytes() == WEIGHTS
    assert faulty.calls.count("DownloadArtifact") == 3
    assert asked == sorted(set(asked)), "no byte came twice"


def test_a_later_download_goes_on_and_a_whole_file_is_not_sent_again(
    ended: Job, faulty: FaultyServer, tmp_path: Path
) -> None:
    (file,) = ended.artifacts(WEIGHTS_PATH)
    part = tmp_path / "model" / f".weights.safetensors.{file.sha256[:16]}.part"
    part.parent.mkdir()
    part.write_bytes(WEIGHTS[: 2 << 20])
    arrived: list[int] = []
    ended.download("model/", tmp_path, progress=lambda each, count: arrived.append(count))
    assert 0 in arrived, "the other file came from its beginning"
    assert [count for count in arrived if count > 2] == [2 << 20, len(WEIGHTS)]
    assert not part.exists()
    calls = faulty.calls.count("DownloadArtifact")
    ended.download("model", tmp_path)
    assert faulty.calls.count("DownloadArtifact") == calls


@pytest.mark.parametrize("left", [b"x" * 100, b"x" * (len(WEIGHTS) + 1), b"x" * len(WEIGHTS)])
def test_a_damaged_remainder_is_received_anew(ended: Job, tmp_path: Path, left: bytes) -> None:
    (file,) = ended.artifacts(WEIGHTS_PATH)
    part = tmp_path / "model" / f".weights.safetensors.{file.sha256[:16]}.part"
    part.parent.mkdir()
    part.write_bytes(left)
    (path,) = ended.download(WEIGHTS_PATH, tmp_path)
    assert path.read_bytes() == WEIGHTS


def test_bytes_that_are_not_those_listed_are_not_kept(
    ended: Job, blobs: Blobs, tmp_path: Path
) -> None:
    blobs.write(f"{ended.name}/artifacts/1/training/{WEIGHTS_PATH}", WEIGHTS[::-1])
    with pytest.raises(ServerError, match=r"weights\.safetensors .* is damaged"):
        ended.download(WEIGHTS_PATH, tmp_path / "got")
    assert not [path for path in (tmp_path / "got").rglob("*") if path.is_file()]


def test_bytes_that_are_gone_from_the_store_are_said(
    ended: Job, blobs: Blobs, tmp_path: Path
) -> None:
    blobs.remove(f"{ended.name}/artifacts/1/training/{WEIGHTS_PATH}")
    with pytest.raises(NotFound, match="not in the blob store"):
        ended.download(WEIGHTS_PATH, tmp_path / "got")


@pytest.mark.parametrize(
    ("path", "said"),
    [(f"training/{WEIGHTS_PATH}", "its file in the blob store cannot be read"),
     ("training.json", "the list of the files of .* is damaged")],
)  # fmt: skip
@pytest.mark.parametrize("has_folder", [True, False])
def test_what_no_waiting_mends_is_said_at_once(
    ended: Job, blobs: Blobs, tmp_path: Path, path: str, said: str, has_folder: bool
) -> None:
    # A client waits for minutes for a store that is away.
    place = f"{ended.name}/artifacts/1/{path}"
    files = ended.artifacts()
    blobs.remove(place)
    if has_folder:
        blobs.write(f"{place}/file", b"")
    elif path.endswith("json"):
        blobs.write(place, b"{")
    else:
        said = "not in the blob store"
    with pytest.raises(NotFound, match=said):
        ended.download(WEIGHTS_PATH, tmp_path / "got")
    assert len(files) == len(FILES)


def test_nothing_is_written_outside_the_folder(ended: Job, tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "got"
    elsewhere.mkdir()
    folder.mkdir()
    (folder / "model").symlink_to(elsewhere)
    with pytest.raises(ServerError, match="outside"):
        ended.download("model", folder)
    for path in ("../x", "/x", "model/../../x", ""):
        hostile = Artifact(path=path, num_bytes=1, sha256="0" * 64)
        with pytest.raises(ServerError, match="outside"):
            _artifacts.download(ended._connection, ended.name, hostile, folder)
    assert not list(elsewhere.iterdir())


def test_long_lists_come_page_by_page(
    client: Client, worker: Worker, blobs: Blobs, faulty: FaultyServer
) -> None:
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    files = {f"many/{index:04}": b"" for index in range(1005)}
    write_artifacts(blobs, job.name, 1, TRAINING, {**files, "more": b""})
    attempt.finish()
    assert [each.path for each in job.artifacts("many")] == sorted(files)
    assert faulty.calls.count("ListArtifacts") == 2
    assert [each.path for each in job.artifacts("mor")] == []


def test_what_is_not_there_is_explained(client: Client, worker: Worker, ended: Job) -> None:
    def why(job: Job, path: str) -> str:
        with pytest.raises((FailedPrecondition, NotFound, InvalidRequest)) as caught:
            job.download(path, "nowhere", patience=0)
        return f"{type(caught.value).__name__}: {caught.value}"

    assert why(ended, "plots").startswith("FailedPrecondition: plots of jobs/")
    assert "being drawn" in why(ended, "plots")
    assert why(ended, "modle").startswith("NotFound")
    assert "job.yaml, model/model.json, model/weights.safetensors" in why(ended, "modle")
    assert why(ended, "../job.yaml").startswith("InvalidRequest")

    plain = client.submit(sample(outputs={"model": False, "plots": False}))
    assert "QUEUED" in why(plain, "model")
    assert why(plain, "").startswith("FailedPrecondition")
    worker.claim(plain.name).finish()
    assert "outputs.model is false" in why(plain, "model")
    assert "outputs.plots is false" in why(plain, "plots")
    assert why(plain, "").startswith("NotFound")

    failed = client.submit(sample())
    worker.claim(failed.name).finish(jobs_pb2.Job.FAILED, message="no")
    assert "ended as FAILED" in why(failed, "model")

    plain.delete(force=True)
    assert "it was deleted" in why(plain, "model")
    with pytest.raises(NotFound, match="there is no job"):
        client.job("jobs/nobody").artifacts()


def test_a_file_that_will_never_come_is_not_waited_for(ended: Job, tmp_path: Path) -> None:
    # The plots are still being drawn; all else has come.
    with pytest.raises(NotFound, match="its files are"):
        ended.download("modle", tmp_path, patience=timedelta(days=1))


def test_the_command_line_gets_and_lists(ended: Job, talweg: Talweg, tmp_path: Path) -> None:
    listed = talweg("get", ended.id, "--list")
    assert listed.status == 0
    assert [line.split() for line in listed.out.splitlines()] == [
        [f"{len(content):,}", path] for path, content in sorted(FILES.items())
    ]
    as_json = json.loads(talweg("get", ended.id, "model", "--list", "--json").out)
    assert [each["bytes"] for each in as_json] == [2, len(WEIGHTS)]
    done = talweg("get", ended.id, "model/model.json", "-o", tmp_path / "got")
    assert done.out == f"{tmp_path / 'got/model/model.json'}\n"
    assert (tmp_path / "got/model/model.json").read_bytes() == b"{}"
    missing = talweg("get", ended.id, "nothing")
    assert (missing.status, missing.out) == (3, "")
    assert "its files are" in missing.err


def test_a_store_that_does_not_answer_is_said_without_its_address(
    ended: Job, faulty: FaultyServer
) -> None:
    Path(faulty.blobs).rename(f"{faulty.blobs}.aside")
    Path(faulty.blobs).write_text("the disk is not mounted")
    with Client(faulty.address, timeout=timedelta(seconds=1)) as impatient:
        with pytest.raises(Unavailable, match="check TALWEG_BLOBS") as caught:
            impatient.job(ended.name).artifacts()
    assert faulty.blobs not in str(caught.value)
