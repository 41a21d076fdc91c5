"""What happens when the guard refuses a step: the policies of `training.guard`.

Those of `training.spikes` that refuse steps are the same, of another concern. To add one: a class,
and its row in `POLICIES`, which a test holds complete.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from talweg.spec import kind
from talweg.v1 import guard_pb2 as messages
from talweg.v1 import spikes_pb2
from talweg.v1.jobs_pb2 import Divergence, GuardDecision, LogLine
from talweg.worker.tasks import Batch
from talweg.worker.tasks.common.base import Explanation
from talweg.worker.training.batching.batches import Batches
from talweg.worker.training.guard.diagnosis import LossOf, diagnose, weights_bad
from talweg.worker.training.guard.guard import Guard, Reading
from talweg.worker.training.guard.overflow import WeightWatch
from talweg.worker.training.interface import Reporter
from talweg.worker.training.state.snapshot import Snapshot, Snapshots, Values
from talweg.worker.training.state.training_state import (
    NUM_REMEMBERED,
    Refusals,
    TrainingState,
)

NEVER = sys.maxsize
"""Steps between looks at the weights where another policy looks at them."""


@dataclass(frozen=True)
class Concern:
    """What a policy refuses steps for."""

    field: str
    """Where the spec has the policy."""
    metrics: str
    """What the names of its metrics begin with."""
    refusals: Callable[[TrainingState], Refusals]
    """Gives what has come of its refused steps."""


NOT_FINITE = Concern("training.guard", "guard", lambda state: state.refusals)
"""Steps that are not finite."""
SPIKES = Concern("training.spikes", "spikes", lambda state: state.spikes)
"""Steps that are finite and far out of line."""


@dataclass(frozen=True)
class PolicyContext:
    """What every policy works with."""

    guard: Guard
    """Takes refused steps back."""
    batches: Batches
    """Knows the samples of a step."""
    weights: WeightWatch
    """Sees weights that run away."""
    look_every_steps: int
    """How often it has to look."""
    num_steps: int
    """Steps that are planned."""
    trained: Snapshots
    """Of weights, buffers and optimizer."""
    report: Reporter
    """Takes the decisions."""
    explain: Callable[[], Explanation | None]
    """Tells what the task knows of a loss that is not a number."""
    concern: Concern = NOT_FINITE
    """What steps are refused for."""
    others: "list[GuardPolicy]" = field(default_factory=list)
    """All policies of the training: what one rolls back the others must not go back to."""


class GuardPolicy(ABC):
    """What every policy does; each decides what follows a refused step."""

    def __init__(self, _: Any, context: PolicyContext) -> None:
        """Take a filled message, and what it works with."""
        self._context = context
        self._next_look = context.look_every_steps
        context.others.append(self)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return none; see `Stateful`."""
        return {}

    def values(self) -> Values:
        """Return when the weights are to be looked at; see `Stateful`."""
        return {"next_look": self._next_look}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take it back; see `Stateful`."""
        self._next_look = values["next_look"]

    def is_due(self, state: TrainingState) -> bool:
        """Return whether `passed` has something to do after the state's step."""
        return state.step >= self._next_look

    def passed(self, state: TrainingState) -> Divergence | None:
        """Look at the weights where it is due, after a step that the guard let through.

        Returns:
            Why the run must end; None where it goes on.
        """
        if not GuardPolicy.is_due(self, state):
            return None
        self._next_look = state.step + self._context.look_every_steps
        bad = self._context.weights.bad()
        return self._ran_away(state, weights_bad(state, bad)) if bad else None

    def refused(
        self,
        state: TrainingState,
        reading: Reading,
        window: Sequence[Batch],
        loss_of: LossOf,
    ) -> Divergence | None:
        """Take a refused step back and decide what happens next.

        Returns:
            Why the run must end; None where it goes on.
        """
        context = self._context
        samples, quarter_turns = context.batches.samples(state.order)
        divergence = diagnose(
            state,
            reading,
            window,
            samples=samples,
            quarter_turns=quarter_turns,
            guard=context.guard,
            loss_of=loss_of,
            explain=context.explain,
        )
        return self.decide(state, divergence)

    def decide(self, state: TrainingState, divergence: Divergence) -> Divergence | None:
        """Decide what happens after a refused step, which has been taken back.

        Returns:
            Why the run must end; None where it goes on.
        """
        refusals = self._context.concern.refusals(state)
        refusals.in_a_row = 1 + (refusals.in_a_row if refusals.last_step == state.step - 1 else 0)
        refusals.last_step = state.step
        return self._decide(state, divergence)

    def rolled_back(self, state: TrainingState) -> None:  # noqa: B027 - most keep nothing
        """Follow a rollback by another policy."""

    @abstractmethod
    def _decide(self, state: TrainingState, divergence: Divergence) -> Divergence | None:
        """Decide what follows a refused step, which has been taken back."""

    def _ran_away(self, state: TrainingState, divergence: Divergence) -> Divergence | None:
        return divergence

    def _tell(self, decision: GuardDecision, state: TrainingState, text: str) -> None:
        refusals = self._context.concern.refusals(state)
        decision.skipped, decision.rollbacks = refusals.skipped, refusals.rollbacks
        decision.rate_factor = state.rate_factor
        self._context.report.guard(decision)
        self._context.report.log(LogLine.WARNING, text)


