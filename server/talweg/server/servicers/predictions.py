"""PredictionService over gRPC."""

from typing import Any

from talweg.server.services.predictions import PredictionService
from talweg.v1 import predictions_pb2 as pb
from talweg.v1.predictions_pb2_grpc import PredictionServiceServicer


class PredictionServicer(PredictionServiceServicer):
    """Predictions of trained models."""

    def __init__(self, predictions: PredictionService) -> None:
        """Keep the service.

        Args:
            predictions: What the method calls.
        """
        self._predictions = predictions

    async def Predict(  # noqa: D102 - documented in the proto
        self, request: pb.PredictRequest, context: Any
    ) -> pb.PredictResponse:
        return await self._predictions.predict(request, caller=context.peer())
