"""Snapshots: all that training changes, copied out of the objects and put back exactly.

What takes part is `Stateful`: it names its tensors and the numbers beside them, and takes both
back. Its public state is read and written in place, so nothing here minds whether a parameter is a
view of a larger tensor. To keep something new, make it `Stateful` and name it where `setup` puts
the snapshots together.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from talweg.worker.errors import UserSpecError
from talweg.worker.training.optim import foreach

Values = Mapping[str, Any]
"""JSON values by name; NaN counts as one, and every float comes back as the same."""


@dataclass
class Snapshot:
    """A moment of a training, in memory of its own."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """By ``part/name``."""
    values: dict[str, Values] = field(default_factory=dict)
    """By part."""


class Stateful(Protocol):
    """Something that training changes."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Return its tensors by name, as they are: whoever keeps them copies them."""

    def values(self) -> Values:
        """Return what else it holds."""

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Become what it was when these were taken; the tensors stay the caller's.

        Raises:
            ValueError: They are of another thing: names or shapes differ.
        """


class Snapshots:
    """Takes snapshots of one training, and brings it back to them."""

    def __init__(self, parts: Mapping[str, Stateful], *, newer: Collection[str] = ()) -> None:
        """Take the parts.

        Args:
            parts: By name, without a slash.
            newer: Names of those that snapshots of earlier versions do not have: these are left as
                they are.
        """
        self._parts = dict(parts)
        self._newer = frozenset(newer)

    def now(self) -> Snapshot:
        """Return the tensors themselves: a snapshot that holds only until the next step."""
        return Snapshot(
            {
                f"{part}/{name}": tensor.detach()
                for part, owner in self._parts.items()
                for name, tensor in owner.tensors().items()
            },
            {part: owner.values() for part, owner in self._parts.items()},
        )

    def capture(
        self, into: Snapshot | None = None, *, device: torch.device | None = None
    ) -> Snapshot:
        """Take a snapshot, between two steps.

        Args:
            into: An earlier one that nobody needs any more: its memory is used again.
            device: Where the copies stand; each beside its original where None.
        """
        snapshot = Snapshot() if into is None else into
        live, old = self.now(), snapshot.tensors
        snapshot.tensors, snapshot.values = {}, live.values
        copies = _Copies()
        for path, tensor in live.tensors.items():
            target = old.get(path)
            if target is None or not _alike(target, tensor, device or tensor.device):
                target = torch.empty_like(tensor, device=device)
            copies.add(target, tensor)
            snapshot.tensors[path] = target
        copies.make()
        return snapshot

    def restore(self, snapshot: Snapshot, *, only: Collection[str] | None = None) -> None:
        """Make the training what it was.

        Args:
            snapshot: Taken of this training or of one set up alike; it stays as it is.
            only: Names of parts; all where None.

        Raises:
            ValueError: The snapshot is of another training.
            UserSpecError: What the job was begun with is not there any more.
        """
        tensors: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for path, tensor in snapshot.tensors.items():
            part, _, name = path.partition("/")
            tensors[part][name] = tensor
        for part, owner in self._parts.items():
            if only is not None and part not in only:
                continue
            if part not in snapshot.values:
                if part in self._newer:
                    continue
                raise ValueError(f"the snapshot has no {part}")
            try:
                owner.restore(tensors[part], snapshot.values[part])
            except UserSpecError:
                raise
            except ValueError as exc:
                raise ValueError(f"the snapshot's {part} is another's: {exc}") from exc


class Modules:
    """Parameters and buffers of a module, persistent or not, and its modules' extra state."""

    def __init__(self, module: nn.Module, *, without: nn.Module | None = None) -> None:
        """Take a module.

        Args:
            module: The module.
            without: Another, whose tensors are kept elsewhere.
        """
        self._module = module
        self._elsewhere = {id(tensor) for _, tensor in _named_tensors(without)}

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers by their names."""
        named = _named_tensors(self._module)
        return {name: tensor for name, tensor in named if id(tensor) not in self._elsewhere}

    def values(self) -> Values:
        """Return what `get_extra_state` of its modules gives: JSON values."""
        return {name: module.get_extra_state() for name, module in self._with_extra_state()}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Copy into parameters and buffers."""
        copy_into(self.tensors(), tensors)
        for name, module in self._with_extra_state():
            module.set_extra_state(values[name])

    def _with_extra_state(self) -> Iterable[tuple[str, nn.Module]]:
        for name, module in self._module.named_modules():
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                yield name, module


