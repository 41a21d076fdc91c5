"""The worker's side of one job in the sandbox: takes in what it tells, and watches its limits.

Whatever the process says is checked for its form. It can spoil its own job's results, and nothing
else: names of files and tables are from a list, and no text of it becomes a path.
"""

import errno
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
from google.protobuf.json_format import ParseDict, ParseError
from safetensors import SafetensorError
from torch import Tensor

from talweg.v1.jobs_pb2 import Divergence, GuardDecision, Job, LogLine, Outcome, Warning
from talweg.v1.replay_pb2 import ReplayReport
from talweg.v1.weights_pb2 import TakenWeights
from talweg.worker import cgroups, deaths
from talweg.worker.errors import StoreAwayError, UserSpecError, WorkerError
from talweg.worker.sandbox import inside, limits, scratch, usage
from talweg.worker.sandbox.errors import raised_again
from talweg.worker.sandbox.fork_server import ForkServer
from talweg.worker.sandbox.limits import Limits
from talweg.worker.sandbox.messages import Connection, ProtocolError
from talweg.worker.sandbox.scratch import Exchange
from talweg.worker.training import Control, Reporter, Result, Snapshot, Store
from talweg.worker.training.distributed.launcher import ProcessLostError
from talweg.worker.training.interface import Kept, Table

_SECONDS_APART = 0.05
# Between looks at the processes, and at the folder: more where there is much to look at.
_LOOK_SECONDS, _DISK_SECONDS = 0.1, 0.5
_SHARE = 0.1
"""Of the worker's time that looking may take."""
_SECONDS_TO_END = 5.0
_MOST_SHOWN = 2000
_TABLES = frozenset(
    ("rate_range", "gradient_flow", "loss_landscape", "replay_rows", "replay_layers")
) | {"replay_steps"}
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, ParseError, OverflowError)

log = logging.getLogger(__name__)


class SandboxReporter(Reporter, Protocol):
    """A reporter that takes what there is to tell of the data from another process."""

    def data_facts(self, facts: Mapping[str, Any]) -> None:
        """Take `facts_of` the data, once, before the first step."""


class SandboxControl(Control, Protocol):
    """A control that can be looked at without an answer to it."""

    @property
    def is_due(self) -> bool:
        """Whether `check` might say something else than None."""


