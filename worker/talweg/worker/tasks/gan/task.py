"""Adversarial games: a generator of samples, and a critic that tells them from real ones."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1 import losses_pb2
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import losses
from talweg.worker.data import DataBundle, DataSplit, ring_centres
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import LossModule, gradient_penalty
from talweg.worker.models import GeneratorAndCritic
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import (
    DryRun,
    EvalResult,
    MetricAccumulator,
    StepInfo,
    TaskRunner,
)
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.metrics import Floats
from talweg.worker.tasks.gan.metrics import mode_shares, sliced_wasserstein
from talweg.worker.tasks.gan.predictions import postprocessor

# Of an even share of the samples, below which a mode counts as missed: 5% of 8 modes.
_LEAST_OF_EVEN = 0.4
# Made samples by which modes are counted; one draw of noise for all evaluations.
_LEAST_MADE = 2000
_MOST_SHOWN = 1000
_SEED = 0
_PLAYERS = ("critic", "generator")


class Gan(TaskRunner):
    """Samples like those of the data. In each optimizer step one of the two players moves.

    The other's weights get no gradient then, so the optimizer passes them and their moments by.
    """

    contract = {"x": Array(("N …",), "the samples")}
    watches = True
    num_players = len(_PLAYERS)

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        game = spec.task.gan
        self._critic_steps = game.critic_steps
        self.turns = game.critic_steps + 1
        self._critic_rate = game.critic_rate
        self._penalty = game.gradient_penalty if game.HasField("gradient_penalty") else 0.0
        self._clip = game.weight_clip if game.HasField("weight_clip") else 0.0
        other = losses_pb2.Loss()
        other.CopyFrom(spec.loss)
        other.gan.side = losses_pb2.GanSide.generator
        self._generator_loss = losses.build(other)
        self.postprocess = postprocessor(spec, bundle)
        # With the loss, so that a training that is gone on with tells what it would have told.
        self.criterion.register_buffer("paid", torch.full((len(_PLAYERS),), math.nan))
        self._critic: list[nn.Parameter] = []
        name, data = kind(spec.dataset)
        self.modes: tuple[Floats, float] | None = None
        """The data's modes (K, …) and the sd around each, where they are known."""
        if name == "gaussian_ring":
            self.modes = ring_centres(spec.dataset.gaussian_ring), spec.dataset.gaussian_ring.sd

    def start(self, network: nn.Module) -> None:
        """Note whose weights are the critic's."""
        self._critic = list(players(network).critic.parameters())

    def frozen(self, model: nn.Module) -> None:
        """Leave the critic's frozen weights alone; see `TaskRunner.frozen`."""
        both = players(model)
        for name, player in (("generator", both.generator), ("critic", both.critic)):
            if not any(parameter.requires_grad for parameter in player.parameters()):
                raise UserSpecError(
                    f"freeze: found patterns that freeze the whole {name}; allowed patterns that "
                    "leave each player something to train"
                )
        self._critic = [parameter for parameter in self._critic if parameter.requires_grad]

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x; see `TaskRunner.arrays`."""
        return {"x": part.x}

    def is_critics(self, step: int) -> bool:
        """Return whether the critic moves in a step, counted from 1, and else the generator."""
        return (step - 1) % self.turns < self._critic_steps

    def player(self, step: int) -> int:
        """Return 0 where the critic moves and 1 where the generator does."""
        return 0 if self.is_critics(step) else 1

    def rate_factor(self, step: int) -> float:
        """Return what the learning rate is multiplied by; see `TaskRunner.rate_factor`."""
        return self._critic_rate if self.is_critics(step) else 1.0

    def loss(self, model: nn.Module, batch: Batch, step_info: StepInfo) -> Tensor:
        """Return what the player that moves has to pay; see `TaskRunner.loss`."""
        both = players(model)
        noise = torch.randn(len(batch), both.noise, device=batch.x.device)
        if self.is_critics(step_info.step):
            with torch.no_grad():
                fake = both(noise)
            paid = self.criterion(self._scores(both, batch.x, fake))
            if self._penalty:
                share = torch.rand(len(batch), device=batch.x.device)
                paid = paid + gradient_penalty(both.score, batch.x, fake, share, self._penalty)
            self._note(0, paid)
            return paid
        with _unmoved(self._critic):
            paid = self._generator_loss({"fake": both.score(both(noise))})
        self._note(1, paid)
        return paid

    def weighted_criteria(self) -> Sequence[tuple[LossModule, float]]:
        """Return none: players pay for samples that are drawn."""
        return []

    def dry_runs(
        self, model: nn.Module, batch: Batch, arrays: Mapping[str, Tensor]
    ) -> Iterator[DryRun]:
        """Return the critic's loss with scores of real and made samples."""
        both = players(model)
        fake = both(torch.randn(len(batch), both.noise, device=batch.x.device))
        yield DryRun("loss", self.criterion, self._scores(both, batch.x, fake), {})

    def watched(self) -> dict[str, float]:
        """Return what each player paid last."""
        paid = zip(_PLAYERS, self.criterion.get_buffer("paid").tolist(), strict=True)
        return {f"train/{name}_loss": value for name, value in paid if not math.isnan(value)}

    def _note(self, player: int, paid: Tensor) -> None:
        self.criterion.get_buffer("paid")[player] = paid.detach()

    def updated(self) -> None:
        """Cut the critic's weights where the job asks for it."""
        if self._clip:
            with torch.no_grad():
                for parameter in self._critic:
                    parameter.clamp_(-self._clip, self._clip)

    def accumulator(self, model: nn.Module) -> MetricAccumulator:
        """Begin an evaluation of a model."""
        return _Likeness(self, players(model))

    def in_units(self, x: Tensor) -> Floats:
        """Return samples (N, …) in the data's units."""
        values = self.postprocess(x.detach().to("cpu", torch.float64))
        samples: Floats = values.reshape(x.shape).numpy()
        return samples

    @staticmethod
    def _scores(both: GeneratorAndCritic, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return {"real": both.score(real), "fake": both.score(fake)}


def players(model: nn.Module) -> GeneratorAndCritic:
    """Find generator and critic in a model."""
    return next(part for part in model.modules() if isinstance(part, GeneratorAndCritic))


@contextmanager
def _unmoved(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Let a forward pass go through weights that get no gradient of it."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class _Likeness(MetricAccumulator):
    """Compares as many made samples with the real ones."""

    def __init__(self, task: Gan, both: GeneratorAndCritic) -> None:
        self._task = task
        self._both = both
        self._real: list[Floats] = []

    def add(self, batch: Batch) -> None:
        self._real.append(self._task.in_units(batch.x))

    def result(self) -> EvalResult:
        real = np.concatenate(self._real)
        made = self._made(max(len(real), _LEAST_MADE if self._task.modes else 0))
        values: dict[str, float] = {}
        if bool(np.isfinite(made).all()):
            values["sliced_wasserstein"] = sliced_wasserstein(real, made[: len(real)])
            if self._task.modes is not None:
                shares = mode_shares(made, *self._task.modes)
                values["modes"] = float((shares >= _LEAST_OF_EVEN / len(shares)).sum())
                values["least_mode_share"] = float(shares.min())
        shown: dict[str, NDArray[np.float32]] = {
            "originals": real[:_MOST_SHOWN].astype(np.float32),
            "samples": made[:_MOST_SHOWN].astype(np.float32),
        }
        return EvalResult(values, shown)

    def _made(self, count: int) -> Floats:
        device = next(self._both.parameters()).device
        generator = torch.Generator().manual_seed(_SEED)
        noise = torch.randn(count, self._both.noise, generator=generator)
        parts = [self._both(part.to(device)) for part in torch.split(noise, 1024)]
        return self._task.in_units(torch.cat(parts))