class Optimizer:
    """An optimizer's state, parameter by parameter.

    Not its settings: those are the spec's, and the learning rate is the schedule's.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        """Take an optimizer whose `state_dict` gives its tensors themselves, as torch's do."""
        self._optimizer = optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return its tensors by parameter's number and name: none before the first step."""
        return {
            f"{number}.{name}": value
            for number, state in self._state().items()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }

    def values(self) -> Values:
        """Return what else it keeps for a parameter, by the parameter's number and name."""
        return {
            f"{number}.{name}": value
            for number, state in self._state().items()
            for name, value in state.items()
            if not isinstance(value, Tensor)
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Copy into its tensors; where it has others or none yet, it loads them."""
        live = self.tensors()
        if live.keys() == tensors.keys() and self.values() == values:
            copy_into(live, tensors)
            return
        state: dict[int, dict[str, Any]] = defaultdict(dict)
        clones = {path: self._clone(path, tensor) for path, tensor in tensors.items()}
        for path, value in chain(clones.items(), values.items()):
            number, _, name = path.partition(".")
            state[int(number)][name] = value
        groups = self._optimizer.param_groups
        settings = self._optimizer.state_dict()["param_groups"]
        try:
            self._optimizer.load_state_dict({"state": dict(state), "param_groups": settings})
        except (KeyError, RuntimeError) as exc:
            raise ValueError(str(exc)) from exc
        # Loading makes new ones; whoever sets the learning rate holds the old.
        self._optimizer.param_groups = groups

    def _clone(self, path: str, tensor: Tensor) -> Tensor:
        """Return a copy that stands in memory as its parameter does, as fused kernels want it."""
        groups = self._optimizer.param_groups
        parameters = list(chain.from_iterable(group["params"] for group in groups))
        parameter = parameters[int(path.partition(".")[0])]
        if tensor.dim() != 4 or tensor.shape != parameter.shape:
            return tensor.clone()
        like = torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False)
        return like.copy_(tensor)

    def _state(self) -> dict[int, dict[str, Any]]:
        state: dict[int, dict[str, Any]] = self._optimizer.state_dict()["state"]
        return state


class RandomState:
    """torch's own random state, from which dropout and the like draw."""

    def __init__(self, device: torch.device) -> None:
        """Take the device of the training, whose state counts beside the CPU's."""
        self._cuda = device if device.type == "cuda" else None

    def tensors(self) -> dict[str, Tensor]:
        """Return the states."""
        states = {"cpu": torch.get_rng_state()}
        if self._cuda is not None:
            states["cuda"] = torch.cuda.get_rng_state(self._cuda)
        return states

    def values(self) -> Values:
        """Return nothing."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Set the states. A training that went on elsewhere keeps its new device's state."""
        torch.set_rng_state(tensors["cpu"])
        if self._cuda is not None and "cuda" in tensors:
            torch.cuda.set_rng_state(tensors["cuda"], self._cuda)


def seed(device: torch.device, number: int) -> None:
    """Set the random state from which dropout and the like draw.

    Args:
        device: The device of the training.
        number: The same gives the same state.
    """
    # torch.manual_seed also leaves word for CUDA, which costs more than a small job's first step.
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def copy_into(live: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Copy tensors into those of the same names.

    Raises:
        ValueError: Names or shapes differ.
    """
    if live.keys() != source.keys():
        missing, unknown = sorted(live.keys() - source.keys()), sorted(source.keys() - live.keys())
        raise ValueError(f"missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
    copies = _Copies()
    for name, target in live.items():
        if target.shape != source[name].shape:
            shape, wanted = tuple(source[name].shape), tuple(target.shape)
            raise ValueError(f"{name} must be of shape {wanted}, but got {shape}")
        copies.add(target, source[name])
    copies.make()


class _Copies:
    """Copies that are made together: one call a type."""

    def __init__(self) -> None:
        self._pairs: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}

    def add(self, target: Tensor, source: Tensor) -> None:
        targets, sources = self._pairs.setdefault((target.dtype, target.device), ([], []))
        targets.append(target)
        sources.append(source)

    def make(self) -> None:
        with torch.no_grad():
            for targets, sources in self._pairs.values():
                foreach.copy(targets, sources)


def _alike(one: Tensor, other: Tensor, device: torch.device) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, device)


def _named_tensors(module: nn.Module | None) -> Iterable[tuple[str, Tensor]]:
    if module is None:
        return ()
    return chain(module.named_parameters(), module.named_buffers())
