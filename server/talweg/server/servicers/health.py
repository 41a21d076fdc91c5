"""The standard health service, all of it.

grpcio-health has no `List`, and raises where it is called.

Reference: https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto
"""

from typing import Any

from grpc_health.v1 import health, health_pb2


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]
    """Tells which services serve: one, one as it changes, or all."""

    async def List(  # noqa: D102 - documented in the proto
        self, request: health_pb2.HealthListRequest, context: Any
    ) -> health_pb2.HealthListResponse:
        return health_pb2.HealthListResponse(
            statuses={
                service: health_pb2.HealthCheckResponse(status=status)
                for service, status in self._server_status.items()
            }
        )
