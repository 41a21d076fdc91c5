"""One job in several processes of one machine, each with a part of every batch.

The process that has the job is the first: it alone reports and keeps checkpoints. The others are
its members, which torch's elastic launcher starts and watches. All hold the same weights and see
the same gradients and the same loss, summed up over the parts, so all guards and judges decide
alike without asking each other.

A member that ends before its time ends the attempt, as a lost worker does: another attempt goes on
from the last checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from talweg.spec import to_dict
from talweg.v1.jobs_pb2 import Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import Batch
from talweg.worker.training.memory import is_out_of_memory
from talweg.worker.training.setup import Setup
from talweg.worker.training.state.snapshot import Snapshot

SPEC, DEVICE, FIRST, FAILED = "spec.json", "device", "first", "failed.json"
"""What members find in their folder; and where they leave why they failed."""
_MEETING = "meeting"
_PATIENCE = timedelta(minutes=5)
_SECONDS_TO_END = 10.0


class ProcessLostError(Exception):
    """One of the processes that train together has ended before its time."""


class ProcessFailedError(Exception):
    """One of the processes that train together has found why the job must fail."""

    def __init__(self, cause: Outcome.Cause.ValueType, message: str) -> None:
        """Take what it found."""
        super().__init__(message)
        self.cause = cause
        """Whose fault it is."""


@dataclass(frozen=True)
class Member:
    """A process's place among those that train together."""

    rank: int
    """From 0, the process that has the job."""
    size: int
    """Processes in all."""
    folder: Path
    """Where they meet; nobody else's."""


class Processes:
    """Several processes that share each batch, as one of them sees it."""

    def __init__(self, member: Member, place: torch.device, *, seed: int) -> None:
        """Knows nothing of the others yet."""
        self._member, self._place, self._seed = member, place, seed
        self._batches = 0
        self._setup: Setup | None = None
        self._whole: DistributedDataParallel | None = None

    def join(self, setup: Setup) -> None:
        """Meet the others, who all become what the first one is now.

        Raises:
            RuntimeError: Somebody does not come.
        """
        member, on_cuda = self._member, self._place.type == "cuda"
        # The machine's name need not lead to an address that it has.
        loopback = next((n for _, n in socket.if_nameindex() if n.startswith("lo")), "lo")
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        store = FileStore(str(member.folder / _MEETING), member.size)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_cuda else "gloo",
            store=store,
            rank=member.rank,
            world_size=member.size,
            timeout=_PATIENCE,
        )
        self._share(setup, store)
        self._setup = setup
        self._whole = DistributedDataParallel(_Whole(setup), forward_sync_buffers=False)

    def loss(self, batch: Batch, loss_of: Callable[[Batch], Tensor]) -> Tensor:
        """Run this process's part of a batch; see `Team`."""
        assert self._setup is not None
        assert self._whole is not None
        member, state = self._member, self._setup.state
        # By step and process: so an attempt that goes on draws what it would have drawn.
        seed = (self._seed * 2**24 + state.applied) * 2**20 + self._batches * 2**10 + member.rank
        torch.manual_seed(seed % 2**63)
        self._batches += 1
        loss: Tensor = self._whole(self._setup.batches.part(batch, member.rank, member.size))
        return loss

    def total(self, loss: Tensor) -> Tensor:
        """Add the parts up; see `Team`."""
        self._batches = 0
        total = loss / self._member.size
        dist.all_reduce(total)
        return total

    def _share(self, setup: Setup, store: FileStore) -> None:
        """Give the first process's state to all."""
        if self._member.rank == 0:
            snapshot = setup.snapshots.now()
            shapes = {
                name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
                for name, tensor in snapshot.tensors.items()
            }
            store.set("state", json.dumps({"tensors": shapes, "values": snapshot.values}))
        head = json.loads(store.get("state"))
        if self._member.rank > 0:
            empty = {
                name: torch.empty(shape, dtype=getattr(torch, dtype))
                for name, (dtype, shape) in head["tensors"].items()
            }
            snapshot = Snapshot(tensors=empty, values=head["values"])
        for name in head["tensors"]:
            sent = snapshot.tensors[name].detach().cpu()
            dist.broadcast(sent, 0)
            snapshot.tensors[name] = sent
        if self._member.rank > 0:
            setup.snapshots.restore(snapshot)


class _Whole(nn.Module):
    """From a batch to its loss, over all that is learnt."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.model = setup.state.model
        self._loss_of = setup.loss_of

    def forward(self, batch: Batch) -> Tensor:
        return self._loss_of(batch)


@contextmanager
def joined(
    spec: JobSpec, place: torch.device, member: Member | None
) -> Iterator[Processes | None]:
    """Return the processes that train a job together; None where it is one.

    Args:
        spec: Filled.
        place: Where this one trains.
        member: What this process is; None for the first, which starts the others.

    Raises:
        UserSpecError: The machine has no room for so many.
        ProcessLostError: One of them has ended.
        ProcessFailedError: One of them has failed, as the job must.
    """
    size = spec.resources.processes
    if size <= 1:
        yield None
        return
    if member is not None:
        yield Processes(member, place, seed=spec.training.seed)
        return
    _check_room(size, place)
    with tempfile.TemporaryDirectory(prefix="talweg-") as name:
        first = Member(rank=0, size=size, folder=Path(name))
        launcher = _launch(spec, place, first)
        try:
            yield Processes(first, place, seed=spec.training.seed)
        except RuntimeError as exc:
            if is_out_of_memory(exc) or not _has_ended(launcher):
                raise
            raise _why(first.folder) from exc
        finally:
            _end(launcher)
            if dist.is_initialized():
                dist.destroy_process_group()


def _check_room(size: int, place: torch.device) -> None:
    if place.type == "cuda":
        room, what = torch.cuda.device_count(), "GPUs"
    else:
        room, what = len(os.sched_getaffinity(0)), "cores"
    if size > room:
        raise UserSpecError(
            f"resources.processes must be <= {room}, the {what} of this worker, but got {size}"
        )


def _launch(spec: JobSpec, place: torch.device, first: Member) -> subprocess.Popen[bytes]:
    folder = first.folder
    (folder / SPEC).write_text(json.dumps(to_dict(spec)))
    (folder / DEVICE).write_text(place.type)
    (folder / FIRST).write_text(str(os.getpid()))
    others = first.size - 1
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *(f"--nproc-per-node={others}", "--max-restarts=0"),
                *("-m", "talweg.worker.training.distributed.member", str(folder)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def _has_ended(launcher: subprocess.Popen[bytes]) -> bool:
    """Return whether it ends by itself: it needs a moment to see a member end."""
    try:
        launcher.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        return False
    return True


def _why(folder: Path) -> Exception:
    failed = folder / FAILED
    if failed.exists():
        found = json.loads(failed.read_text())
        return ProcessFailedError(found["cause"], found["message"])
    return ProcessLostError("one of the training's processes has ended before its time")


def _end(launcher: subprocess.Popen[bytes]) -> None:
    if launcher.poll() is None:
        launcher.terminate()
        try:
            launcher.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
