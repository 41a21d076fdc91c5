"""Registered models that specs start from: looked up in MLflow, then named as the job behind them.

The registry belongs to people, as `talweg register` says: the client asks it, with the user's own
credentials, and neither server nor workers need reach it.
"""

import os
from collections.abc import Callable

from talweg.client._errors import InvalidSpec, NotFound
from talweg.spec import Violation, is_job_id
from talweg.v1.spec_pb2 import JobSpec

TrackingAddress = Callable[[], str]
"""Gives the address of MLflow as the service knows it; empty where it knows none."""

_FIELD = "weights.registry"
_FROM_ENVIRONMENT = "MLFLOW_TRACKING_URI"


class RegisteredWeights:
    """The registered models of a submission, each looked up once however many jobs name it."""

    def __init__(self, address: TrackingAddress) -> None:
        """Ask nothing yet."""
        self._address = address
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
        address = os.environ.get(_FROM_ENVIRONMENT, "") or self._address()
        if not address:
            raise _refused(
                f"{registered!r}, and no address of MLflow",
                "a model of the MLflow that the service's runs are in",
                f"set {_FROM_ENVIRONMENT}, or name the job: weights: {{job: jobs/ID}}",
            )
        try:
            id_ = Registry(address).job_of(name, alias)
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
