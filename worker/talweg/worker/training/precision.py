"""In what numbers a run computes: float32, or half as many bits where that suffices.

Weights, their gradients, the optimizer and the loss are float32 always. Under bf16 and fp16 the
network's forward and backward pass take bfloat16 or float16 where torch's autocast finds that they
lose nothing that counts. Evaluations run in float32, as the model does that is given out.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import Training
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import LossModule
from talweg.worker.losses.base import Factors
from talweg.worker.training.state.snapshot import Values

FIRST_SCALE = 2.0**16
"""What gradients in float16 are multiplied by at first."""
LARGEST_SCALE = 2.0**24
"""No scale is larger."""
RAISED_AFTER = 2000
"""Steps without an overflow after which the scale is doubled."""
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


class GradScaler:
    """The scale of gradients in float16, which holds nothing below 6e-8 and beyond 65,504.

    The loss's gradient is multiplied by it, so that small gradients do not vanish on their way,
    and the weights' gradients are divided by it in float32. Powers of two round nothing.
    """

    def __init__(self, scale: float = FIRST_SCALE) -> None:
        """Begin with a scale, a power of two."""
        self.scale = scale
        """What the gradients are multiplied by, at least 1."""
        self.downs = 0
        """How often they overflowed."""
        self._passed = 0
        # What these were before the step under way was run with a lower scale.
        self._before: Values = {}

    @property
    def before_step(self) -> Values:
        """Its values before the step under way."""
        return self._before or self.values()

    def passed(self) -> None:
        """Take a step without an overflow; after enough of them the scale is doubled."""
        self._before = {}
        self._passed += 1
        if self._passed == RAISED_AFTER:
            self.scale = min(2 * self.scale, LARGEST_SCALE)
            self._passed = 0

    def lower(self) -> bool:
        """Take an overflow, and halves the scale.

        Returns:
            False at scale 1: then the gradients are at fault, and all is as before the step.
        """
        if self.scale == 1:
            self.restore({}, self.before_step)
            return False
        self._before = self.before_step
        self.scale /= 2
        self.downs += 1
        self._passed = 0
        return True

    def watched(self) -> dict[str, float]:
        """Return scale and overflows, by metric's name."""
        return {"guard/loss_scale": self.scale, "guard/scale_downs": float(self.downs)}

    def tensors(self) -> Mapping[str, Tensor]:
        """Return none; see `Stateful`."""
        return {}

    def values(self) -> Values:
        """Return the scale and what is counted; see `Stateful`."""
        return {"scale": self.scale, "downs": self.downs, "passed": self._passed}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take them back; see `Stateful`."""
        self.scale, self.downs, self._passed = values["scale"], values["downs"], values["passed"]
        self._before = {}


class Precision:
    """How a run's forward passes compute."""

    def __init__(
        self,
        kind: Training.Precision.ValueType,
        device: torch.device,
        criterion: LossModule,
    ) -> None:
        """Take a spec's choice.

        Args:
            kind: The choice.
            device: Where the run trains.
            criterion: The loss, which is held to float32 from now on.

        Raises:
            UserSpecError: The device has no such numbers.
        """
        self._name = Training.Precision.Name(kind)
        self._device = device
        self.scaler = GradScaler() if kind == Training.fp16 else None
        """Keeps gradients in float16's range; None where they need no help."""
        self.is_full = kind == Training.fp32
        """Whether all is computed in float32."""
        self.forward: Callable[[], AbstractContextManager[object]] = nullcontext
        """Gives the context in which batches go through network and loss."""
        if self.is_full:
            return
        dtype = torch.bfloat16 if kind == Training.bf16 else torch.float16
        if kind == Training.bf16 and device.type == "cuda" and not _has_bf16():
            raise UserSpecError(
                "training.precision is bf16, which this worker's GPU does not support: use fp16"
            )
        self.forward = partial(torch.autocast, device.type, dtype=dtype)
        _hold_to_float32(criterion, device.type)

    def warning(self, model: nn.Module) -> Warning | None:
        """Return what to say where the device is slow in this precision; None where it is not.

        torch has no vectorised convolution in float16 on CPUs: two layers of 16 and of 32 channels
        on images of 64×64 pixels took 3.6 and 10 times as long as in float32.

        Args:
            model: The network.
        """
        if self._name != "fp16" or self._device.type != "cpu":
            return None
        if not any(isinstance(module, _CONVOLUTIONS) for module in model.modules()):
            return None
        return Warning(
            kind=Warning.PRECISION_SLOW,
            field="training.precision",
            message=(
                "fp16 on a CPU: convolutions in float16 are not vectorised there, and a step can "
                "take many times as long as in fp32: use bf16 or fp32, or a worker with a GPU"
            ),
        )

    def dry_run(self, step: Callable[[], object]) -> None:
        """Run a step that leaves no trace, to see whether the device can do all that it asks for.

        Args:
            step: A forward and a backward pass.

        Raises:
            UserSpecError: It cannot.
        """
        try:
            step()
        except RuntimeError as exc:
            if "not implemented for" not in str(exc):
                raise
            first_line = str(exc).partition("\n")[0]
            raise UserSpecError(
                f"training.precision is {self._name}, in which device {self._device.type} cannot "
                f"run this model ({first_line}): use fp32, or the other one of bf16 and fp16"
            ) from exc


def _has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _hold_to_float32(criterion: LossModule, device: str) -> None:
    """Make a loss take float32 and compute in it.

    Losses widen what they are given themselves, and then bound the gradient by what float16 holds.
    Widened here, a scaled gradient that is too large overflows, and the guard sees it.
    """
    plain = criterion.forward

    def forward(inputs: Mapping[str, Tensor], *factors: Factors) -> Tensor:
        with torch.autocast(device, enabled=False):
            return plain({name: _float32(tensor) for name, tensor in inputs.items()}, *factors)

    criterion.forward = forward  # type: ignore[method-assign]


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
