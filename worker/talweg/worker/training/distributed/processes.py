"""One job in several processes of one machine, each with a part of every batch.

The process that has the job is rank 0: it alone reports and keeps checkpoints. It starts and
watches the others. All hold the same weights and see the same gradients and the same loss, summed
up over the parts, so all guards and evaluators decide alike without asking each other.

They meet by a file, exchange tensors and JSON, and listen on loopback alone: nobody else on the
network has a part in it. Nothing that a process receives is ever unpickled.

A process that ends before its time ends the attempt, as a lost worker does: another attempt
resumes from the last checkpoint.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import Batch
from talweg.worker.training.distributed.launcher import (
    Launcher,
    ProcessFailedError,
    ProcessLostError,
    Rank,
    listen_on_loopback,
)
from talweg.worker.training.memory import is_out_of_memory
from talweg.worker.training.setup import Setup
from talweg.worker.training.state.snapshot import Snapshot

_MEETING = "meeting"
_PATIENCE = timedelta(minutes=5)
_SECONDS_APART = 0.02


class Processes:
    """Several processes that share each batch, as one of them sees it."""

    def __init__(
        self, rank: Rank, device: torch.device, *, seed: int, launcher: Launcher | None = None
    ) -> None:
        """Know nothing of the others yet.

        Args:
            rank: Which of them this is.
            device: Where it trains.
            seed: The job's.
            launcher: Of the others, where this process has started them.
        """
        self._rank, self._device, self._seed = rank, device, seed
        self._launcher = launcher
        self._batches = 0
        self._setup: Setup | None = None
        self._whole: DistributedDataParallel | None = None

    def join(self, setup: Setup) -> None:
        """Meet the others, who all become what the first one is now.

        Raises:
            ProcessLostError: One of them has ended.
            ProcessFailedError: One of them has failed, as the job must.
            RuntimeError: Somebody does not come.
        """
        rank, on_cuda = self._rank, self._device.type == "cuda"
        listen_on_loopback()
        store = FileStore(str(rank.folder / _MEETING), rank.size)
        self._meet(store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_cuda else "gloo",
            store=store,
            rank=rank.number,
            world_size=rank.size,
            timeout=_PATIENCE,
        )
        self._share(setup, store)
        self._setup = setup
        self._whole = DistributedDataParallel(_Whole(setup), forward_sync_buffers=False)

    def loss(self, batch: Batch, loss_of: Callable[[Batch], Tensor]) -> Tensor:
        """Run this process's part of a batch; see `ProcessGroup`."""
        assert self._setup is not None
        assert self._whole is not None
        rank, state = self._rank, self._setup.state
        # By step and process: so an attempt that goes on draws what it would have drawn.
        seed = (self._seed * 2**24 + state.applied) * 2**20 + self._batches * 2**10 + rank.number
        torch.manual_seed(seed % 2**63)
        self._batches += 1
        loss: Tensor = self._whole(self._setup.batches.part(batch, rank.number, rank.size))
        return loss

    def total(self, loss: Tensor) -> Tensor:
        """Add the parts up; see `ProcessGroup`."""
        self._batches = 0
        total = loss / self._rank.size
        dist.all_reduce(total)
        return total

    def _meet(self, store: FileStore) -> None:
        """Wait until all have come, or one never will.

        The first process may take long, with diagnostics that come before training; the others
        wait as long as it lives.
        """
        store.set(f"here/{self._rank.number}", "")
        names = [f"here/{number}" for number in range(self._rank.size)]
        until = time.monotonic() + _PATIENCE.total_seconds()
        while not store.check(names):
            if self._launcher is not None:
                self._launcher.check()
                if time.monotonic() > until:
                    raise RuntimeError(f"not all processes have come within {_PATIENCE}")
            time.sleep(_SECONDS_APART)

    def _share(self, setup: Setup, store: FileStore) -> None:
        """Give the first process's state to all."""
        if self._rank.number == 0:
            snapshot = setup.snapshots.now()
            shapes = {
                name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
                for name, tensor in snapshot.tensors.items()
            }
            store.set("state", json.dumps({"tensors": shapes, "values": snapshot.values}))
        head = json.loads(store.get("state"))
        if self._rank.number > 0:
            empty = {
                name: torch.empty(shape, dtype=getattr(torch, dtype))
                for name, (dtype, shape) in head["tensors"].items()
            }
            snapshot = Snapshot(tensors=empty, values=head["values"])
        for name in head["tensors"]:
            sent = snapshot.tensors[name].detach().cpu()
            dist.broadcast(sent, 0)
            snapshot.tensors[name] = sent
        if self._rank.number > 0:
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
def joined(spec: JobSpec, device: torch.device, rank: Rank | None) -> Iterator[Processes | None]:
    """Return the processes that train a job together; None where it is one.

    Args:
        spec: Filled.
        device: Where this one trains.
        rank: What this process is; None for the first, which starts the others.

    Raises:
        UserSpecError: The machine has no room for so many.
        ProcessLostError: One of them has ended.
        ProcessFailedError: One of them has failed, as the job must.
    """
    size = spec.resources.processes
    if size <= 1:
        yield None
        return
    if rank is not None:
        yield Processes(rank, device, seed=spec.training.seed)
        return
    _check_room(size, device)
    # Made with mode 700: by the files in it others could join the training.
    with (
        tempfile.TemporaryDirectory(prefix="talweg-") as folder,
        # After the others' end: it might wait for one that no longer answers.
        _group_left_in_the_end(),
        Launcher(spec, device.type, Path(folder)) as launcher,
    ):
        try:
            yield Processes(launcher.first, device, seed=spec.training.seed, launcher=launcher)
        except RuntimeError as exc:
            if is_out_of_memory(exc):
                raise
            try:
                launcher.check(wait=True)
            except (ProcessLostError, ProcessFailedError) as error:
                raise error from exc
            raise


@contextmanager
def _group_left_in_the_end() -> Iterator[None]:
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _check_room(size: int, device: torch.device) -> None:
    if device.type == "cuda":
        room, what = torch.cuda.device_count(), "GPUs"
    else:
        room, what = len(os.sched_getaffinity(0)), "cores"
    if size > room:
        raise UserSpecError(
            f"resources.processes must be <= {room}, the {what} of this worker, but got {size}"
        )
