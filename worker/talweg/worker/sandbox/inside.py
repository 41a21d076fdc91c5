"""A job in its own process: it computes, tells the worker what happens, and asks it for the rest.

What it tells is gathered for a twentieth of a second, as a step may be shorter than a call of the
system. A byte of a file that both have mapped says whether the worker wants it to stop.
"""

import faulthandler
import json
import mmap
import os
import resource
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from safetensors.torch import load_file, save_file

from talweg.v1.jobs_pb2 import GuardDecision, LogLine, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.weights_pb2 import TakenWeights
from talweg.worker import diagnostics
from talweg.worker.confinement import namespaces, privileges
from talweg.worker.confinement.confining import confine
from talweg.worker.confinement.namespaces import Namespaces
from talweg.worker.data.bundle import DataBundle, facts_of
from talweg.worker.errors import StoreAwayError, UserSpecError
from talweg.worker.sandbox import scratch
from talweg.worker.sandbox.limits import Limits
from talweg.worker.sandbox.messages import Connection
from talweg.worker.storage.job_store import JobStore
from talweg.worker.training import Result, Snapshot, Stop
from talweg.worker.training.exits import of_exit
from talweg.worker.training.interface import Kept, Table
from talweg.worker.training.kept import kept_of

OUTPUT, REPORT = "output", "report"
"""What the process prints, and what is written of it as it dies."""
START, NOW, BEST = "start.safetensors", "now.safetensors", "best.safetensors"
"""Tensors of snapshots: to begin with, to be kept, and the best so far."""
SHOWN, WEIGHTS, EXAMPLE, DESCRIPTION = (
    "shown.safetensors",
    "weights.safetensors",
    "example.safetensors",
    "model.json",
)
"""What is kept of a job that has succeeded."""
_GATHER_SECONDS = 0.05
_FLUSH_SECONDS = 0.25
_MOST_GATHERED = 200
_REFUSALS = {each.__name__: each for each in (StoreAwayError, UserSpecError)}


def work(folder: Path, end: int, own: Namespaces) -> None:
    """Run the job of a folder, and tell the worker how it ended.

    Args:
        folder: The job's; see `scratch`.
        end: This process's end of the socket.
        own: The namespaces that it is in.
    """
    order = json.loads((folder / scratch.ORDER).read_text())
    spec = JobSpec.FromString((folder / scratch.SPEC).read_bytes())
    limits = Limits(**order["limits"])
    _settle(folder, order)
    worker = _Worker(Connection(socket.socket(fileno=end)), folder)
    _confine(folder, order, limits, own, needs_network=spec.resources.processes > 1)
    threading.Thread(target=worker.keep_telling, name="telling", daemon=True).start()
    reporter = _Reporter(worker)
    try:
        with JobStore.from_json(order["store"]).used():
            result = diagnostics.run(
                spec,
                report=reporter,
                control=_Control(worker, folder / scratch.STOP),
                device=order["device"],
                store=_Store(worker),
            )
        bundle = reporter.bundle
        kept = None if bundle is None else kept_of(result, spec, bundle)
        worker.finish(result, kept)
    except Exception as exc:
        worker.fail(exc)
    except BaseException as exc:
        worker.log_error("".join(traceback.format_exception(exc)))
        worker.finish(of_exit(exc, spec), None)


def _settle(folder: Path, order: Mapping[str, Any]) -> None:
    """Live in the folder, and write what is printed there."""
    os.setsid()
    os.umask(0o077)
    os.environ |= order["environment"]
    os.environ |= {"HOME": str(folder / scratch.HOME), "TMPDIR": str(folder / scratch.TEMPORARY)}
    tempfile.tempdir = None
    os.chdir(folder / scratch.HOME)
    torch.set_num_threads(1)
    exchange = folder / scratch.EXCHANGE
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    sys.stdout.flush()
    sys.stderr.flush()
    for standard in (1, 2):
        os.dup2(os.open(exchange / OUTPUT, flags, 0o600), standard)
    faulthandler.enable(os.open(exchange / REPORT, flags, 0o600))


def _confine(
    folder: Path,
    order: Mapping[str, Any],
    limits: Limits,
    own: Namespaces,
    *,
    needs_network: bool,
) -> None:
    """Give up what the job does not need; for good."""
    has_memory = bool(own & Namespaces.MOUNT)
    if has_memory:
        has_memory = namespaces.own_shared_memory(limits.memory_bytes)
    _set_limits(limits, own, on_cpu=order["device"] == "cpu")
    shared = [Path("/dev/shm")] if has_memory or needs_network else []  # noqa: S108
    confine(
        readable=map(Path, order["readable"]),
        writable=(folder, *shared),
        # Ranks listen on ports that the system picks, which no rule can name.
        may_use_tcp=needs_network,
    )


def _set_limits(limits: Limits, own: Namespaces, *, on_cpu: bool) -> None:
    privileges.limit(resource.RLIMIT_CORE, 0)
    privileges.limit(resource.RLIMIT_NOFILE, limits.open_files)
    privileges.limit(resource.RLIMIT_FSIZE, limits.disk_bytes)
    if own & Namespaces.USER:
        # Of this namespace alone. Without one it would count all that the user runs anywhere.
        privileges.limit(resource.RLIMIT_NPROC, limits.tasks)
    if on_cpu and limits.memory_bytes:
        # What is written to, and not addresses, of which PyTorch maps far more: an allocation
        # beyond it fails, and says so. CUDA maps more of both than it uses.
        privileges.limit(resource.RLIMIT_DATA, _data_bytes() + limits.memory_bytes)


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


