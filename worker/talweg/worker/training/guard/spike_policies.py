"""What happens after a spike: the policies of `training.spikes`.

Under warn a step is told of and stands. Under skip and rollback it is refused as one that is not
finite is, by the same policies as those of `training.guard`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from talweg.spec import kind
from talweg.v1 import spikes_pb2 as messages
from talweg.v1.jobs_pb2 import Divergence, GuardDecision, LogLine, Spike, Warning
from talweg.worker.tasks import Batch
from talweg.worker.training.guard.diagnosis import MOST_SAMPLES, LossOf
from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.guard.hints import rising_steps
from talweg.worker.training.guard.policies import (
    GuardPolicy,
    PolicyContext,
    Rollback,
    Skip,
    in_words,
)
from talweg.worker.training.guard.sample_losses import SampleLosses, behind, median_of
from talweg.worker.training.guard.spikes import Jump, SpikeDetector
from talweg.worker.training.state.snapshot import Values
from talweg.worker.training.state.training_state import TrainingState

MOST_TOLD = 10
"""Spikes that a job is warned of in words; the others are counted."""
_MOST_NAMED = 8
_FEWEST_RISES = 3

POLICIES: dict[str, Callable[..., GuardPolicy] | None] = {
    "warn": None,
    "skip": Skip,
    "rollback": Rollback,
}
"""Every member of `Spikes` with the policy by which it refuses steps; None: it refuses none."""


class TakenStep(NamedTuple):
    """A step that was taken before it was read."""

    number: int
    """Its number."""
    applied: int
    """Its number among those that stand."""
    samples: int
    """How many it has."""
    reading: Reading
    """What the guard saw."""


class Answer(NamedTuple):
    """What becomes of a spike."""

    refused: bool
    """Whether the step has been taken back."""
    ending: Divergence | None = None
    """Why the run must end; None where it goes on."""


class SpikeGuard:
    """Answers the spikes of one training by a policy; `Stateful`."""

    def __init__(
        self,
        spikes: messages.Spikes,
        context: PolicyContext,
        *,
        detector: SpikeDetector,
        sample_losses: SampleLosses,
    ) -> None:
        """Begin before the first step.

        Args:
            spikes: Filled.
            context: What policies work with.
            detector: Tells which steps are spikes.
            sample_losses: Tells which samples are behind them.
        """
        name, message = kind(spikes)
        build = POLICIES[name]
        self._policy = None if build is None else build(message, context)
        self._context, self._detector, self._sample_losses = context, detector, sample_losses
        self._num_warned = 0
        self.keeps = isinstance(self._policy, Rollback)
        """Whether `passed` ever has something to do."""
        self.jump = detector.jump
        """Tells of a step whether it is a spike; see `SpikeDetector.jump`."""
        self.add = detector.add
        """Takes a step that stands; see `SpikeDetector.add`."""

    def is_due(self, state: TrainingState) -> bool:
        """Return whether `passed` has something to do after the state's step."""
        return self._policy is not None and self._policy.is_due(state)

    def passed(self, state: TrainingState) -> Divergence | None:
        """Keep the state where that is due; see `GuardPolicy.passed`."""
        return None if self._policy is None else self._policy.passed(state)

    def all_stand(self, steps: Sequence[TakenStep]) -> bool:
        """Take steps that were taken unread, unless one of them has to be looked at by itself.

        Returns:
            Whether they were taken.
        """
        detector = self._detector
        before = (
            None if self._policy is None and self._num_warned >= MOST_TOLD else detector.values()
        )
        for step in steps:
            if self.jump(step.reading, step.samples, step.applied) is not None:
                if before is not None:
                    detector.restore({}, before)
                    return False
                self._count(step.number)
            self.add(step.reading, step.applied)
        return True

    def answer(
        self,
        jump: Jump,
        state: TrainingState,
        window: Sequence[Batch],
        loss_of: LossOf,
    ) -> Answer:
        """Do what the policy wants done about a spike, before its update.

        Args:
            jump: What is out of line.
            state: The training, with the step's gradients.
            window: The step's batches.
            loss_of: Runs a batch through network and loss.
        """
        if self._policy is None:
            if self._num_warned < MOST_TOLD:
                self._warn(self._described(jump, state, window, loss_of), state)
            self._count(state.step)
            return Answer(refused=False)
        self._context.guard.take_back()
        spike = self._described(jump, state, window, loss_of)
        return Answer(refused=True, ending=self._policy.decide(state, spike))

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the policy's; see `Stateful`."""
        return {} if self._policy is None else self._policy.tensors()

    def values(self) -> Values:
        """Return what was counted, and the policy's; see `Stateful`."""
        return {
            "warned": self._num_warned,
            "policy": {} if self._policy is None else self._policy.values(),
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take it back; see `Stateful`."""
        self._num_warned = values["warned"]
        if self._policy is not None:
            self._policy.restore(tensors, values["policy"])

    def _count(self, step: int) -> None:
        self._num_warned += 1
        self._context.report.metrics(step, {"spikes/seen": float(self._num_warned)})

    def _warn(self, spike: Divergence, state: TrainingState) -> None:
        report = self._context.report
        decision = GuardDecision(action=GuardDecision.WARNED, seen=spike)
        decision.rate_factor = state.rate_factor
        text = f"Step {spike.step} is a spike: {in_words(spike)}. {spike.hint}"
        if self._num_warned == MOST_TOLD - 1:
            text += " Later spikes are only counted, in spikes/seen."
        report.guard(decision)
        report.log(LogLine.WARNING, text)
        if self._num_warned == 0:
            report.warning(Warning(kind=Warning.SPIKE, field="training.spikes", message=text))

    def _described(
        self, jump: Jump, state: TrainingState, window: Sequence[Batch], loss_of: LossOf
    ) -> Divergence:
        """Describe a spike, with the samples behind it."""
        samples, quarter_turns = self._context.batches.samples(state.order)
        losses = self._sample_losses.of(window, loss_of) or []
        places = behind(losses, either_side=jump.what == "gradient")[:_MOST_NAMED]
        spike = Spike(
            median=jump.median,
            deviations=jump.deviations,
            num_steps=jump.num_steps,
            samples=[samples[place] for place in places],
            losses=[losses[place] for place in places],
            median_loss=median_of(losses),
            first=jump.first,
        )
        learning_rate = state.update.learning_rate
        return Divergence(
            step=state.step,
            what=jump.what,
            value=f"{jump.value:.4g}",
            losses=state.losses,
            gradient_norms=state.norms,
            learning_rate=learning_rate,
            hint=_hint(spike, state.losses, learning_rate, refuses=self._policy is not None),
            samples=samples[:MOST_SAMPLES],
            quarter_turns=quarter_turns[:MOST_SAMPLES],
            spike=spike,
        )


def _hint(spike: Spike, losses: Sequence[float], learning_rate: float, *, refuses: bool) -> str:
    """Say what is probably behind a spike and what to do."""
    if spike.samples:
        listed = ", ".join(
            f"{sample} ({loss:.3g})"
            for sample, loss in zip(spike.samples, spike.losses, strict=True)
        )
        text = (
            f"Samples of the training split behind it, with the loss of each: {listed}; the "
            f"batch's median is {spike.median_loss:.3g}. Check them"
        )
        return f"{text}." if refuses else f"{text}, or leave them out: training.spikes: skip."
    cause = "No single sample stands out"
    if rising_steps(losses) >= _FEWEST_RISES:
        cause += ", and the loss had been rising before"
    text = (
        f"{cause}: lower the learning rate, which was {learning_rate:g}, or set training.clip_norm"
    )
    return f"{text}." if refuses else f"{text} or training.spikes: rollback."