class Fail(GuardPolicy):
    """The run ends at the first refused step."""

    def _decide(self, state: TrainingState, divergence: Divergence) -> Divergence | None:
        return divergence


class Skip(GuardPolicy):
    """A refused step is left out."""

    def __init__(
        self, policy: messages.GuardSkip | spikes_pb2.SpikesSkip, context: PolicyContext
    ) -> None:
        """Take a filled message, and what it works with."""
        super().__init__(policy, context)
        self._policy = policy
        self._most = max(1, int(policy.max_share * context.num_steps))

    def _decide(self, state: TrainingState, divergence: Divergence) -> Divergence | None:
        concern, policy = self._context.concern, self._policy
        refusals = concern.refusals(state)
        if refusals.in_a_row > policy.max_in_a_row:
            divergence.policy = (
                f"{refusals.in_a_row} consecutive steps were refused, and "
                f"{concern.field}.skip.max_in_a_row is {policy.max_in_a_row}"
            )
            return divergence
        if refusals.skipped == self._most:
            divergence.policy = (
                f"{refusals.skipped} of {self._context.num_steps} steps had been skipped before, "
                f"and {concern.field}.skip.max_share {policy.max_share:g} allows no more"
            )
            return divergence
        refusals.skipped += 1
        self._tell(
            GuardDecision(action=GuardDecision.SKIPPED, seen=divergence),
            state,
            f"Step {state.step} is skipped: {in_words(divergence)}. {divergence.hint} Skipped so "
            f"far: {refusals.skipped} of {self._context.num_steps} steps.",
        )
        self._context.report.metrics(
            state.step, {f"{concern.metrics}/skipped": float(refusals.skipped)}
        )
        return None


@dataclass
class _GoodState:
    """A good state."""

    step: int
    applied: int
    trained: Snapshot


