"""A server's parts that read data by URIs, and jobs that name such."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests._records import empty_record
from tests.server.samples import Rules

from talweg.ingest.fetching.fetch import fetch
from talweg.ingest.request import Request
from talweg.ingest.run import run
from talweg.server.errors import InvalidSpec
from talweg.server.services.stored_datasets.fetching import Fetcher, FoundFile
from talweg.server.services.stored_datasets.processes import Ended
from talweg.server.services.stored_datasets.reading import Reader, ReadLimits
from talweg.server.services.stored_datasets.sources import SourceService
from talweg.server.services.stored_datasets.staging import Staging
from talweg.server.services.stored_datasets.storage import DatasetStorage
from talweg.server.services.stored_datasets.upload import UploadService
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.store import stored_datasets
from talweg.server.store.record.database import Database
from talweg.spec import from_dict
from talweg.spec.stored.uris import DataUri, parse_roots
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.spec_pb2 import JobSpec

LONG_AGO = time.time() - 3600
MOST = 100_000


async def run_here(
    module: str, request: bytes, *, environment: Mapping[str, str], seconds: float
) -> Ended:
    """Do in a thread what a process would, but for its limits."""
    if module == "talweg.ingest":
        await asyncio.to_thread(run, Request.from_json(request))
        return Ended(0, b"", b"")
    asked = json.loads(request)
    target = Path(asked["target"]) if asked["target"] else None
    answer = await asyncio.to_thread(
        fetch, asked["uri"], asked["root"], target, max_bytes=asked["max_bytes"]
    )
    return Ended(0, json.dumps(answer).encode(), b"")


class CountingFetcher(Fetcher):
    """Counts the files that it copies."""

    num_copies = 0

    async def copy(self, uri: DataUri, root: DataUri, target: Path) -> FoundFile:
        self.num_copies += 1
        return await super().copy(uri, root, target)


@dataclass
class Sources:
    """A server's parts that read data by URIs, over a folder."""

    rules: Rules
    root: Path
    staged: Path
    staging: Staging
    fetcher: CountingFetcher
    service: SourceService

    async def data(self, spec: JobSpec) -> StoredData:
        """Submit a job, and return what it reads."""
        return (await self.rules.submit(spec)).job_spec.dataset.stored

    async def refused(self, spec: JobSpec) -> dict[str, str]:
        """Submit a job that must be refused, and return its violations."""
        with pytest.raises(InvalidSpec) as caught:
            await self.rules.submit(spec)
        assert self.num_stored == 0
        return {each.field: each.description for each in caught.value.fields}

    async def num_copies(self, spec: JobSpec) -> int:
        """Submit a job, and return how often its file was copied."""
        before = self.fetcher.num_copies
        await self.rules.submit(spec)
        return self.fetcher.num_copies - before

    def close(self) -> None:
        self.rules.close()
        self.staging.close()
        self.rules.database.close()

    @property
    def num_stored(self) -> int:
        with self.rules.database.read() as connection:
            return len(stored_datasets.page(connection, "", None, 100))


def made(
    tmp_path: Path,
    *,
    roots: str | None = None,
    seconds: float = 60.0,
    fetcher: type[CountingFetcher] = CountingFetcher,
) -> Sources:
    root = tmp_path / "a root"
    root.mkdir(exist_ok=True)
    database = Database(empty_record(tmp_path / "talweg.db"))
    limits = ReadLimits(3 << 30, timedelta(seconds=seconds))
    staging = Staging(tmp_path / "staged")
    fetching = fetcher(limits, max_bytes=MOST)
    storage = DatasetStorage(database, str(tmp_path / "blobs"))
    uploads = UploadService(database, staging, Reader(limits), storage, max_bytes=MOST)
    allowed = parse_roots(str(root) if roots is None else roots)
    service = SourceService(database, staging, fetching, uploads, roots=allowed, max_bytes=MOST)
    rules = Rules(database, [])
    rules.submission = SubmissionService(database, service)
    return Sources(rules, root, tmp_path / "staged", staging, fetching, service)


def written(path: Path, content: bytes) -> str:
    """Write a file as if an hour ago; return its URI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path.as_uri()


def job(uri: str, **roles: Any) -> JobSpec:
    return from_dict(
        {
            "task": "regression",
            "dataset": {"uri": {"uri": uri, "target": "price", **roles}},
            "model": {"mlp": {"hidden": [8]}},
            "loss": "mse",
            "training": {"steps": 5},
        }
    )
