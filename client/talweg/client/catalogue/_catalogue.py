"""The catalogue of a server: losses, tasks, models, data sets, optimizers, recommendations."""

from typing import TYPE_CHECKING, Unpack

from talweg.client.catalogue._facts import FactArguments, to_facts
from talweg.v1 import catalog_pb2, recommendations_pb2

if TYPE_CHECKING:
    from talweg.client._connection import Connection


class CatalogueClient:
    """The part of a client that asks for the catalogue."""

    _connection: "Connection"

    def losses(self, task: str = "") -> list[catalog_pb2.LossEntry]:
        """Return the losses of the server's catalogue; with a task, those for it.

        Raises:
            InvalidRequest: The task is unknown.
            TalwegError: Another error of the server.
        """
        request = catalog_pb2.ListLossesRequest(task=task)
        method = self._connection.catalogue.ListLosses
        return list(self._connection.call(method, request).losses)

    def tasks(self) -> list[catalog_pb2.TaskEntry]:
        """Return the tasks of the server's catalogue.

        Raises:
            TalwegError: An error of the server.
        """
        method = self._connection.catalogue.ListTasks
        return list(self._connection.call(method, catalog_pb2.ListTasksRequest()).tasks)

    def models(self) -> list[catalog_pb2.ModelEntry]:
        """Return the models of the server's catalogue.

        Raises:
            TalwegError: An error of the server.
        """
        method = self._connection.catalogue.ListModels
        return list(self._connection.call(method, catalog_pb2.ListModelsRequest()).models)

    def datasets(self) -> list[catalog_pb2.DatasetEntry]:
        """Return the data sets of the server's catalogue.

        Raises:
            TalwegError: An error of the server.
        """
        method = self._connection.catalogue.ListDatasets
        return list(self._connection.call(method, catalog_pb2.ListDatasetsRequest()).datasets)

    def optimizers(self) -> list[catalog_pb2.OptimizerEntry]:
        """Return the optimizers of the server's catalogue.

        Raises:
            TalwegError: An error of the server.
        """
        method = self._connection.catalogue.ListOptimizers
        return list(self._connection.call(method, catalog_pb2.ListOptimizersRequest()).optimizers)

    def recommend(
        self,
        task: str,
        facts: recommendations_pb2.ProblemFacts | None = None,
        **more: Unpack[FactArguments],
    ) -> recommendations_pb2.RecommendLossResponse:
        """Rank the losses for a task, given facts about its data.

            ranked = client.recommend("multiclass", imbalance=50)
            client.submit({..., "loss": ranked.recommendations[0].loss})

        Args:
            task: The name of a task, such as multiclass, even if jobs do not support it yet.
            facts: What is known and wanted, as a message.
            **more: Facts by name; they override those of the message.

        Returns:
            The losses, the best first, each complete and with the reason; notes; and the facts
            that do not affect the choice.

        Raises:
            InvalidRequest: A task or fact is unknown, or facts contradict each other.
            TalwegError: Another error of the server.
        """
        request = recommendations_pb2.RecommendLossRequest(task=task, facts=to_facts(facts, more))
        return self._connection.call(self._connection.catalogue.RecommendLoss, request)