class _Worker:
    """The worker, as the job sees it. Any thread may tell it something."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self.exchange = folder / scratch.EXCHANGE
        self._lock = threading.Lock()
        self._gathered: list[tuple[str, Any]] = []
        self._progress: tuple[int, int, int, int] | None = None
        self._sent_at = time.monotonic()

    def tell(self, kind: str, value: Any) -> None:
        with self._lock:
            self._gathered.append((kind, value))
            self._send_if_due()

    def tell_progress(self, progress: tuple[int, int, int, int]) -> None:
        with self._lock:
            # The last one counts.
            self._progress = progress
            self._send_if_due()

    def ask(self, kind: str, **question: Any) -> Mapping[str, Any]:
        """Say all that is left to say, ask, and wait for the answer."""
        with self._lock:
            self._send()
            self._connection.send(ask=kind, **question)
            answer = self._connection.receive()
        if refusal := answer.get("refusal"):
            raise _REFUSALS[refusal["kind"]](refusal["text"])
        return answer

    def keep_telling(self) -> None:
        """Send what waits while the job's own thread is busy; for a thread."""
        while True:
            time.sleep(_FLUSH_SECONDS)
            with self._lock:
                self._send_if_due()

    def finish(self, result: Result, kept: Kept | None) -> None:
        """Hand over how the job ended, and what is kept of it."""
        if kept is not None:
            self._keep(kept)
        document = {
            "state": result.state,
            "cause": result.cause,
            "message": result.message,
            "steps": result.steps,
            "weights_step": result.weights_step,
            "divergence": _dict_of(result.divergence),
            "replay": _dict_of(result.replay),
            "is_of_images": kept is not None and kept.is_of_images,
        }
        self._end(done=document)

    def fail(self, error: Exception) -> None:
        """Hand over an error that is not the job's end but the attempt's."""
        self._end(
            error={
                "kind": type(error).__name__,
                "text": str(error),
                "errno": error.errno if isinstance(error, OSError) else None,
                "is_memory": isinstance(error, MemoryError),
                "traceback": "".join(traceback.format_exception(error)),
            }
        )

    def log_error(self, text: str) -> None:
        self.tell("log", [LogLine.ERROR, text])

    def _keep(self, kept: Kept) -> None:
        if kept.shown:
            save_file(dict(kept.shown), self.exchange / SHOWN)
        if kept.weights is not None:
            save_file(_plain(kept.weights), self.exchange / WEIGHTS)
        if kept.example is not None:
            save_file({"x": kept.example.contiguous()}, self.exchange / EXAMPLE)
        if kept.description is not None:
            (self.exchange / DESCRIPTION).write_text(json.dumps(kept.description))

    def _end(self, **message: Any) -> None:
        with self._lock:
            self._send()
            self._connection.send(**message)

    def _send_if_due(self) -> None:
        is_due = time.monotonic() - self._sent_at > _GATHER_SECONDS
        if is_due or len(self._gathered) >= _MOST_GATHERED:
            self._send()

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        if self._progress is not None:
            self._gathered.append(("progress", self._progress))
        if self._gathered:
            self._connection.send(told=self._gathered)
        self._gathered, self._progress = [], None


class _Reporter:
    """Tells the worker; see `Reporter`."""

    def __init__(self, worker: _Worker) -> None:
        self.bundle: DataBundle | None = None
        self._worker = worker

    def data(self, bundle: DataBundle) -> None:
        self.bundle = bundle
        self._worker.tell("data", facts_of(bundle))

    def computed(self, parameters: Mapping[str, str]) -> None:
        self._worker.tell("computed", dict(parameters))

    def weights(self, taken: TakenWeights) -> None:
        self._worker.tell("weights", _dict_of(taken))

    def warning(self, warning: Warning) -> None:
        self._worker.tell("warning", _dict_of(warning))

    def guard(self, decision: GuardDecision) -> None:
        self._worker.tell("guard", _dict_of(decision))

    def log(self, level: LogLine.Level.ValueType, text: str) -> None:
        self._worker.tell("log", [level, text])

    def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
        self._worker.tell_progress((step, total_steps, epoch, total_epochs))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._worker.tell("metrics", [step, {name: float(each) for name, each in values.items()}])

    def table(self, name: str, table: Table) -> None:
        columns = {key: list(values) for key, values in table.columns.items()}
        content = {"columns": columns, "facts": dict(table.facts)}
        # Numbers of NumPy among them.
        self._worker.tell("table", [name, json.loads(json.dumps(content, default=float))])


class _Control:
    """Asks the worker once it wants an answer; see `Control`."""

    def __init__(self, worker: _Worker, flag: Path) -> None:
        self._worker = worker
        with flag.open("rb") as file:
            self._flag = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)

    def check(self) -> Stop | None:
        if not self._flag[0]:
            return None
        stop = self._worker.ask("stop")["stop"]
        return None if stop is None else Stop(**stop)


class _Store:
    """Has the worker keep and find snapshots; see `Store`."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker

    def load(self) -> Snapshot | None:
        values = self._worker.ask("load")["values"]
        if values is None:
            return None
        return Snapshot(load_file(self._worker.exchange / START), values)

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        exchange = self._worker.exchange
        save_file(_plain(snapshot.tensors), exchange / NOW)
        question: dict[str, Any] = {"step": step, "epoch": epoch, "values": snapshot.values}
        if best is not None:
            save_file(_plain(best[1].tensors), exchange / BEST)
            question |= {"best": [best[0], best[1].values]}
        answer = self._worker.ask("save", **question)
        for name in (NOW, BEST):
            (exchange / name).unlink(missing_ok=True)
        return bool(answer["saved"])


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each.detach().cpu().contiguous().clone() for name, each in tensors.items()}


def _dict_of(message: Message | None) -> dict[str, Any] | None:
    return None if message is None else MessageToDict(message)