class Supervision:
    """One job in the sandbox, from its first message to its end."""

    def __init__(
        self,
        folder: Path,
        connection: Connection,
        server: ForkServer,
        *,
        report: SandboxReporter,
        control: SandboxControl,
        store: Store,
        bounds: Limits,
    ) -> None:
        """Watch a job that has begun.

        Args:
            folder: Its scratch folder.
            connection: To its process.
            server: What has forked it.
            report: Takes what it tells.
            control: What may stop it.
            store: Where its state is kept.
            bounds: What it may take.
        """
        self._folder, self._connection, self._server = folder, connection, server
        self._report, self._control, self._store = report, control, store
        self._bounds = bounds
        # What the worker has fetched for it is none of its own.
        self._given = usage.disk_of(folder / scratch.BLOBS)
        most = bounds.memory_bytes or bounds.disk_bytes
        self._exchange = Exchange(folder / scratch.EXCHANGE, most_bytes=most)
        self._flag = (folder / scratch.STOP).open("r+b", buffering=0)
        self._wants_answer = False
        self._count_at = self._measure_at = self._weigh_at = 0.0
        self._killed_before = cgroups.num_killed()

    def carry_out(self) -> Result:
        """Serve the job until it has ended, and return how.

        Raises:
            ProcessLostError: Its process has died.
            Exception: What its process has raised, or what the worker's own parts have.
        """
        try:
            return self._explained(self._serve())
        except OwnError as exc:
            raise exc.error from None
        except ProtocolError as exc:
            raise ProcessLostError(f"the job's process sent what cannot be: {exc}") from exc
        finally:
            self._server.end_job()
            self._show_output()
            self._exchange.close()
            self._flag.close()

    def _serve(self) -> Result:
        while True:
            message = self._connection.poll(_SECONDS_APART)
            if message is not None:
                try:
                    ended = self._take(message)
                except _MALFORMED as exc:
                    raise ProtocolError(f"{type(exc).__name__}: {exc}") from exc
                if ended is not None:
                    return ended
            elif self._connection.is_closed or self._server.status() is not None:
                return self._died()
            self._want_answer()
            if (reached := self._limit_reached()) is not None:
                return reached

    # What the process says.

    def _take(self, message: Mapping[str, Any]) -> Result | None:
        if "told" in message:
            for kind, value in message["told"]:
                self._tell(kind, value)
        elif "ask" in message:
            self._answer(message)
        elif "done" in message:
            return self._done(message["done"])
        elif "error" in message:
            self._server.end_job()
            error = raised_again(message["error"])
            if isinstance(error, OSError) and error.errno == errno.EFBIG:
                return limits.disk_reached(self._bounds)
            raise OwnError(error)
        else:
            raise ProtocolError(f"a message is of an unknown kind: {', '.join(message)[:100]}")
        return None

    def _tell(self, kind: str, value: Any) -> None:
        report = self._report
        match kind:
            case "progress":
                report.progress(*map(int, value))
            case "metrics":
                step, values = value
                report.metrics(int(step), {str(k): float(v) for k, v in values.items()})
            case "log":
                level, text = value
                report.log(LogLine.Level.Value(LogLine.Level.Name(level)), str(text))
            case "data":
                report.data_facts(dict(value))
            case "computed":
                report.computed({str(k): str(v) for k, v in value.items()})
            case "weights":
                report.weights(ParseDict(value, TakenWeights()))
            case "warning":
                report.warning(ParseDict(value, Warning()))
            case "guard":
                report.guard(ParseDict(value, GuardDecision()))
            case "table":
                name, content = value
                if name not in _TABLES:
                    raise ProtocolError(f"a table is of an unknown name, {name!r:.100}")
                report.table(name, Table(content["columns"], content["facts"]))
            case _:
                raise ProtocolError(f"it tells of an unknown kind, {kind!r:.100}")

    def _answer(self, question: Mapping[str, Any]) -> None:
        match question["ask"]:
            case "stop":
                stop = _own(self._control.check)
                told = None if stop is None else {"reason": stop.reason, "detail": stop.detail}
                if stop is None:
                    self._wants_answer = False
                    self._raise_flag(0)
                self._connection.send(stop=told)
            case "load":
                self._load()
            case "save":
                self._save(question)
            case other:
                raise ProtocolError(f"it asks for {other!r:.100}")

    def _load(self) -> None:
        try:
            snapshot = _own(self._store.load)
        except OwnError as exc:
            cause = exc.error
            if not isinstance(cause, (StoreAwayError, UserSpecError)):
                raise
            self._connection.send(refusal={"kind": type(cause).__name__, "text": str(cause)})
            return
        if snapshot is None:
            self._connection.send(values=None)
            return
        content = safetensors.torch.save(snapshot.tensors)
        _own(lambda: self._exchange.write(inside.START, content))
        self._connection.send(values=snapshot.values)

    def _save(self, question: Mapping[str, Any]) -> None:
        snapshot = Snapshot(self._tensors(inside.NOW), dict(question["values"]))
        best = None
        if "best" in question:
            step, values = question["best"]
            best = int(step), Snapshot(self._tensors(inside.BEST), dict(values))
        step, epoch = int(question["step"]), int(question["epoch"])
        is_kept = _own(lambda: self._store.save(snapshot, step=step, epoch=epoch, best=best))
        self._connection.send(saved=is_kept)

    def _tensors(self, name: str) -> dict[str, Tensor]:
        content = self._exchange.read(name)
        try:
            return safetensors.torch.load(content or b"")
        except SafetensorError as exc:
            raise ProtocolError(f"{name} holds no tensors: {exc}") from exc

    # Its end.

    def _done(self, told: Mapping[str, Any]) -> Result:
        # From here on nobody changes the files.
        self._server.end_job()
        divergence, replay = told["divergence"], told["replay"]
        # By their names, since there are not such of all numbers.
        state = Job.State.Value(Job.State.Name(told["state"]))
        cause = Outcome.Cause.Value(Outcome.Cause.Name(told["cause"]))
        return Result(
            state,
            cause,
            str(told["message"]),
            steps=int(told["steps"]),
            weights_step=int(told["weights_step"]),
            divergence=None if divergence is None else ParseDict(divergence, Divergence()),
            replay=None if replay is None else ParseDict(replay, ReplayReport()),
            kept=self._kept(is_of_images=bool(told["is_of_images"])),
        )

    def _kept(self, *, is_of_images: bool) -> Kept:
        found = {
            name: self._tensors(name)
            for name in (inside.SHOWN, inside.WEIGHTS, inside.EXAMPLE)
            if self._exchange.read(name) is not None
        }
        description = self._exchange.read(inside.DESCRIPTION)
        shown = found.get(inside.SHOWN, {})
        if description is None or inside.WEIGHTS not in found:
            return Kept(shown=shown)
        return Kept(
            shown=shown,
            weights=found[inside.WEIGHTS],
            description=dict(json.loads(description)),
            example=found[inside.EXAMPLE]["x"],
            is_of_images=is_of_images,
        )

    def _died(self) -> Result:
        """Say how a process has died that did not say how the job ended."""
        status = self._server.wait(_SECONDS_TO_END)
        report = (self._exchange.read(inside.REPORT) or b"").decode(errors="replace")
        if not report and cgroups.num_killed() > self._killed_before:
            return Result(
                Job.FAILED,
                Outcome.OUT_OF_MEMORY,
                "The job's process was killed by the kernel, as it reached the memory limit of "
                f"its control group. {limits.memory_hint(self._bounds)}",
            )
        if not report and status is not None and status < 0:
            raise ProcessLostError(f"the job's process was {deaths.killed_by(-status)}")
        raise ProcessLostError(deaths.crashed(report))

    def _explained(self, result: Result) -> Result:
        """Name the limit behind an error that the system has given the job's code."""
        if result.state != Job.FAILED:
            return result
        hint = ""
        if result.cause == Outcome.OUT_OF_MEMORY and "limit" not in result.message:
            hint = limits.memory_hint(self._bounds)
        elif f"[Errno {errno.EFBIG}]" in result.message:
            hint = limits.disk_reached(self._bounds).message
        elif f"[Errno {errno.EAGAIN}]" in result.message:
            hint = (
                f"A job with plug-ins may have {self._bounds.tasks} processes and threads at a "
                "time"
            )
        if not hint:
            return result
        text = f"{result.message.removesuffix('.')}. {hint}"
        return Result(result.state, result.cause, text, steps=result.steps)

    def _show_output(self) -> None:
        try:
            output = self._exchange.read(inside.OUTPUT)
        except ProtocolError:
            return
        if output:
            text = output[-_MOST_SHOWN:].decode(errors="replace").rstrip()
            log.info("a job with plug-ins has printed: %s", text)

    # What the worker wants.

    def _want_answer(self) -> None:
        if not self._wants_answer and self._control.is_due:
            self._wants_answer = True
            self._raise_flag(1)

    def _raise_flag(self, value: int) -> None:
        self._flag.seek(0)
        self._flag.write(bytes([value]))

    def _limit_reached(self) -> Result | None:
        now = time.monotonic()
        if now < self._count_at or not usage.can_see():
            return None
        self._count_at = now + _LOOK_SECONDS
        processes, bounds = self._server.processes(), self._bounds
        if len(processes) > bounds.processes:
            return limits.processes_reached(bounds, len(processes))
        if bounds.memory_bytes and now >= self._measure_at:
            memory = usage.memory_of(processes, bounds.memory_bytes)
            self._measure_at = _next_look(now, _LOOK_SECONDS)
            if memory > bounds.memory_bytes:
                return limits.memory_reached(bounds, memory)
        if now >= self._weigh_at:
            # What it tells ends on a disk as well.
            disk = usage.disk_of(self._folder) - self._given + self._connection.num_bytes
            self._weigh_at = _next_look(now, _DISK_SECONDS)
            if disk > bounds.disk_bytes:
                return limits.disk_reached(bounds, disk)
        return None


def _next_look(started: float, period: float) -> float:
    """Return when to look again, later where looking takes long."""
    return started + max(period, (time.monotonic() - started) / _SHARE)


class OwnError(WorkerError):
    """An error that is not one of the protocol, whatever its type."""

    def __init__(self, error: Exception) -> None:
        """Carry an error."""
        super().__init__()
        self.error = error


def _own(call: Callable[[], Any]) -> Any:
    """Call a part of the worker's own, whose errors are not the process's."""
    try:
        return call()
    except Exception as exc:
        raise OwnError(exc) from exc
