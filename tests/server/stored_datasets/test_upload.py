"""Uploads over gRPC: in order, in pieces, twice at once, and wrong ones."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tests.server.conftest import Running, Start
from tests.server.stored_datasets.parts import CHUNK, chunks, header, houses, messages, upload

from talweg.server.services.stored_datasets import staging
from talweg.v1 import stored_datasets_pb2 as pb
from talweg.v1.datasets_pb2 import ReadOptions

# Several chunks.
LARGE = b"a,b\n" + b"".join(b"%d,%d\n" % (row, row * 7 % 1000) for row in range(300_000))


def details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, dict[str, str]]:
    """What stands in the details: the info, and the violations by field."""
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            for packed in status_pb2.Status.FromString(value).details:
                packed.Unpack(info) or packed.Unpack(request)
    return info, {each.field: each.description for each in request.field_violations}


async def refused(
    running: Running, requests: AsyncIterator[pb.UploadStoredDatasetRequest]
) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.data.UploadStoredDataset(requests)
    return caught.value


async def offset(running: Running, content: bytes, **fields: Any) -> int:
    head = header(content)
    request = pb.GetUploadRequest(
        sha256=head.sha256, num_bytes=head.num_bytes, file_name="houses.csv", **fields
    )
    return (await running.data.GetUpload(request)).offset


def left(tmp_path: Path) -> list[str]:
    """What lies in the staging folder and in the blob store."""
    folders = (tmp_path / "uploads", tmp_path / "blobs" / "datasets")
    return sorted(path.name for folder in folders if folder.exists() for path in folder.iterdir())


async def broken_off(running: Running, content: bytes, end: int, tmp_path: Path) -> None:
    """Send the beginning of a file, and vanish."""
    arrived = tmp_path / "uploads" / f"{header(content).sha256}.part"

    async def beginning() -> AsyncIterator[pb.UploadStoredDatasetRequest]:
        async for each in messages(header(content), content[:end]):
            yield each
        await asyncio.Event().wait()

    call = running.data.UploadStoredDataset(beginning())
    while not arrived.exists() or arrived.stat().st_size < end:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    while await offset(running, content) < end:
        await asyncio.sleep(0.01)


async def test_an_upload_goes_on_after_a_break_and_after_a_restart(
    start: Start, tmp_path: Path
) -> None:
    first = await start()
    assert await offset(first, LARGE) == 0
    await broken_off(first, LARGE, 2 * CHUNK, tmp_path)
    assert left(tmp_path) == [f"{header(LARGE).sha256}.part"]
    second = await start()
    assert await offset(second, LARGE) == 2 * CHUNK
    stored = await second.data.UploadStoredDataset(messages(header(LARGE), LARGE, 2 * CHUNK))
    assert stored.num_samples == 300_000
    assert left(tmp_path) == [stored.digest]


async def test_bytes_that_are_known_are_not_sent_again(running: Running, tmp_path: Path) -> None:
    content = houses()
    stored = await upload(running, content)
    assert await offset(running, content) == len(content)
    again = await running.data.UploadStoredDataset(messages(header(content, "homes"), b""))
    assert again.name == f"datasets/homes@{stored.digest}"
    assert again.columns == stored.columns
    # Read in another way, it is other data, and has to come again.
    options = ReadOptions(texts=["area"])
    assert await offset(running, content, options=options) == 0
    error = await refused(running, messages(header(content, options=options), b""))
    assert error.code() == grpc.StatusCode.ABORTED
    assert details(error)[0].metadata["offset"] == "0"
    other = await upload(running, content, options=options)
    assert other.digest != stored.digest
    assert left(tmp_path) == sorted([stored.digest, other.digest])


async def test_content_that_the_store_has_lost_comes_back_with_the_file(
    running: Running, tmp_path: Path
) -> None:
    content = houses()
    stored = await upload(running, content)
    folder = tmp_path / "blobs" / "datasets" / stored.digest
    data, description = folder / "data.arrow", folder / "info.json"
    whole = data.read_bytes()

    async def comes_back() -> None:
        assert await offset(running, content) == 0
        assert (await upload(running, content)).name == stored.name
        assert data.read_bytes() == whole
        assert description.stat().st_size > 0
        assert await offset(running, content) == len(content)

    data.write_bytes(whole[:100])
    await comes_back()
    data.unlink()
    data.mkdir()
    await comes_back()
    description.unlink()
    await comes_back()
    shutil.rmtree(folder)
    await comes_back()
    # A store that is away has lost nothing.
    (tmp_path / "blobs").rename(tmp_path / "aside")
    (tmp_path / "blobs").write_text("not mounted")
    assert await offset(running, content) == len(content)


async def test_the_same_name_with_other_content_is_a_new_version(running: Running) -> None:
    first = await upload(running, houses(40))
    second = await upload(running, houses(50))

    async def newest() -> str:
        request = pb.GetStoredDatasetRequest(name="datasets/houses")
        return (await running.data.GetStoredDataset(request)).digest

    assert await newest() == second.digest != first.digest
    await upload(running, houses(40))
    assert await newest() == first.digest
    short = pb.GetStoredDatasetRequest(name=f"houses@{second.digest[:8]}")
    assert (await running.data.GetStoredDataset(short)).name == second.name
    listed = await running.data.ListStoredDatasets(pb.ListStoredDatasetsRequest(page_size=1))
    assert [each.name for each in listed.datasets] == [first.name]
    request = pb.ListStoredDatasetsRequest(page_size=1, page_token=listed.next_page_token)
    last = await running.data.ListStoredDatasets(request)
    assert [each.name for each in last.datasets] == [second.name]
    assert not last.next_page_token


async def test_two_uploads_of_the_same_bytes_at_once(running: Running, tmp_path: Path) -> None:
    half = asyncio.Event()
    names = ("one", "two")

    async def slowly(name: str) -> AsyncIterator[pb.UploadStoredDatasetRequest]:
        yield pb.UploadStoredDatasetRequest(header=header(LARGE, name))
        for index, each in enumerate(chunks(LARGE)):
            if index == 1:
                if len(list((tmp_path / "uploads").glob("*.part"))) == 2:
                    half.set()
                await half.wait()
            yield each

    async def watch() -> None:
        while len(list((tmp_path / "uploads").glob("*.part"))) < 2:
            await asyncio.sleep(0.01)
        half.set()

    calls = [running.data.UploadStoredDataset(slowly(name)) for name in names]
    stored = await asyncio.gather(*calls, watch())
    assert {each.name for each in stored[:2] if each} == {
        f"datasets/{name}@{stored[0].digest}" for name in names if stored[0]
    }
    assert left(tmp_path) == [stored[0].digest if stored[0] else ""]


async def test_checking_alone_stores_nothing_and_need_not_be_sent_again(
    running: Running, tmp_path: Path
) -> None:
    content = houses()
    checked = await upload(running, content, "", validate_only=True)
    assert checked.name == ""
    assert checked.num_samples == 40
    assert await offset(running, content) == len(content)
    assert not (tmp_path / "blobs" / "datasets").exists()
    head = header(content)
    stored = await running.data.UploadStoredDataset(messages(head, b""))
    assert stored.digest == checked.digest


@pytest.mark.parametrize(
    ("fields", "code", "field", "said"),
    [
        ({"name": "diabetes"}, "INVALID_ARGUMENT", "header.name", "built-in data set"),
        ({"name": "a b"}, "INVALID_ARGUMENT", "header.name", "letters, digits"),
        ({"name": ""}, "INVALID_ARGUMENT", "header.name", "letters, digits"),
        ({"sha256": "AB"}, "INVALID_ARGUMENT", "header.sha256", "64 hexadecimal"),
        ({"file_name": "x\n"}, "INVALID_ARGUMENT", "header.file_name", "control characters"),
        ({"num_bytes": 0}, "INVALID_ARGUMENT", "houses.csv", "empty file"),
        ({"num_bytes": 2_000_000}, "RESOURCE_EXHAUSTED", "", "2,000,000 bytes"),
        ({"options": {"channels": 9}}, "INVALID_ARGUMENT", "header.options.channels", "found 9"),
    ],
)
async def test_a_wrong_header_is_refused_before_bytes_are_sent(
    start: Start, tmp_path: Path, fields: dict[str, Any], code: str, field: str, said: str
) -> None:
    running = await start(max_upload_bytes=1_000_000)

    async def endless() -> AsyncIterator[pb.UploadStoredDatasetRequest]:
        yield pb.UploadStoredDatasetRequest(header=header(houses(), **fields))
        await asyncio.Event().wait()

    error = await refused(running, endless())
    assert error.code().name == code
    assert said in str(error.details())
    if field:
        assert said in details(error)[1][field]
    assert left(tmp_path) == []


async def test_messages_that_are_not_as_agreed(running: Running, tmp_path: Path) -> None:
    content = houses()
    whole = list(chunks(content))
    head = pb.UploadStoredDatasetRequest(header=header(content))
    long = pb.UploadChunk(data=bytes(CHUNK + 1))
    beyond = pb.UploadChunk(offset=len(content) - 1, data=b"xx")
    cases = {
        "must be the first message": whole,
        "must be in each message behind the header": [head, *whole, head],
        "must have <= 1,048,576 bytes": [head, pb.UploadStoredDatasetRequest(chunk=long)],
        "must end within": [head, *whole, pb.UploadStoredDatasetRequest(chunk=beyond)],
    }
    for said, requests in cases.items():

        async def each(
            requests: list[pb.UploadStoredDatasetRequest] = requests,
        ) -> AsyncIterator[pb.UploadStoredDatasetRequest]:
            for request in requests:
                yield request

        error = await refused(running, each())
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert said in str(error.details())
    error = await refused(running, messages(header(content), content, 5))
    assert error.code() == grpc.StatusCode.ABORTED
    assert int(details(error)[0].metadata["offset"]) in (0, len(content))
    with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT|first message"):
        await running.data.UploadStoredDataset(iter(()))


async def test_bytes_that_are_not_those_of_the_digest_leave_nothing(
    running: Running, tmp_path: Path
) -> None:
    content = houses()
    head = header(content)
    error = await refused(running, messages(head, b"x" + content[1:]))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "was damaged on its way" in details(error)[1]["header.sha256"]
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("t.csv", b"a,b\n1\n1,2\n1,2,3\n", {"row 1", "row 3"}),
        ("t.parquet", b"PAR1" + bytes(50), {"t.parquet"}),
        ("t.npz", b"PK\x03\x04" + bytes(50), {"t.npz"}),
        ("t.tar", bytes(range(256)) * 20, {"t.tar"}),
    ],
)
async def test_a_file_that_cannot_be_read_leaves_nothing(
    running: Running, tmp_path: Path, name: str, content: bytes, places: set[str]
) -> None:
    error = await refused(running, messages(header(content, file_name=name), content))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    info, fields = details(error)
    assert info.reason == "UNREADABLE_DATA"
    assert set(fields) == places
    assert left(tmp_path) == []
    listed = await running.data.ListStoredDatasets(pb.ListStoredDatasetsRequest())
    assert not listed.datasets
    assert (await running.jobs.ListJobs(_no_jobs())).jobs == []


def _no_jobs() -> Any:
    from talweg.v1.jobs_pb2 import ListJobsRequest

    return ListJobsRequest()


async def test_reading_has_a_time_limit(start: Start, tmp_path: Path) -> None:
    from datetime import timedelta

    running = await start(ingest_time=timedelta(seconds=1))
    # A million texts, each another one: ten times the limit on a quick machine.
    content = b"a,b\n" + b"".join(b"x%d,y%d\n" % (row, row) for row in range(1_000_000))
    error = await refused(running, messages(header(content, sha256=_sha(content)), content))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "TALWEG_INGEST_SECONDS" in str(error.details())
    assert left(tmp_path) == []


def _sha(content: bytes) -> str:
    return header(content).sha256


async def test_a_full_disk_is_said_and_the_server_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = os.pwrite

    def full(descriptor: int, data: bytes, position: int) -> int:
        if position:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data, position)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        error = await refused(running, messages(header(LARGE), LARGE))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "the server's disk is full" in str(error.details())
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
        error = await refused(running, messages(header(LARGE), LARGE))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "has room for 10 bytes" in str(error.details())
    stood = await offset(running, LARGE)
    stored = await running.data.UploadStoredDataset(messages(header(LARGE), LARGE, stood))
    assert stored.num_samples == 300_000


async def test_what_nobody_goes_on_with_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    (folder / "work-1").mkdir(parents=True)
    for name in ("a.part", "b.part", "other"):
        (folder / name).write_bytes(b"x")
    for name in ("a.part", "other", "work-1"):
        os.utime(folder / name, (0, 0))
    staged = staging.Staging(folder)
    staged.remove_abandoned()
    assert left(tmp_path) == ["b.part", "other"]
    staged.close()


async def test_an_upload_that_has_fallen_silent_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a network that vanished without a word, which gRPC notices late."""
    from talweg.server.errors import UploadOutOfPlace

    staged = staging.Staging(tmp_path)
    digest = "a" * 64
    first = await staged.open(digest, 100, offset=0)
    await first.add(0, b"x" * 10)
    assert staged.offset(digest) == 0
    monkeypatch.setattr(staging, "_SILENT_S", -1.0)
    assert staged.offset(digest) == 10
    second = await staged.open(digest, 100, offset=10)
    with pytest.raises(UploadOutOfPlace, match="goes on in this one's place"):
        await first.add(10, b"x")
    first.close()
    await second.add(10, b"y")
    # All of it has arrived and is being read, for however long.
    second.is_whole = True
    assert staged.offset(digest) == 0
    third = await staged.open(digest, 100, offset=0)
    assert third.path != second.path
    third.close()
    second.close()
    assert staged.offset(digest) == 11
    staged.close()


async def test_uploads_that_begin_in_the_same_moment_get_files_of_their_own(
    tmp_path: Path,
) -> None:
    staged = staging.Staging(tmp_path)
    digest = "a" * 64
    files = await asyncio.gather(*(staged.open(digest, 10, offset=0) for _ in range(5)))
    assert len({file.path for file in files}) == 5
    for file in files:
        file.close()
    # The resumable one alone stays.
    assert [path.name for path in tmp_path.iterdir()] == [f"{digest}.part"]
    staged.close()
