"""A server with two projects, and who calls it."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.server.conftest import Running
from tests.server.samples import spec
from tests.server.stored_datasets.parts import header, houses, messages

from talweg.spec.identity.secrets import bearer
from talweg.v1 import identity_pb2, jobs_pb2
from talweg.v1.identity_pb2_grpc import IdentityServiceStub
from talweg.v1.sweeps_pb2_grpc import SweepServiceStub

Metadata = tuple[tuple[str, str], ...]
CSV = houses()


class Teams:
    """A server with two projects, and a submitter in each."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        self.admin = bearer((folder / "admin").read_text().strip())
        self.worker = bearer((folder / "worker").read_text().strip())
        self.sweeps: Any = SweepServiceStub(running.channel)
        self._identity: Any = IdentityServiceStub(running.channel)

    async def token(self, role: Any, project: str, **more: Any) -> Metadata:
        request = identity_pb2.CreateTokenRequest(role=role, project=project, **more)
        answer = await self._identity.CreateToken(request, metadata=self.admin)
        return bearer(answer.secret)

    async def submit(self, metadata: Metadata, **fields: Any) -> str:
        request = jobs_pb2.SubmitJobRequest(spec=fields.pop("spec", None) or spec(), **fields)
        answer = await self.running.jobs.SubmitJob(request, metadata=metadata)
        return answer.job.name

    async def upload(self, metadata: Metadata) -> str:
        head = header(CSV)
        answer = await self.running.data.UploadStoredDataset(
            messages(head, CSV), metadata=metadata
        )
        return answer.name


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""
