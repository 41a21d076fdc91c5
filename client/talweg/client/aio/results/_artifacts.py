# Made by client/make_asyncio.py from ../../results/_artifacts.py: change that module.
"""The files of a job: listed, and downloaded into a folder."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from talweg.client._errors import ServerError
from talweg.client.results._artifacts import (
    _DIGITS,
    _PAGE,
    Artifact,
    Progress,
    _digest_so_far,
    _is_there,
    _target,
)
from talweg.v1 import artifacts_pb2 as pb

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


async def listed(
    connection: "Connection", job: str, path: str = ""
) -> tuple[list[Artifact], bool]:
    """Return the files of a job, and whether no more will come.

    Args:
        connection: To the server.
        job: ``jobs/{id}``.
        path: A file or a folder; all if empty.

    Raises:
        TalwegError: An error of the server.
    """
    request = pb.ListArtifactsRequest(job=job, path=path, page_size=_PAGE)
    files: list[Artifact] = []
    while True:
        response = await connection.call(connection.artifacts.ListArtifacts, request)
        files += [
            Artifact(path=each.path, num_bytes=each.num_bytes, sha256=each.sha256)
            for each in response.artifacts
        ]
        if not response.next_page_token:
            return files, response.complete
        request.page_token = response.next_page_token


async def ask_for(connection: "Connection", job: str, path: str) -> None:
    """Ask for a file that is not listed, so that the server says why it is not there.

    Raises:
        TalwegError: What the server says.
    """
    request = pb.DownloadArtifactRequest(job=job, path=path)
    sent = connection.resumed(connection.artifacts.DownloadArtifact, lambda: request)
    async with aclosing(sent) as responses:
        async for _ in responses:
            # It has come meanwhile.
            return


async def download(
    connection: "Connection",
    job: str,
    file: Artifact,
    folder: Path,
    *,
    progress: Progress = lambda file, num_bytes: None,
) -> Path:
    """Download a file, unless it is there already, and return where it is.

    It arrives beside its place, under a name of its own that begins with a dot, and is renamed
    once its checksum is right. A download that broke off goes on from what has arrived.

    Args:
        connection: To the server.
        job: ``jobs/{id}``.
        file: As listed.
        folder: Where it goes, under its path.
        progress: Called as bytes arrive.

    Raises:
        ServerError: The server's path leads out of the folder, or the bytes are not those listed.
        TalwegError: Another error of the server.
        OSError: The file cannot be written.
    """
    target = _target(folder, file)
    if await connection.work(_is_there, target, file):
        progress(file, file.num_bytes)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{file.sha256[:_DIGITS]}.part")
    resumes = part.exists()
    digest = await _receive(connection, job, file, part, progress)
    if digest != file.sha256 and resumes:
        # What an earlier download left was damaged.
        part.unlink()
        digest = await _receive(connection, job, file, part, progress)
    if digest != file.sha256:
        part.unlink()
        raise ServerError(
            f"{file.path} of {job} has arrived with sha256 {digest}, but the server lists "
            f"{file.sha256}: its file in the blob store is damaged, and nothing was written. Look "
            "in the job's run in MLflow, or submit the job again"
        )
    os.replace(part, target)
    return target


async def _receive(
    connection: "Connection", job: str, file: Artifact, part: Path, progress: Progress
) -> str:
    """Receive what is missing of a file, and return the digest of all of it."""
    with part.open("a+b") as written:
        digest = await connection.work(_digest_so_far, written, file)
        progress(file, written.tell())
        async with aclosing(_rest_of(connection, job, file, written.tell)) as chunks:
            async for data in chunks:
                written.write(data)
                digest.update(data)
                progress(file, written.tell())
        written.flush()
        await connection.work(os.fsync, written.fileno())
    return digest.hexdigest()


async def _rest_of(
    connection: "Connection", job: str, file: Artifact, arrived: Callable[[], int]
) -> AsyncGenerator[bytes]:
    if arrived() == file.num_bytes:
        return

    def rest() -> pb.DownloadArtifactRequest:
        return pb.DownloadArtifactRequest(job=job, path=file.path, offset=arrived())

    sent = connection.resumed(connection.artifacts.DownloadArtifact, rest)
    async with aclosing(sent) as responses:
        async for response in responses:
            if response.offset != arrived() or arrived() + len(response.data) > file.num_bytes:
                raise ServerError(
                    f"the server sent bytes {response.offset} to "
                    f"{response.offset + len(response.data)} of {file.path}, which has "
                    f"{file.num_bytes}, after {arrived()} had arrived"
                )
            yield response.data
