# Made by client/make_asyncio.py from ../../data/_registered.py: change that module.
"""Registered models that specs start from: looked up in MLflow, then named as the job behind them.

The registry belongs to people, as `talweg register` says: the client asks it, with the user's own
credentials, and neither server nor workers need reach it.
"""

import os

from talweg.client._errors import NotFound
from talweg.client.aio._connection import Connection
from talweg.client.data._registered import _FROM_ENVIRONMENT, _MOST_ASKED, _parsed, _refused
from talweg.spec import is_job_id
from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec


class RegisteredWeights:
    """The registered models of a submission, each looked up once however many jobs name it."""

    def __init__(self, connection: Connection) -> None:
        """Ask nothing yet."""
        self._connection = connection
        self._jobs: dict[str, str] = {}

    async def named(self, spec: JobSpec) -> JobSpec:
        """Return a spec that names the job that trained the model; others as they are.

        Raises:
            InvalidSpec: There is no such model, or no job of this service trained it.
            Unavailable: MLflow does not answer.
            TalwegError: Another error of MLflow.
        """
        if not spec.weights.registry or spec.weights.job or spec.weights.stored:
            # Two sources are refused by the server, which says so.
            return spec
        changed = JobSpec()
        changed.CopyFrom(spec)
        registered = spec.weights.registry
        if registered not in self._jobs:
            self._jobs[registered] = await self._job_of(registered)
        changed.weights.ClearField("registry")
        changed.weights.job = self._jobs[registered]
        return changed

    async def _job_of(self, registered: str) -> str:
        # It loads Python's HTTP client.
        from talweg.client.results._registry import Registry

        name, alias = _parsed(registered)
        address = os.environ.get(_FROM_ENVIRONMENT, "") or await tracking_address(self._connection)
        if not address:
            raise _refused(
                f"{registered!r}, and no address of MLflow",
                "a model of the MLflow that the service's runs are in",
                f"set {_FROM_ENVIRONMENT}, or name the job: weights: {{job: jobs/ID}}",
            )
        try:
            id_ = await self._connection.work(Registry(address).job_of, name, alias)
        except NotFound as error:
            raise _refused(
                f"{registered!r}, which MLflow at {address} does not have",
                "NAME@ALIAS or NAME/VERSION of a registered model",
                "`talweg register JOB NAME --alias ALIAS` registers a job's model",
            ) from error
        if not is_job_id(id_):
            raise _refused(
                f"{registered!r}, which no job of this service has trained",
                "a model that `talweg register` registered",
                "save its weights as safetensors, upload them by `talweg data add "
                "FILE.safetensors --name NAME`, and set weights.stored",
            )
        return f"jobs/{id_}"


async def tracking_address(connection: Connection) -> str:
    """Return the address of MLflow that the runs of the newest jobs are at; empty if none has one.

    Raises:
        TalwegError: An error of the server.
    """
    request = jobs_pb2.ListJobsRequest(page_size=_MOST_ASKED)
    for job in (await connection.call(connection.jobs.ListJobs, request)).jobs:
        if job.tracking.url:
            return job.tracking.url.partition("/#/")[0]
    return ""