class Rollback(GuardPolicy):
    """Training goes back to a good state, and on with a lower learning rate."""

    def __init__(
        self, policy: messages.GuardRollback | spikes_pb2.SpikesRollback, context: PolicyContext
    ) -> None:
        """Take a filled message, and what it works with, before the first step."""
        super().__init__(policy, context)
        self._policy = policy
        self._good_states = [_GoodState(0, 0, context.trained.capture())]

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the states that are kept; see `Stateful`."""
        return {
            f"{number}/{path}": tensor
            for number, good in enumerate(self._good_states)
            for path, tensor in good.trained.tensors.items()
        }

    def values(self) -> Values:
        """Return what else belongs to them; see `Stateful`."""
        states = [
            {"step": good.step, "applied": good.applied, "values": good.trained.values}
            for good in self._good_states
        ]
        return {**super().values(), "kept": states}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take them back; see `Stateful`."""
        super().restore(tensors, values)
        self._good_states = []
        for number, good in enumerate(values["kept"]):
            own = f"{number}/"
            copies = {
                path.removeprefix(own): tensor.clone()
                for path, tensor in tensors.items()
                if path.startswith(own)
            }
            trained = Snapshot(tensors=copies, values=dict(good["values"]))
            self._good_states.append(_GoodState(good["step"], good["applied"], trained))

    def is_due(self, state: TrainingState) -> bool:
        """Return whether `passed` has something to do after the state's step."""
        return self._keeps(state) or super().is_due(state)

    def passed(self, state: TrainingState) -> Divergence | None:
        """Do as every policy does, and keep the state where that is due.

        Returns:
            Why the run must end; None where it goes on.
        """
        if not self._keeps(state):
            return super().passed(state)
        # Only what is known to be good is good.
        self._next_look = state.step
        refusals = self._context.concern.refusals(state)
        times = refusals.rollbacks
        ending = super().passed(state)
        if ending is None and refusals.rollbacks == times:
            self._keep(state)
        return ending

    def _keeps(self, state: TrainingState) -> bool:
        return state.step - self._good_states[-1].step >= self._policy.keep_every_steps

    def _keep(self, state: TrainingState) -> None:
        # Of the two that are kept the older is there for when the younger is too young.
        unused = self._good_states.pop(0).trained if len(self._good_states) == 2 else None
        trained = self._context.trained.capture(into=unused)
        self._good_states.append(_GoodState(state.step, state.applied, trained))

    def _decide(self, state: TrainingState, divergence: Divergence) -> Divergence | None:
        concern, policy = self._context.concern, self._policy
        refusals = concern.refusals(state)
        good = self._good(state.step)
        divergence.good_step = good.step
        if refusals.rollbacks == policy.max_times:
            divergence.policy = (
                f"training had been rolled back {refusals.rollbacks} times, and "
                f"{concern.field}.rollback.max_times is {policy.max_times}"
            )
            return divergence
        self._context.trained.restore(good.trained)
        state.applied = good.applied
        # What was kept after it led to where training must not go again.
        self._good_states = [good]
        for other in self._context.others:
            if other is not self:
                other.rolled_back(state)
        refusals.rollbacks += 1
        refusals.rate_factor *= policy.rate_factor
        self._tell(
            GuardDecision(action=GuardDecision.ROLLED_BACK, seen=divergence, to_step=good.step),
            state,
            f"Step {state.step} is refused: {in_words(divergence)}. Training is rolled back to "
            f"the state after step {good.step} and goes on with the next batches; learning rates "
            f"are multiplied by {state.rate_factor:g} from now on. {divergence.hint}",
        )
        self._context.report.metrics(
            state.step, {f"{concern.metrics}/rollbacks": float(refusals.rollbacks)}
        )
        return None

    def rolled_back(self, state: TrainingState) -> None:
        """Keep the state that another policy went back to alone."""
        trained = self._context.trained.capture()
        self._good_states = [_GoodState(state.step, state.applied, trained)]

    def _ran_away(self, state: TrainingState, divergence: Divergence) -> Divergence | None:
        return self._decide(state, divergence)

    def _good(self, step: int) -> _GoodState:
        """Return the latest state that is old enough not to hold what led to the refused step."""
        old = [good for good in self._good_states if step - good.step > NUM_REMEMBERED]
        return old[-1] if old else self._good_states[0]


def build(guard: messages.Guard, context: PolicyContext) -> GuardPolicy:
    """Build the policy of a filled message."""
    name, message = kind(guard)
    return POLICIES[name](message, context)


def in_words(divergence: Divergence) -> str:
    """Say in half a sentence what was refused."""
    if divergence.HasField("spike"):
        spike = divergence.spike
        what = f"{divergence.what} {divergence.value}"
        if spike.HasField("first"):
            return f"{what} is far above the first step's, {spike.first:.4g}"
        return (
            f"{what} is {spike.deviations:.3g} robust standard "
            f"deviations above {spike.median:.4g}, the median of the last {spike.num_steps} steps"
        )
    where = f", first in module {divergence.module}" if divergence.module else ""
    return f"{divergence.what} {divergence.value}{where}"


POLICIES: dict[str, type[GuardPolicy]] = {"fail": Fail, "skip": Skip, "rollback": Rollback}
"""Every member of `Guard` with its policy."""
