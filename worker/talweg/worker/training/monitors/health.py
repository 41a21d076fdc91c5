"""Looks now and then how training goes, and warns of what is probably not meant.

A look reads the norm of each parameter's gradient: at a few early steps, then every 251st. After
every second look the outputs of the ReLUs are followed for a few steps, until enough samples have
passed. All other steps cost one comparison, so that the whole stays within 1% of the loop's time.

A job that asks for its gradient flow has more steps looked at; what is read is read once for both.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Warning
from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.interface import Reporter
from talweg.worker.training.monitors import signs
from talweg.worker.training.monitors.gradient_flow import GradientFlow
from talweg.worker.training.monitors.layers import Gradients, Layers
from talweg.worker.training.monitors.signs import LOOKS_IN_A_ROW, Look
from talweg.worker.training.state.snapshot import Values
from talweg.worker.training.state.training_state import TrainingState

OF_ALL_LAYERS = (
    Warning.ZERO_GRADIENT,
    Warning.VANISHING_GRADIENT,
    Warning.EXPLODING_GRADIENT,
    Warning.LOSS_CONSTANT,
)
"""Warnings of trainings in which all layers learn in each step, of one loss."""
# Apart by no small period, so that parts that train by turns are not always met at rest.
_FIRST_LOOKS = (16, 49, 95, 159)
_STEPS_APART = 251
_ROWS, _MOST_STEPS = 256, 64
# Steps after the warm-up by which a loss that can move has moved.
_TIME_TO_MOVE = 40


class Health:
    """Watches one training. Warns of each kind once."""

    def __init__(
        self,
        model: nn.Module,
        report: Reporter,
        *,
        warmup_steps: int = 0,
        warned: Collection[Warning.Kind.ValueType] = (),
        layers: Layers | None = None,
        flow: GradientFlow | None = None,
    ) -> None:
        """Watch a model.

        Args:
            model: The network.
            report: Takes the warnings.
            warmup_steps: The schedule's, in which a loss may stand still.
            warned: Kinds that need no second warning.
            layers: The network's; found where None.
            flow: Shares what is read of the gradients.
        """
        self.flow = flow
        """What keeps the gradient flow; None where nobody asks for it."""
        self._layers = layers or Layers(model)
        self._relus = {n: m for n, m in model.named_modules() if isinstance(m, nn.ReLU)}
        self._report = report
        self._warmup_steps = warmup_steps
        self._warned = set(warned)
        self._num_looks = 0
        # Steps done before the step that is looked at next: by health, and by anybody.
        self._next = self._wakes = 0
        self._first_loss = math.nan
        self._first_norms: dict[str, float] = {}
        self._looks: list[Look] = []
        self.followed = Followed()
        """What the outputs that are followed have shown: steps change it before they are read."""
        self._probe: _Probe | None = None

    def look(self, state: TrainingState, reading: Reading) -> bool:
        """Take a step whose gradients are finite, before its update.

        Returns:
            Whether `updated` is to be called after it.
        """
        if state.applied < self._wakes:
            return False
        gradients = cache(self._layers.gradients)
        if state.applied >= self._next:
            self._look(state, reading, gradients)
        flow = self.flow
        is_flows = flow is not None and state.applied >= flow.next
        if flow is not None and is_flows:
            flow.look(state, gradients())
        self._wake()
        return is_flows

    def updated(self) -> None:
        """Take the update of a step after which it was to be called."""
        assert self.flow is not None
        self.flow.updated()

    def is_due(self, state: TrainingState) -> bool:
        """Return whether the next step is one to be looked at."""
        return state.applied >= self._wakes

    def close(self) -> None:
        """Stop following outputs."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the gradient flow's; see `Stateful`."""
        return {} if self.flow is None else self.flow.tensors()

    def values(self) -> Values:
        """Return what was seen so far; see `Stateful`. Outputs are followed anew."""
        return {
            "looks": self._num_looks,
            "first_loss": self._first_loss,
            "first_norms": dict(self._first_norms),
            "last": [[look.step, look.loss, dict(look.norms), sorted(look.zero)]
                     for look in self._looks],
            "warned": sorted(self._warned),
            **({} if self.flow is None else {"flow": self.flow.values()}),
        }  # fmt: skip

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take it back; see `Stateful`."""
        self.close()
        self._num_looks = values["looks"]
        self._first_loss = values["first_loss"]
        self._next = 0 if math.isnan(self._first_loss) else _due(self._num_looks)
        self._first_norms = dict(values["first_norms"])
        self._looks = [
            Look(step, loss, norms, frozenset(zero)) for step, loss, norms, zero in values["last"]
        ]
        self._warned = set(values["warned"])
        if self.flow is not None and "flow" in values:
            self.flow.restore(tensors, values["flow"])
        self._wake()

    def _wake(self) -> None:
        self._wakes = self._next if self.flow is None else min(self._next, self.flow.next)

    def _look(
        self, state: TrainingState, reading: Reading, gradients: Callable[[], Gradients]
    ) -> None:
        if math.isnan(self._first_loss):
            self._first_loss = reading.loss
            self._next = _due(0)
            return
        if self._probe is not None:
            left = self._probe.steps_left(state.applied)
            if left:
                self._next = state.applied + left
                return
            self._warn(self._probe.finish(state.step))
            self._probe = None
            self._next = _due(self._num_looks)
            return
        self._num_looks += 1
        self._next = _due(self._num_looks)
        self._look_at_gradients(gradients(), state.step, reading)
        if state.applied >= self._warmup_steps + _TIME_TO_MOVE:
            self._warn(
                signs.constant_loss(
                    self._first_loss,
                    [*state.losses, reading.loss],
                    step=state.step,
                    learning_rate=state.update.learning_rate,
                )
            )
        if self._num_looks % 2 == 0 and self._relus and Warning.DEAD_UNITS not in self._warned:
            self._probe = _Probe(self._relus, state.applied, self.followed)
            self._next = state.applied + 1

    def _look_at_gradients(self, gradients: Gradients, step: int, reading: Reading) -> None:
        look = Look(step, reading.loss, gradients.norms, gradients.zero)
        if self._num_looks <= LOOKS_IN_A_ROW:
            for name, norm in look.norms.items():
                self._first_norms[name] = max(norm, self._first_norms.get(name, 0.0))
        self._looks = [*self._looks, look][-LOOKS_IN_A_ROW:]
        if len(self._looks) < LOOKS_IN_A_ROW or not look.norms:
            return
        self._warn(signs.zero_gradients(self._looks))
        self._warn(signs.vanishing(self._looks))
        self._warn(signs.exploding(self._looks, self._first_norms))

    def _warn(self, warning: Warning | None) -> None:
        if warning is not None and warning.kind not in self._warned:
            self._warned.add(warning.kind)
            self._report.warning(warning)


def _due(num_looks: int) -> int:
    """Return the steps done before the look that follows so many."""
    if num_looks < len(_FIRST_LOOKS):
        return _FIRST_LOOKS[num_looks] - 1
    return _FIRST_LOOKS[-1] - 1 + (num_looks - len(_FIRST_LOOKS) + 1) * _STEPS_APART


class Followed:
    """Which units some samples have woken, by module; see `Stateful`."""

    def __init__(self) -> None:
        """Begin with no sample seen."""
        self.alive: dict[str, Tensor] = {}
        self.rows: dict[str, int] = defaultdict(int)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the units (U,) by module: whether any sample has woken them."""
        return self.alive

    def values(self) -> Values:
        """Return the samples seen by module."""
        return {"rows": dict(self.rows)}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take them back."""
        self.alive = {name: units.clone() for name, units in tensors.items()}
        self.rows = defaultdict(int, values["rows"])


class _Probe:
    """Follows the outputs of ReLUs, until enough samples have passed."""

    def __init__(self, relus: Mapping[str, nn.Module], applied: int, followed: Followed) -> None:
        followed.restore({}, {"rows": {}})
        self._followed = followed
        self._begun = applied
        self._handles = [
            module.register_forward_hook(self._follow(name)) for name, module in relus.items()
        ]

    def steps_left(self, applied: int) -> int:
        """Return the steps until enough has been seen, by the samples of those before."""
        rows, steps = max(self._followed.rows.values(), default=0), applied - self._begun
        if rows >= _ROWS or steps >= _MOST_STEPS:
            return 0
        most = _MOST_STEPS - steps
        return min(most, math.ceil((_ROWS - rows) * steps / rows)) if rows else most

    def finish(self, step: int) -> Warning | None:
        self.close()
        dead = {
            name: (int((~alive).sum()), len(alive))
            for name, alive in self._followed.alive.items()
            if self._followed.rows[name] >= _ROWS
        }
        return signs.dead_units(dead, rows=max(self._followed.rows.values(), default=0), step=step)

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _follow(self, name: str) -> Any:
        def hook(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            # Vectors (n, units) and images (n, units, height, width); in others units stand
            # elsewhere.
            if output.dim() not in (2, 4):
                return
            active = output.detach() > 0
            active = active.any(0) if active.dim() == 2 else active.any(3).any(2).any(0)
            known = self._followed.alive.get(name)
            if known is not None and known.shape != active.shape:
                return
            self._followed.alive[name] = active if known is None else known | active
            self._followed.rows[name] += len(output)

        return hook
