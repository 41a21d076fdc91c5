"""ArtifactService over gRPC."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from talweg.server.services.artifacts import ArtifactService
from talweg.v1 import artifacts_pb2 as pb
from talweg.v1.artifacts_pb2_grpc import ArtifactServiceServicer


class ArtifactServicer(ArtifactServiceServicer):
    """The files of jobs."""

    def __init__(self, artifacts: ArtifactService) -> None:
        """Keep the service.

        Args:
            artifacts: What the methods call.
        """
        self._artifacts = artifacts

    async def ListArtifacts(  # noqa: D102 - documented in the proto
        self, request: pb.ListArtifactsRequest, context: Any
    ) -> pb.ListArtifactsResponse:
        page = await self._artifacts.list_page(
            request.job,
            path=request.path,
            page_size=request.page_size,
            page_token=request.page_token,
            caller=context.peer(),
        )
        return pb.ListArtifactsResponse(
            artifacts=[
                pb.Artifact(path=each.path, num_bytes=each.num_bytes, sha256=each.sha256)
                for each in page.files
            ],
            next_page_token=page.next_token,
            complete=page.complete,
        )

    async def DownloadArtifact(  # noqa: D102
        self, request: pb.DownloadArtifactRequest, context: Any
    ) -> AsyncGenerator[pb.DownloadArtifactResponse]:
        chunks = self._artifacts.download(
            request.job, request.path, offset=request.offset, caller=context.peer()
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                yield pb.DownloadArtifactResponse(
                    offset=chunk.offset,
                    data=chunk.data,
                    num_bytes=chunk.num_bytes,
                    sha256=chunk.sha256,
                )
