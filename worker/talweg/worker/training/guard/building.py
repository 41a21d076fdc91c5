"""The policies of a run, made from its spec."""

from dataclasses import dataclass, replace

import torch

from talweg.spec import kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks import TaskRunner
from talweg.worker.training.batching.batches import Batches, Plan
from talweg.worker.training.guard import overflow, policies
from talweg.worker.training.guard.guard import Guard
from talweg.worker.training.guard.overflow import WeightWatch
from talweg.worker.training.guard.policies import GuardPolicy, PolicyContext
from talweg.worker.training.guard.sample_losses import SampleLosses
from talweg.worker.training.guard.spike_policies import SpikeGuard
from talweg.worker.training.guard.spikes import SpikeDetector
from talweg.worker.training.interface import Reporter
from talweg.worker.training.state import parts
from talweg.worker.training.state.snapshot import Snapshots, Stateful
from talweg.worker.training.state.training_state import TrainingState

SPIKE_WINDOW = "spike_window"
"""Under which name snapshots hold what steps are compared with."""
NEWER = ("spikes", SPIKE_WINDOW)
"""What snapshots of earlier versions do not hold."""


@dataclass(frozen=True)
class Policies:
    """What decides about the steps of a run."""

    guard: GuardPolicy
    """What happens to a step that is not finite."""
    spikes: SpikeGuard
    """What happens to one that is finite and far out of line."""
    detector: SpikeDetector
    """Tells which are."""

    def parts(self) -> dict[str, Stateful]:
        """Return what of them training changes, by the names in checkpoints."""
        return {"policy": self.guard, "spikes": self.spikes, SPIKE_WINDOW: self.detector}


def build(
    spec: JobSpec,
    *,
    state: TrainingState,
    task: TaskRunner,
    plan: Plan,
    guard: Guard,
    batches: Batches,
    weights: WeightWatch,
    device: torch.device,
    followed: Stateful,
    report: Reporter,
) -> Policies:
    """Build the policies of a filled spec.

    Args:
        spec: The job's.
        state: The training, before its first step.
        task: What is trained.
        plan: How long, in what batches.
        guard: Takes refused steps back.
        batches: Knows the samples of a step.
        weights: Sees weights that run away.
        device: Where it trains.
        followed: What follows the outputs of layers.
        report: Takes the decisions.
    """
    detector = _detector(spec, task, plan)
    # What steps are compared with goes back with the weights.
    trained = {**parts.trained(state, task.criterion), SPIKE_WINDOW: detector}
    context = PolicyContext(
        guard=guard,
        batches=batches,
        weights=weights,
        look_every_steps=overflow.steps_apart(
            spec.optimizer, rate_factor=max([1.0, *spec.learning_rates.values()])
        ),
        num_steps=plan.length.steps,
        trained=Snapshots(trained, newer=NEWER),
        report=report,
        explain=task.explain,
    )
    return Policies(
        policies.build(spec.training.guard, context),
        SpikeGuard(
            spec.training.spikes,
            replace(context, concern=policies.SPIKES, look_every_steps=policies.NEVER),
            detector=detector,
            sample_losses=SampleLosses(
                state.model, task.criterion, guard, device=device, followed=followed
            ),
        ),
        detector,
    )


def _detector(spec: JobSpec, task: TaskRunner, plan: Plan) -> SpikeDetector:
    settings = kind(spec.training.spikes)[1]
    return SpikeDetector(
        window=settings.window,  # type: ignore[attr-defined]
        threshold=settings.threshold,  # type: ignore[attr-defined]
        max_growth=settings.max_growth,  # type: ignore[attr-defined]
        batch_size=min(plan.batch_size * plan.accumulation, plan.num_samples),
        num_players=task.num_players,
        player=task.player,
    )
