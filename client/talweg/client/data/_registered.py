"""Registered models that specs start from: looked up in MLflow, then named as the job behind them.

The registry belongs to people, as `talweg register` says: the client asks it, with the user's own
credentials, and neither server nor workers need reach it.
"""

import os

from talweg.client._connection import Connection
from talweg.client._errors import InvalidSpec, NotFound
from talweg.spec import Violation, is_job_id
from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec

_MOST_ASKED = 50
_FIELD = "weights.registry"
_FROM_ENVIRONMENT = "MLFLOW_TRACKING_URI"


class RegisteredWeights:
    """The registered models of a submission, each looked up once however many jobs name it."""

    def __init__(self, connection: Connection) -> None:
        """Ask nothing yet."""
        self._connection = connection
        self._jobs: dict[str, str] = {}

    def named(self, spec: JobSpec) -> JobSpec:
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
            self._jobs[registered] = self._job_of(registered)
        changed.weights.ClearField("registry")
        changed.weights.job = self._jobs[registered]
        return changed

    def _job_of(self, registered: str) -> str:
        # It loads Python's HTTP client.
        from talweg.client.results._registry import Registry

        name, alias = _parsed(registered)
        address = os.environ.get(_FROM_ENVIRONMENT, "") or tracking_address(self._connection)
        if not address:
            raise _refused(
                f"{registered!r}, and no address of MLflow",
                "a model of the MLflow that the service's runs are in",
                f"set {_FROM_ENVIRONMENT}, or name the job: weights: {{job: jobs/ID}}",
            )
        try:
            id_ = self._connection.work(Registry(address).job_of, name, alias)
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


def tracking_address(connection: Connection) -> str:
    """Return the address of MLflow that the runs of the newest jobs are at; empty if none has one.

    Raises:
        TalwegError: An error of the server.
    """
    request = jobs_pb2.ListJobsRequest(page_size=_MOST_ASKED)
    for job in connection.call(connection.jobs.ListJobs, request).jobs:
        if job.tracking.url:
            return job.tracking.url.partition("/#/")[0]
    return ""


def _parsed(registered: str) -> tuple[str, str]:
    """Return the model's name, and the alias or the version."""
    name, _, alias = registered.rpartition("@")
    if name and alias:
        return name, alias
    name, _, version = registered.rpartition("/")
    if name and version.isdecimal():
        return name, f"/{version}"
    raise _refused(repr(registered), "NAME@ALIAS or NAME/VERSION, such as houses@champion", "")


def _refused(found: str, allowed: str, hint: str) -> InvalidSpec:
    return InvalidSpec(violations=[Violation(_FIELD, found, allowed, hint)], reason="INVALID_SPEC")
