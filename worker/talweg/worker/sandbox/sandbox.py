"""Which jobs enter the sandbox, and a job's run in it."""

import json
import logging
import socket
from pathlib import Path
from typing import Any

import torch

from talweg.blobs import Blobs
from talweg.spec import from_dict, job_models
from talweg.spec.plugins import plugin_uses
from talweg.v1.models_pb2 import Model
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.confinement import landlock, namespaces
from talweg.worker.confinement.namespaces import Namespaces
from talweg.worker.errors import NoModelError, StoreAwayError
from talweg.worker.models.registry import plugin_of
from talweg.worker.sandbox import inputs, scratch
from talweg.worker.sandbox.fork_server import ForkServer, ForkServerError
from talweg.worker.sandbox.limits import Limits
from talweg.worker.sandbox.messages import Connection
from talweg.worker.sandbox.scratch import scratch_folder
from talweg.worker.sandbox.supervision import SandboxControl, SandboxReporter, Supervision
from talweg.worker.settings import Settings
from talweg.worker.storage import job_store, trained_models
from talweg.worker.storage.job_store import JobStore
from talweg.worker.training import NoStore, Result, Store, memory
from talweg.worker.training.distributed.launcher import ProcessLostError
from talweg.worker.training.job import result_of_error

_FOLDER = ".scratch"

log = logging.getLogger(__name__)


class Sandbox:
    """Runs jobs that hold code of others in processes of their own, one at a time."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet.

        Args:
            settings: The worker's.
        """
        self._settings = settings
        self._server = ForkServer(settings.sandbox_env)

    def takes(self, spec: JobSpec) -> bool:
        """Return whether a job runs code of others: a plug-in, or another job's plug-in model.

        Args:
            spec: Filled.
        """
        if self._settings.sandbox == "off":
            return False
        return any(plugin_uses(spec)) or any(
            self._is_of_plugin(model.job, model.sha256) for _, model in job_models(spec)
        )

    def _is_of_plugin(self, job: str, digest: str) -> bool:
        try:
            blobs = job_store.current().open(self._settings.blobs)
            stored = trained_models.read(blobs, job, digest)
            return plugin_of(from_dict(stored.description["model"], Model)) is not None
        except (OSError, ImportError, ValueError, KeyError, TypeError, NoModelError):
            # No network can be built of it either, and the job says why.
            return False

    def run(
        self,
        spec: JobSpec,
        *,
        report: SandboxReporter,
        control: SandboxControl,
        device: str | None = None,
        store: Store | None = None,
    ) -> Result:
        """Run a job; as `diagnostics.run`, with what is kept of it in `Result.kept`.

        Raises:
            ProcessLostError: Its process has died, or none can be begun: another attempt is to be
                made.
            OSError: Its folder cannot be made.
        """
        bounds = Limits.of(spec, self._settings, memory.room(torch.device("cpu")))
        with scratch_folder(self._settings.data_cache / _FOLDER) as folder:
            try:
                self._write_order(spec, folder, device or "cpu", bounds)
            except StoreAwayError as exc:
                return result_of_error(exc)
            mine, theirs = socket.socketpair()
            try:
                self._server.begin(folder, theirs)
            except ForkServerError as exc:
                mine.close()
                raise ProcessLostError(str(exc)) from exc
            connection = Connection(mine)
            try:
                return Supervision(
                    folder,
                    connection,
                    self._server,
                    report=report,
                    control=control,
                    store=store or NoStore(),
                    bounds=bounds,
                ).carry_out()
            finally:
                connection.close()

    def close(self) -> None:
        """End the process that begins jobs."""
        self._server.close()

    def _write_order(self, spec: JobSpec, folder: Path, device: str, bounds: Limits) -> None:
        settings = self._settings
        store = job_store.current()
        blobs = _open(store, settings.blobs)
        place = folder / scratch.BLOBS
        readable = [settings.vgg_weights, settings.models_dir, *settings.sandbox_read]
        if blobs.folder is None:
            inputs.fetch(spec, blobs, place)
            # Copies that are the job's own.
            store = JobStore()
        else:
            place = blobs.folder
            readable += inputs.readable(spec, blobs)
        order: dict[str, Any] = {
            "device": device,
            "store": store.to_json(),
            "limits": bounds.to_json(),
            "readable": [str(path) for path in readable if path is not None],
            "environment": {
                "TALWEG_BLOBS": str(place),
                "TALWEG_DATA_CACHE": str(folder / scratch.CACHE),
            },
        }
        (folder / scratch.ORDER).write_text(json.dumps(order))
        (folder / scratch.SPEC).write_bytes(spec.SerializeToString())


def _open(store: JobStore, url: str) -> Blobs:
    try:
        return store.open(url)
    except (OSError, ImportError, ValueError) as exc:
        raise StoreAwayError(f"the blob store cannot be used: {exc}") from exc


def lacks() -> list[str]:
    """Return what this system does not offer of what jobs with plug-ins are kept from.

    To be asked before threads start.
    """
    own, version = namespaces.available(), landlock.abi()
    missing = []
    if not version:
        missing.append("no view of other files (Landlock, Linux 5.13)")
    if not own & Namespaces.NETWORK and version < landlock.NETWORK_ABI:
        missing.append("no network (user namespaces, or Landlock of Linux 6.7)")
    if not own & Namespaces.PID:
        missing.append("processes of its own (user namespaces)")
    return missing
