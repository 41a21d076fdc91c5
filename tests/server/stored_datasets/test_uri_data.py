"""Data that the server reads by URIs, below a root that is a folder."""

import asyncio
import os
from pathlib import Path

import pytest
from tests._parts import wait_until
from tests.server.ingest.parts import image, tar
from tests.server.samples import Rules
from tests.server.stored_datasets.parts import houses
from tests.server.stored_datasets.sources import (
    MOST,
    CountingFetcher,
    Sources,
    job,
    made,
    run_here,
    written,
)

from talweg.client.data._sources import _pack
from talweg.ingest.fetching.local import open_local
from talweg.server.errors import InvalidSpec, RequestIdReused
from talweg.server.services.stored_datasets import fetching, reading
from talweg.server.services.stored_datasets.fetching import FoundFile
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Preview
from talweg.server.store import stored_datasets
from talweg.server.store.record.rows import JobRow
from talweg.spec.stored import DatasetName
from talweg.spec.stored.uris import DataUri, parse_root, parse_uri
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import StoredDataset


@pytest.fixture
def processes() -> None:
    """Have processes started, as a server does."""


@pytest.fixture(autouse=True)
def _in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetch and read files here otherwise: most of the time would go into starting processes."""
    if "processes" not in request.fixturenames:
        for module in (fetching, reading):
            monkeypatch.setattr(module, "run_module", run_here)


async def test_a_uri_becomes_the_version_that_a_rerun_reads_too(
    sources: Sources, processes: None
) -> None:
    path = sources.root / "town a" / "houses.csv"
    uri = written(path, houses())
    row = await sources.rules.submit(job(uri, ignore=["kind"]))
    first = row.job_spec.dataset.stored
    assert first.name.startswith("houses-")
    assert (first.target, list(first.ignore)) == ("price", ["kind"])
    assert first.facts.num_samples == 40
    assert first.facts.source_uri == uri
    with sources.rules.database.read() as connection:
        stored = stored_datasets.find(connection, DatasetName(first.name, first.digest))
    info = StoredDataset.FromString(stored.info)
    assert (info.source_uri, info.file_name) == (uri, "houses.csv")
    # Another content is another version; what was submitted keeps its own.
    written(path, houses(50))
    second = await sources.data(job(uri))
    assert (second.name, second.facts.num_samples) == (first.name, 50)
    path.unlink()
    await sources.rules.cancellation.cancel(row.name, force=False, reason="")
    again = (await sources.rules.submission.retry(row.name, "")).job_spec.dataset.stored
    assert (again.digest, again.facts.source_uri) == (first.digest, uri)
    # A file of the same name elsewhere has nothing to do with it, though its bytes are the same.
    other = written(sources.root / "town b" / "houses.csv", houses())
    third = await sources.data(job(other))
    assert third.name != first.name
    assert (third.digest, third.facts.source_uri) == (first.digest, other)
    assert not list(sources.staged.iterdir())


async def test_unchanged_files_are_not_read_again(sources: Sources) -> None:
    path = sources.root / "houses.csv"
    uri = written(path, houses())
    assert await sources.num_copies(job(uri)) == 1
    assert await sources.num_copies(job(uri)) == 0
    assert await sources.num_copies(job(uri, name="mine")) == 0
    # The same size and the same time, but other bytes.
    content = houses().replace(b"20.0", b"21.0")
    assert len(content) == len(houses())
    written(path, content)
    assert await sources.num_copies(job(uri)) == 1
    # Other bytes of the same content are read once too.
    written(path, content.replace(b"\n", b"\r\n"))
    assert await sources.num_copies(job(uri)) == 1
    assert await sources.num_copies(job(uri)) == 0
    # Read in another way, it is another data set.
    assert await sources.num_copies(job(uri, read={"missing": ["x"]})) == 1
    # What was written a moment ago may be written again at the same time of the clock.
    path.write_bytes(houses(30))
    assert await sources.num_copies(job(uri)) == 1
    assert await sources.num_copies(job(uri)) == 1


async def test_several_jobs_at_once_read_a_file_once(sources: Sources) -> None:
    uri = written(sources.root / "houses.csv", houses())
    rows = await asyncio.gather(*(sources.rules.submit(job(uri)) for _ in range(3)))
    await sources.rules.submit_many([job(uri), job(uri, ignore=["kind"])])
    assert sources.fetcher.num_copies == 1
    assert len({row.job_spec.dataset.stored.digest for row in rows}) == 1


async def test_checking_alone_reads_the_file_too(sources: Sources) -> None:
    uri = written(sources.root / "houses.csv", houses())
    submission = Submission(job(uri), validate_only=True)
    answer = await sources.rules.submission.submit(submission)
    assert isinstance(answer, Preview)
    assert JobSpec.FromString(answer.spec).dataset.stored.facts.num_samples == 40


async def test_a_request_id_stands_for_the_uri_as_it_was_sent(sources: Sources) -> None:
    uri = written(sources.root / "houses.csv", houses())
    row = await sources.rules.submit(job(uri), request_id="r")
    written(sources.root / "houses.csv", houses(50))
    assert await sources.rules.submit(job(uri), request_id="r") == row
    with pytest.raises(RequestIdReused):
        await sources.rules.submit(job(uri, ignore=["kind"]), request_id="r")
    # Whoever has not heard the answer asks again, though the file may be gone by then.
    (sources.root / "houses.csv").unlink()
    assert await sources.rules.submit(job(uri), request_id="r") == row
    assert row.job_spec.dataset.stored.facts.num_samples == 40
    with pytest.raises(InvalidSpec, match="which is not there"):
        await sources.rules.submit(job(uri), request_id="another")


async def test_all_that_is_wrong_is_told_at_once_where_it_was_written(sources: Sources) -> None:
    spec = job((sources.root / "none.csv").as_uri())
    spec.training.batch_size = 0
    found = await sources.refused(spec)
    assert set(found) == {"dataset.uri.uri", "training.batch_size"}
    assert "which is not there" in found["dataset.uri.uri"]
    spec = job(written(sources.root / "houses.csv", houses()), group="town")
    spec.training.batch_size = 0
    with pytest.raises(InvalidSpec) as caught:
        await sources.rules.submit(spec)
    fields = {each.field for each in caught.value.fields}
    assert fields == {"dataset.uri.group", "training.batch_size"}


async def test_what_is_wrong_with_a_file_is_told_by_its_place(sources: Sources) -> None:
    content = houses().replace(b"1000.5", b"1000.5,7")
    found = await sources.refused(job(written(sources.root / "houses.csv", content)))
    (place,) = found
    assert place == "houses.csv: row 1"
    assert "allowed 3, as the header has" in found[place]


async def test_one_bad_file_of_a_batch_stops_no_other_job(sources: Sources) -> None:
    good = written(sources.root / "houses.csv", houses())
    bad = (sources.root / "none.csv").as_uri()
    answers = await sources.rules.submission.submit_many(
        [Submission(job(bad)), Submission(job(good))]
    )
    assert isinstance(answers[0], InvalidSpec)
    assert isinstance(answers[1], JobRow)


@pytest.mark.parametrize(
    ("name", "content", "found", "hint"),
    [
        ("big.csv", b"x" * (MOST + 1), "100,001 bytes; allowed at most 100,000", "Parquet"),
        ("empty.csv", b"", "an empty file", ""),
        ("folder/.x.csv", b"x", "a folder without files", ""),
        (
            "folder/y.csv",
            b"x" * MOST,
            "102,400 bytes; allowed at most 100,000",
            "folder in it",
        ),
    ],
)
async def test_files_that_are_not_taken(
    sources: Sources, name: str, content: bytes, found: str, hint: str
) -> None:
    uri = written(sources.root / name, content)
    told = await sources.refused(job(uri.rpartition("/")[0] if "/" in name else uri))
    assert found in told["dataset.uri.uri"]
    assert hint in told["dataset.uri.uri"]
    assert not sources.fetcher.num_copies


async def test_pipes_are_refused_and_not_waited_for(sources: Sources, processes: None) -> None:
    os.mkfifo(sources.root / "pipe.csv")
    told = await sources.refused(job((sources.root / "pipe.csv").as_uri()))
    assert "a device, a pipe or a socket" in told["dataset.uri.uri"]


async def test_links_may_not_lead_out_of_the_root(sources: Sources, tmp_path: Path) -> None:
    inside = written(sources.root / "real" / "houses.csv", houses())
    written(tmp_path / "secret" / "houses.csv", houses(7))
    (sources.root / "file.csv").symlink_to(tmp_path / "secret" / "houses.csv")
    (sources.root / "folder").symlink_to(tmp_path / "secret")
    (sources.root / "nothing.csv").symlink_to(tmp_path / "nothing.csv")
    for name in ("file.csv", "folder/houses.csv", "nothing.csv"):
        told = await sources.refused(job((sources.root / name).as_uri()))
        assert "a link that leads out of" in told["dataset.uri.uri"]
        assert "TALWEG_DATA_ROOTS" in told["dataset.uri.uri"]
    # Whether there is anything outside, nobody learns.
    (sources.root / "within.csv").symlink_to("real/houses.csv")
    data = await sources.data(job((sources.root / "within.csv").as_uri()))
    assert data.digest == (await sources.data(job(inside))).digest


@pytest.mark.parametrize("name", ["../a root/x.csv", "../a%20root2/x.csv", "%2e%2e/x.csv"])
async def test_paths_stay_below_the_root(sources: Sources, tmp_path: Path, name: str) -> None:
    written(tmp_path / "a root2" / "x.csv", houses())
    told = await sources.refused(job(f"{sources.root.as_uri()}/{name}"))
    assert "with . or .. in its path" in told["dataset.uri.uri"]
    told = await sources.refused(job((tmp_path / "a root2" / "x.csv").as_uri()))
    assert "below none of the server's data roots" in told["dataset.uri.uri"]
    assert sources.root.as_uri() in told["dataset.uri.uri"]


async def test_without_roots_the_setting_is_named(rules: Rules) -> None:
    with pytest.raises(InvalidSpec, match="TALWEG_DATA_ROOTS=/data,s3://bucket/prefix"):
        await rules.submit(job("file:///data/x.csv"))


async def test_credentials_are_neither_taken_nor_repeated(sources: Sources) -> None:
    for uri in ("s3://KEY:SE/CRET@bucket/x.csv", "s3://bucket/x.csv?X-Amz-Signature=SECRET"):
        with pytest.raises(InvalidSpec) as caught:
            await sources.rules.submit(job(uri))
        assert "CRET" not in str(caught.value)
        assert "leave" in str(caught.value)


async def test_names_are_checked_before_anything_is_read(sources: Sources) -> None:
    uri = written(sources.root / "houses.csv", houses())
    assert "built-in" in (await sources.refused(job(uri, name="wine")))["dataset.uri.name"]
    assert set(await sources.refused(job(uri, name="a/b"))) == {"dataset.uri.name"}
    assert set(await sources.refused(job(uri, read={"size": [0]}))) == {"dataset.uri.read.size[0]"}
    assert not sources.fetcher.num_copies


async def test_folders_of_images_are_tar_files(sources: Sources) -> None:
    files = {f"{label}/{index}.png": image(seed=index) for index, label in enumerate("ab" * 5)}
    spec = job(written(sources.root / "pets.tar", tar(files)), target="label")
    spec.task.multiclass.SetInParent()
    spec.loss.cross_entropy.SetInParent()
    spec.model.convnet.SetInParent()
    data = await sources.data(spec)
    assert (data.facts.num_samples, data.facts.num_classes) == (10, 2)


def photos(folder: Path) -> str:
    """Write a folder of images with labels and what file managers leave; return its URI."""
    for index, label in enumerate("ab" * 5):
        written(folder / label / f"{index} ä.png", image(seed=index))
    for index in range(5):
        written(folder / "a.b" / f"{index}.png", image(seed=20 + index))
    written(folder / ".hidden" / "x", b"x")
    written(folder / "a" / "Thumbs.db", b"x")
    return folder.as_uri()


def of_images(uri: str) -> JobSpec:
    spec = job(uri, target="label")
    for message in (spec.task.multiclass, spec.loss.cross_entropy, spec.model.convnet):
        message.SetInParent()
    return spec


async def test_a_folder_is_read_as_where_the_client_uploads_it(
    sources: Sources, tmp_path: Path
) -> None:
    folder = sources.root / "my photos"
    uri = photos(folder)
    data = await sources.data(of_images(f"{uri}/"))
    assert (data.facts.num_samples, data.facts.num_classes) == (15, 3)
    assert data.name.startswith("my-photos-")
    _pack(folder, tmp_path / "packed.tar")
    content = (tmp_path / "packed.tar").read_bytes()
    packed = of_images(written(sources.root / "packed.tar", content))
    assert (await sources.data(packed)).digest == data.digest
    source = open_local(parse_uri(uri), parse_root(str(sources.root)))
    with source.open() as file:
        assert file.read() == content
    assert source.num_bytes == len(content)


async def test_a_folder_is_read_again_once_a_file_has_changed(sources: Sources) -> None:
    folder = sources.root / "photos"
    uri = photos(folder)
    first = await sources.data(of_images(uri))
    assert await sources.num_copies(of_images(uri)) == 0
    written(folder / "b" / "new.png", image(seed=99))
    assert await sources.num_copies(of_images(uri)) == 1
    (folder / "b" / "new.png").unlink()
    again = await sources.data(of_images(uri))
    assert again.digest == first.digest


async def test_a_folder_holds_files_alone(sources: Sources, tmp_path: Path) -> None:
    folder = sources.root / "photos"
    uri = photos(folder)
    written(tmp_path / "secret" / "x.png", image())
    for target, link in (("secret/x.png", "b/link.png"), ("secret", "c")):
        (folder / link).symlink_to(tmp_path / target)
        told = await sources.refused(of_images(uri))
        assert f'"{link}", a link' in told["dataset.uri.uri"]
        (folder / link).unlink()
    os.mkfifo(folder / "b" / "pipe.png")
    told = await sources.refused(of_images(uri))
    assert '"b/pipe.png", a device or a pipe' in told["dataset.uri.uri"]
    (folder / "b" / "pipe.png").unlink()
    written(folder / "b" / "cut.png", image()[:40])
    told = await sources.refused(of_images(uri))
    assert "does not decode" in told['photos: "b/cut.png"']


async def test_a_caller_who_leaves_ends_the_reading(sources: Sources, processes: None) -> None:
    uri = written(sources.root / "houses.csv", houses())
    call = asyncio.ensure_future(sources.rules.submit(job(uri)))
    other = asyncio.ensure_future(sources.rules.submit(job(uri)))
    while not sources.fetcher.num_copies:
        await asyncio.sleep(0.001)
    call.cancel()
    # Somebody waits still.
    assert (await other).job_spec.dataset.stored.facts.num_samples == 40
    written(sources.root / "houses.csv", houses(50))
    call = asyncio.ensure_future(sources.rules.submit(job(uri)))
    while sources.fetcher.num_copies < 2:
        await asyncio.sleep(0.001)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(
        wait_until,
        lambda: not list(sources.staged.iterdir()),
        timeout=10,
        what="what was copied is removed",
    )
    assert sources.num_stored == 1


async def test_closing_ends_the_reading(sources: Sources, processes: None) -> None:
    uri = written(sources.root / "houses.csv", houses())
    call = asyncio.ensure_future(sources.rules.submit(job(uri)))
    while not sources.fetcher.num_copies:
        await asyncio.sleep(0.001)
    await sources.service.close()
    assert not list(sources.staged.iterdir())
    with pytest.raises(asyncio.CancelledError):
        await call
    assert sources.num_stored == 0


async def test_others_go_on_while_files_take_their_time(tmp_path: Path) -> None:
    class SlowFetcher(CountingFetcher):
        async def copy(self, uri: DataUri, root: DataUri, target: Path) -> FoundFile:
            await may_go_on.wait()
            return await super().copy(uri, root, target)

    may_go_on = asyncio.Event()
    may_go_on.set()
    sources = made(tmp_path, fetcher=SlowFetcher)
    known = written(sources.root / "known.csv", houses())
    await sources.data(job(known))
    may_go_on.clear()
    uris = [written(sources.root / f"{n}.csv", houses(30 + n)) for n in range(4)]
    waiting = [asyncio.ensure_future(sources.rules.submit(job(uri))) for uri in uris]
    await sources.data(job(known))
    assert not any(each.done() for each in waiting)
    may_go_on.set()
    rows = await asyncio.gather(*waiting)
    samples = [row.job_spec.dataset.stored.facts.num_samples for row in rows]
    assert samples == [30, 31, 32, 33]
    sources.close()


async def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, processes: None) -> None:
    sources = made(tmp_path, seconds=0.01)
    uri = written(sources.root / "houses.csv", houses())
    told = await sources.refused(job(uri))
    assert "TALWEG_INGEST_SECONDS" in told["dataset.uri.uri"]
    sources.close()
