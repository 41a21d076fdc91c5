"""CatalogService over gRPC."""

from typing import Any

from talweg import spec
from talweg.server.services import catalog
from talweg.server.services.plugins import PluginService
from talweg.v1 import catalog_pb2 as pb
from talweg.v1 import recommendations_pb2
from talweg.v1.catalog_pb2_grpc import CatalogServiceServicer


class CatalogServicer(CatalogServiceServicer):
    """What the service knows."""

    def __init__(self, plugins: PluginService) -> None:
        """Keep what knows of plug-ins."""
        self._plugins = plugins

    async def ListLosses(  # noqa: D102 - documented in the proto
        self, request: pb.ListLossesRequest, context: Any
    ) -> pb.ListLossesResponse:
        return pb.ListLossesResponse(
            losses=catalog.losses(request.task, await self._plugins.told())
        )

    async def ListTasks(  # noqa: D102
        self, request: pb.ListTasksRequest, context: Any
    ) -> pb.ListTasksResponse:
        return pb.ListTasksResponse(tasks=spec.tasks())

    async def ListModels(  # noqa: D102
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=catalog.models(await self._plugins.told()))

    async def ListDatasets(  # noqa: D102
        self, request: pb.ListDatasetsRequest, context: Any
    ) -> pb.ListDatasetsResponse:
        return pb.ListDatasetsResponse(datasets=catalog.datasets(await self._plugins.told()))

    async def ListOptimizers(  # noqa: D102
        self, request: pb.ListOptimizersRequest, context: Any
    ) -> pb.ListOptimizersResponse:
        return pb.ListOptimizersResponse(optimizers=spec.optimizers())

    async def RecommendLoss(  # noqa: D102
        self, request: recommendations_pb2.RecommendLossRequest, context: Any
    ) -> recommendations_pb2.RecommendLossResponse:
        return catalog.recommend(request.task, request.facts)
