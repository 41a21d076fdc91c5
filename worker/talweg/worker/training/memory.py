"""Memory that does not suffice: a job's end, and not its worker's.

On the CPU the kernel hands out more memory than there is, and kills a process once it is used. So
a run may take what the machine has free and no more: beyond it an allocation fails, which ends the
job with a hint, and the process is fit for the next.
"""

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import cgroups
from talweg.worker.data.large import is_large

if TYPE_CHECKING:
    from talweg.worker.training.setup import Setup

# Beside an activation stand its gradient, while the backward pass goes through it, and what the
# kernels reorder it into.
_AT_ITS_PEAK = 4
# Gradients, and the two moments that most optimizers keep.
_BESIDE_WEIGHTS = 3
_FEW, _MORE = 2, 4


def is_out_of_memory(exc: Exception) -> bool:
    """Return whether an exception means that memory did not suffice."""
    # On the CPU torch raises a plain RuntimeError, told by its allocator's name.
    return isinstance(exc, (MemoryError, torch.OutOfMemoryError)) or (
        "DefaultCPUAllocator" in str(exc)
    )


@contextmanager
def bounded(device: torch.device) -> Iterator[None]:
    """Bound what this process may take on the CPU by what the machine has free now."""
    free, used = _free(), _used()
    if device.type != "cpu" or free is None or used is None:
        yield
        return
    before = soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (used + free, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def weights_bounded() -> Iterator[None]:
    """Refuse a network that is made in here once its weights and their gradients have no room.

    Before the weights are filled, which is what takes the memory and, for many, minutes.

    Raises:
        MemoryError: They have none.
    """
    left, taken = room(torch.device("cpu")), 0

    def count(_: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal taken
        if is_lazy(parameter):
            return  # Of a plug-in's layer that has not seen its inputs yet.
        taken += 2 * parameter.numel() * parameter.element_size()
        if left is not None and taken > left:
            raise MemoryError(
                f"weights and their gradients take more than {taken / 2**30:.3g} GiB, and "
                f"{left / 2**30:.3g} GiB are free"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def room(device: torch.device) -> int | None:
    """Return the bytes that may still be taken; None where nobody can tell."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    used = _used()
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if used is None or limit == resource.RLIM_INFINITY:
        return _free()
    return max(0, limit - used)


def batch_that_fits(setup: "Setup", device: torch.device) -> int | None:
    """Estimate a batch size that fits, by what a few samples leave behind in a forward pass.

    Args:
        setup: A run whose step did not fit; it is of no use afterwards.
        device: Where it trained.

    Returns:
        A power of two below the batch size; 0 where one sample is too much, and None where the
        batch size is not to blame, or cannot be told to be.
    """
    setup.state.update.clear()
    gc.collect()
    left = room(device)
    if left is None:
        return None
    few, more = _kept_by(setup, _FEW), _kept_by(setup, _MORE)
    if few is None or more is None or more <= few:
        return None
    sample = (more - few) / (_MORE - _FEW)
    weights = sum(p.numel() * p.element_size() for p in setup.state.model.parameters())
    sizes = [array.nbytes for array in setup.splits.train.arrays.values()]
    data = sum(size for size in sizes if not is_large(size))
    fits = int((left - _BESIDE_WEIGHTS * weights - data) / (_AT_ITS_PEAK * sample))
    if fits < 1:
        return 0
    if fits >= setup.plan.batch_size:
        return None
    return int(2 ** (fits.bit_length() - 1))


def hint(spec: JobSpec, setup: "Setup | None", device: torch.device) -> str:
    """Say what to change where memory did not suffice.

    Args:
        spec: Filled.
        setup: The run, which is of no use afterwards; None where it was not ready yet.
        device: Where it trained.
    """
    if setup is None:
        return "No step had started: use a smaller model or data set."
    training, fits = spec.training, batch_that_fits(setup, device)
    if fits is None:
        return (
            f"Lower training.batch_size, {training.batch_size} now (and raise "
            "training.accumulation to compensate), or use a smaller model or data set."
        )
    if fits == 0:
        return "Even a single sample does not fit: use a smaller model or data set."
    accumulation = training.accumulation * -(-training.batch_size // fits)
    return (
        f"Estimate: training.batch_size {fits} would fit (it is {training.batch_size} now); with "
        f"training.accumulation {accumulation} the effective batch size stays the same."
    )


def _kept_by(setup: "Setup", samples: int) -> int | None:
    """Return the bytes that a forward pass keeps for its backward pass."""
    nbytes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        nbytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = setup.loss_of(setup.splits.train.batch(0, samples))
    except (RuntimeError, ValueError, MemoryError):
        # Such as a loss that finds no pairs among so few, or no room even for them.
        return None
    del loss
    return sum(nbytes.values())


def _used() -> int | None:
    """Return the bytes of this process that count towards RLIMIT_DATA."""
    return _kib("/proc/self/status", "VmData").get("VmData")


def _free() -> int | None:
    """Return the bytes that the machine has free, or the control groups of this process."""
    memory = _kib("/proc/meminfo", "MemAvailable", "SwapFree")
    if "MemAvailable" not in memory:
        return None
    return min([sum(memory.values()), *cgroups.left()])


def _kib(path: str, *names: str) -> dict[str, int]:
    """Return bytes by name, of those that stand there."""
    values: dict[str, int] = {}
    with suppress(OSError), open(path) as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key in names:
                values[key] = int(value.split()[0]) * 1024
                if len(values) == len(names):
                    break
    return values
