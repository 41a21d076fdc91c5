"""SystemService over gRPC."""

from typing import Any

from talweg.server.services.status import NO_BROKER, Component, Status, StatusService, WorkerState
from talweg.v1 import jobs_pb2
from talweg.v1 import system_pb2 as pb
from talweg.v1.system_pb2_grpc import SystemServiceServicer


class SystemServicer(SystemServiceServicer):
    """What those who look after a Talweg use."""

    def __init__(self, status: StatusService) -> None:
        """Keep the service.

        Args:
            status: What the methods call.
        """
        self._status = status

    async def GetStatus(  # noqa: D102 - documented in the proto
        self, request: pb.GetStatusRequest, context: Any
    ) -> pb.GetStatusResponse:
        return _status_message(await self._status.status())

    async def ListWorkers(  # noqa: D102
        self, request: pb.ListWorkersRequest, context: Any
    ) -> pb.ListWorkersResponse:
        workers = await self._status.workers()
        if workers is None:
            # Not an error, which clients would retry.
            return pb.ListWorkersResponse(problem=". ".join(NO_BROKER))
        return pb.ListWorkersResponse(workers=map(_worker, workers))


def _status_message(status: Status) -> pb.GetStatusResponse:
    waiting, rate = status.backlog.num_jobs, status.delivered_per_second
    return pb.GetStatusResponse(
        version=status.version,
        components=map(_component, status.components),
        workers=map(_worker, status.workers),
        delivery=pb.Delivery(
            waiting=waiting,
            per_second=rate,
            seconds_left=waiting / rate if rate else None if waiting else 0.0,
        ),
        jobs=[
            pb.GetStatusResponse.StateCount(state=jobs_pb2.Job.State.ValueType(state), count=count)
            for state, count in sorted(status.jobs.items())
        ],
    )


def _component(component: Component) -> pb.Component:
    return pb.Component(
        name=component.name,
        ok=not component.problem,
        problem=component.problem,
        remedy=component.remedy,
    )


def _worker(worker: WorkerState) -> pb.WorkerInfo:
    return pb.WorkerInfo(
        name=worker.name, queues=worker.queues, problem=worker.problem, jobs=worker.jobs
    )
