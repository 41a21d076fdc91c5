# Made by client/make_asyncio.py from ../_control.py: change that module.
"""What is done to a job: cancel, pause, continue, replay, retry and delete it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Self

from talweg.client._errors import from_spec_error
from talweg.client._files import to_spec
from talweg.client._handle import Seconds, new_request_id
from talweg.client.aio._handle import JobHandle
from talweg.spec import SpecError, override, to_dict
from talweg.v1 import jobs_pb2


class ControlledJob(JobHandle):
    """A job that is controlled from here."""

    async def cancel(
        self, reason: str = "", *, grace: Seconds | None = None, force: bool = False
    ) -> Self:
        """Cancel the job; it ends as CANCELLED.

        Args:
            reason: The reason, for the record.
            grace: How long its worker may take for an orderly stop; 30 s if None.
            force: Stop it at once.

        Raises:
            FailedPrecondition: It has ended in another state.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.CancelJobRequest(name=self._named(), reason=reason, force=force)
        if grace is not None:
            patience = grace if isinstance(grace, timedelta) else timedelta(seconds=grace)
            request.grace_period.FromTimedelta(patience)
        self._take_message(await self._connection.call(self._connection.jobs.CancelJob, request))
        return self

    async def pause(self, reason: str = "") -> Self:
        """Pause the job until it is resumed, and free its worker.

        A running job writes a checkpoint first, and is PAUSED a little later.

        Args:
            reason: The reason, for the record.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.PauseJobRequest(name=self._named(), reason=reason)
        self._take_message(await self._connection.call(self._connection.jobs.PauseJob, request))
        return self

    async def resume(self) -> Self:
        """Resume the paused job.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.ResumeJobRequest(name=self._named())
        self._take_message(await self._connection.call(self._connection.jobs.ResumeJob, request))
        return self

    async def continue_(
        self, *changes: str, step: int | None = None, request_id: str | None = None
    ) -> Self:
        """Continue an ended job from a checkpoint, as a new job with changed settings.

        Args:
            changes: Such as ``training.epochs=40`` or ``optimizer.adamw.learning_rate=0.0001``.
                Task, data, model, loss, seed and batch sizes stay.
            step: The step of one of its checkpoints; the last if None.
            request_id: An idempotency key: calls with the same id return the same new job.

        Raises:
            InvalidSpec: The job has not ended or has no checkpoint, a fixed setting changes, or
                nothing is left to train; with all violations.
            TalwegError: Another error of the server.
        """
        spec = to_dict(self._message.spec)
        # The checkpoint has the weights.
        spec.pop("weights", None)
        spec["continued_from"] = {"job": self._named(), **({"step": step} if step else {})}
        try:
            changed = override(spec, changes)
        except SpecError as error:
            raise from_spec_error(error) from error
        request = jobs_pb2.SubmitJobRequest(
            spec=to_spec(changed), request_id=request_id or new_request_id()
        )
        response = await self._connection.call(self._connection.jobs.SubmitJob, request)
        return type(self)(self._connection, response.job)

    async def replay(
        self, step: int, *, without: Iterable[int] = (), request_id: str | None = None
    ) -> Self:
        """Replay an optimizer step of the job exactly, as a new job that measures it.

        The new job starts from the nearest checkpoint before the step. Its `replayed` is the
        report: the losses and gradient norms of the step's rows, the outputs and gradients of
        each layer.

        Args:
            step: The step, from 1.
            without: Rows of the data set, from 0: the step is also taken without them.
            request_id: An idempotency key: calls with the same id return the same new job.

        Raises:
            InvalidSpec: The job has not taken the step, or no checkpoint leads to it.
            TalwegError: Another error of the server.
        """
        spec = self.spec
        spec.ClearField("display_name")
        spec.resources.ClearField("time_limit_seconds")
        spec.replay.job, spec.replay.step = self._named(), step
        spec.replay.without.extend(without)
        request = jobs_pb2.SubmitJobRequest(spec=spec, request_id=request_id or new_request_id())
        response = await self._connection.call(self._connection.jobs.SubmitJob, request)
        return type(self)(self._connection, response.job)

    async def delete(self, *, force: bool = False) -> None:
        """Delete the ended job; a worker then removes its files and its run in MLflow.

        Args:
            force: Do not wait for results that are still on their way to MLflow.

        Raises:
            FailedPrecondition: It has not ended, another job refers to it, or its results are on
                their way.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.DeleteJobRequest(name=self._named(), force=force)
        await self._connection.call(self._connection.jobs.DeleteJob, request)

    async def retry(self, *, request_id: str | None = None) -> Self:
        """Submit the spec of an ended job again, and return the new job.

        Args:
            request_id: An idempotency key: calls with the same id return the same new job.

        Raises:
            FailedPrecondition: It has not ended.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.RetryJobRequest(
            name=self._named(), request_id=request_id or new_request_id()
        )
        return type(self)(
            self._connection, await self._connection.call(self._connection.jobs.RetryJob, request)
        )
