"""StoredDatasetService over gRPC."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.empty_pb2 import Empty

from talweg.server.servicers.convert import LARGEST_MESSAGE
from talweg.server.services.stored_datasets.deletion import DatasetDeletionService
from talweg.server.services.stored_datasets.lookup import LookupService
from talweg.server.services.stored_datasets.upload import UploadService
from talweg.server.services.stored_datasets.views import dataset_message, info_of
from talweg.v1 import stored_datasets_pb2 as pb
from talweg.v1.stored_datasets_pb2_grpc import StoredDatasetServiceServicer


@dataclass(frozen=True)
class DatasetServices:
    """What StoredDatasetService is made of."""

    upload: UploadService
    """Takes data sets in."""

    lookup: LookupService
    """Finds them."""

    deletion: DatasetDeletionService
    """Deletes them."""


class StoredDatasetServicer(StoredDatasetServiceServicer):
    """Data sets of users."""

    def __init__(self, services: DatasetServices) -> None:
        """Keep the services.

        Args:
            services: What the methods call.
        """
        self._services = services

    async def UploadStoredDataset(  # noqa: D102 - documented in the proto
        self, request_iterator: AsyncIterator[pb.UploadStoredDatasetRequest], context: Any
    ) -> pb.StoredDataset:
        row, info = await self._services.upload.upload(request_iterator)
        return _bounded(dataset_message(row, info))

    async def GetUpload(self, request: pb.GetUploadRequest, context: Any) -> pb.Upload:  # noqa: D102
        header = pb.UploadHeader(
            file_name=request.file_name or "file",
            sha256=request.sha256,
            num_bytes=request.num_bytes,
            options=request.options,
            validate_only=True,
        )
        offset = await self._services.upload.offset(header)
        return pb.Upload(sha256=request.sha256, offset=offset)

    async def GetStoredDataset(  # noqa: D102
        self, request: pb.GetStoredDatasetRequest, context: Any
    ) -> pb.StoredDataset:
        row = await self._services.lookup.get(request.name)
        return _bounded(dataset_message(row, info_of(row)))

    async def ListStoredDatasets(  # noqa: D102
        self, request: pb.ListStoredDatasetsRequest, context: Any
    ) -> pb.ListStoredDatasetsResponse:
        page = await self._services.lookup.list_page(
            name=request.name, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListStoredDatasetsResponse(
            datasets=map(dataset_message, page.rows), next_page_token=page.next_token
        )

    async def DeleteStoredDataset(  # noqa: D102
        self, request: pb.DeleteStoredDatasetRequest, context: Any
    ) -> Empty:
        await self._services.deletion.delete(request.name, force=request.force)
        return Empty()


def _bounded(message: pb.StoredDataset) -> pb.StoredDataset:
    """Leave out what does not fit into one message: pictures first, then what columns hold."""
    for field in ("pictures", "preview"):
        if message.ByteSize() > LARGEST_MESSAGE:
            message.ClearField(field)
    for field in ("histogram", "values", "quantiles"):
        if message.ByteSize() > LARGEST_MESSAGE:
            for column in message.columns:
                column.ClearField(field)  # type: ignore[arg-type]
    return message
