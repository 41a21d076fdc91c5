"""SweepService over gRPC."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from talweg.server.limits.under_way import host_of
from talweg.server.servicers.convert import LARGEST_MESSAGE, comparison_message
from talweg.server.services.sweeps.answering import SweepAnswerService
from talweg.server.services.sweeps.control import SweepControlService
from talweg.server.services.sweeps.creation import CreationService
from talweg.server.services.sweeps.difference import DifferenceService
from talweg.server.services.sweeps.lookup import SweepService
from talweg.server.services.sweeps.messages import sweep_message
from talweg.server.store.record.rows import SweepRow
from talweg.v1 import sweeps_pb2 as pb
from talweg.v1.sweeps_pb2_grpc import SweepServiceServicer


@dataclass(frozen=True)
class SweepServices:
    """What SweepService is made of."""

    creation: CreationService
    """Creates sweeps."""
    difference: DifferenceService
    """Compares sweeps with earlier versions of them."""
    sweeps: SweepService
    """Reads and follows them."""
    control: SweepControlService
    """Changes them."""
    answers: SweepAnswerService
    """Says what they show."""


class SweepServicer(SweepServiceServicer):
    """Sweeps, as people use them."""

    def __init__(self, services: SweepServices) -> None:
        """Keep the services.

        Args:
            services: What the methods call.
        """
        self._services = services

    async def CreateSweep(  # noqa: D102 - documented in the proto
        self, request: pb.CreateSweepRequest, context: Any
    ) -> pb.CreateSweepResponse:
        create = partial(
            self._services.creation.create,
            request.spec,
            request.request_id,
            caller=context.peer(),
        )
        difference = None
        if request.validate_only or request.edits:
            row = await create(validate_only=True)
        if request.edits:
            # Before any job of the new one has begun.
            difference = await self._services.difference.difference(row.sweep_spec, request.edits)
        if not request.validate_only:
            row = await create(validate_only=False)
        return pb.CreateSweepResponse(sweep=await self._message(row), difference=difference)

    async def GetSweep(  # noqa: D102
        self, request: pb.GetSweepRequest, context: Any
    ) -> pb.Sweep:
        return sweep_message(await self._services.sweeps.get(request.name))

    async def ListSweeps(  # noqa: D102
        self, request: pb.ListSweepsRequest, context: Any
    ) -> pb.ListSweepsResponse:
        page = await self._services.sweeps.list_page(
            states=request.states, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListSweepsResponse(
            sweeps=map(sweep_message, page.sweeps), next_page_token=page.next_token
        )

    async def ListTrials(  # noqa: D102
        self, request: pb.ListTrialsRequest, context: Any
    ) -> pb.ListTrialsResponse:
        page = await self._services.sweeps.list_trials(
            request.sweep,
            best_first=request.best_first,
            states=request.states,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListTrialsResponse(trials=page.trials, next_page_token=page.next_token)

    async def WatchSweep(  # noqa: D102
        self, request: pb.WatchSweepRequest, context: Any
    ) -> AsyncGenerator[pb.WatchSweepResponse]:
        watching = self._services.sweeps.watch(
            request.name, request.after_cursor, caller=host_of(context.peer())
        )
        async with aclosing(watching) as events:
            async for event in events:
                yield pb.WatchSweepResponse(event=event)

    async def UpdateSweep(  # noqa: D102
        self, request: pb.UpdateSweepRequest, context: Any
    ) -> pb.Sweep:
        return await self._message(await self._services.control.update(request))

    async def PauseSweep(  # noqa: D102
        self, request: pb.PauseSweepRequest, context: Any
    ) -> pb.Sweep:
        row = await self._services.control.pause(request.name, reason=request.reason)
        return await self._message(row)

    async def ResumeSweep(  # noqa: D102
        self, request: pb.ResumeSweepRequest, context: Any
    ) -> pb.Sweep:
        return await self._message(await self._services.control.resume(request.name))

    async def CancelSweep(  # noqa: D102
        self, request: pb.CancelSweepRequest, context: Any
    ) -> pb.Sweep:
        row = await self._services.control.cancel(request.name, reason=request.reason)
        return await self._message(row)

    async def RetryTrials(  # noqa: D102
        self, request: pb.RetryTrialsRequest, context: Any
    ) -> pb.RetryTrialsResponse:
        row, number = await self._services.control.retry(request.name, request.states)
        return pb.RetryTrialsResponse(sweep=await self._message(row), num_jobs=number)

    async def AnswerSweep(  # noqa: D102
        self, request: pb.AnswerSweepRequest, context: Any
    ) -> pb.AnswerSweepResponse:
        answer = await self._services.answers.answer(request.name)
        response = pb.AnswerSweepResponse(
            is_provisional=answer.is_provisional,
            text=answer.text,
            chosen=answer.chosen,
            remarks=answer.remarks,
            session_answers=answer.session_answers,
        )
        if answer.comparison is not None:
            response.comparison.CopyFrom(comparison_message(answer.comparison))
            if answer.answer is not None:
                response.comparison.answer.CopyFrom(answer.answer)
        if response.ByteSize() > LARGEST_MESSAGE:
            for group in response.comparison.groups:
                group.ClearField("rows")
        return response

    async def _message(self, row: SweepRow) -> pb.Sweep:
        return sweep_message(await self._services.sweeps.view(row))
