"""One run of a job, from its spec to its result."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from talweg.spec import SpecError, complete
from talweg.v1.jobs_pb2 import Divergence, Job, LogLine, Outcome, Warning
from talweg.v1.spec_pb2 import JobSpec, Resources
from talweg.worker.errors import StoreAwayError, UserSpecError
from talweg.worker.tasks import EvalResult
from talweg.worker.training import determinism, memory
from talweg.worker.training.distributed.launcher import ProcessFailedError, Rank
from talweg.worker.training.distributed.processes import joined
from talweg.worker.training.evaluation import evaluate
from talweg.worker.training.guard.diagnosis import weights_bad
from talweg.worker.training.guard.policies import in_words
from talweg.worker.training.interface import (
    Control,
    NoStore,
    Reporter,
    Result,
    Stop,
    Store,
)
from talweg.worker.training.loop import train
from talweg.worker.training.setup import Setup, set_up
from talweg.worker.training.state.checkpoints import Checkpointer
from talweg.worker.training.state.snapshot import seed
from talweg.worker.training.state.training_state import TrainingState

# Another attempt goes on where these have stopped a run.
_GOES_ON = ("pause", "shutdown", "lost")

NUM_EXAMPLES = 5
"""Samples in a result's example."""


@dataclass(frozen=True)
class RunContext:
    """What goes with a run from its begin to its end."""

    spec: JobSpec
    """Filled and checked."""
    device: torch.device
    """Where it trains."""
    report: Reporter
    """Where it tells what happens."""
    control: Control
    """What may stop it."""


class Diagnoses(Protocol):
    """What a job looks into besides its training. All of it leaves the training as it was."""

    def before_training(self, setup: Setup, context: RunContext) -> None:
        """Diagnose a run before its first step."""

    def instead_of_training(self, setup: Setup, context: RunContext) -> Result | None:
        """Do what the run is for where it is not to train; None where it is."""

    def after_test(self, setup: Setup, tested: EvalResult, context: RunContext) -> Stop | None:
        """Compare what came of the test data; gives why the run must end, where it must."""

    def after_training(self, setup: Setup, context: RunContext) -> Stop | None:
        """Diagnose what a training has led to; gives why the run must end, where it must."""


class _NoDiagnoses:
    def before_training(self, setup: Setup, context: RunContext) -> None:
        pass

    def instead_of_training(self, setup: Setup, context: RunContext) -> Result | None:
        return None

    def after_test(self, setup: Setup, tested: EvalResult, context: RunContext) -> Stop | None:
        return None

    def after_training(self, setup: Setup, context: RunContext) -> Stop | None:
        return None


NO_DIAGNOSES: Diagnoses = _NoDiagnoses()
"""The training alone."""


def run(
    spec: JobSpec,
    *,
    report: Reporter,
    control: Control,
    device: str | None = None,
    store: Store | None = None,
    rank: Rank | None = None,
    diagnoses: Diagnoses = NO_DIAGNOSES,
) -> Result:
    """Train as a spec says. The same spec gives the same result, bit for bit, on one machine.

    So it does where it is stopped and run again with the same store, as often as that happens.
    This is the training alone: `talweg.worker.diagnostics.run` adds what `diagnostics` of the spec
    asks for besides.

    Args:
        spec: The job; defaults may be absent.
        report: Where the run tells what happens.
        control: What may stop it, at resources.time_limit_seconds too.
        device: "auto", "cpu" or "cuda", in place of what the spec says.
        store: Where the state is kept, and what an earlier attempt has kept; none where None.
        rank: Which of several processes this is, where it is not the job's first.
        diagnoses: What else is looked into.

    Returns:
        How it ended. Faults of the spec that its data or torch shows, memory that does not suffice
        and divergence are results too.

    Raises:
        ProcessLostError: One of several processes has ended: another attempt is to be made.
        RuntimeError: CUDA is demanded on a machine that has none. Any exception that leaves this
            function is a fault of the service or of the machine, not of the job.
    """
    spec, violations, warned = complete(spec)
    if violations:
        return Result(Job.FAILED, Outcome.USER_SPEC, str(SpecError(violations)))
    on = _device(device or Resources.Device.Name(spec.resources.device))
    context = RunContext(spec, on, report, control)
    job = _Run(context, store or NoStore(), diagnoses)
    asked = spec.training.deterministic if spec.training.HasField("deterministic") else None
    with determinism.reproducible(on, asked, report), memory.bounded(on):
        try:
            return job.carry_out(rank, [warning.kind for warning in warned])
        except (UserSpecError, ProcessFailedError, StoreAwayError) as exc:
            return result_of_error(exc)
        except (MemoryError, RuntimeError) as exc:
            operator = determinism.refused(exc)
            if operator is not None:
                return _nondeterministic(operator, on)
            if not memory.is_out_of_memory(exc):
                raise
            failed = str(exc).partition("\n")[0]
        # Out here the exception is gone, and with it what its frames held.
        return _out_of_memory(failed, job.setup, context)


class _Run:
    """One run of a job."""

    def __init__(self, context: RunContext, store: Store, diagnoses: Diagnoses) -> None:
        self._context, self._store, self._diagnoses = context, store, diagnoses
        self._spec, self._report = context.spec, context.report
        self.setup: Setup | None = None
        """What it trains by; None before that is made."""

    def carry_out(self, rank: Rank | None, warned: Collection[Warning.Kind.ValueType]) -> Result:
        """Set up, go on from what the store has, train and evaluate."""
        spec, device = self._spec, self._context.device
        with joined(spec, device, rank) as process_group:
            setup = self.setup = set_up(spec, device, self._report, warned=warned)
            # Dropout and the like draw from here on.
            seed(device, spec.training.seed + 1)
            checkpoints = Checkpointer(
                setup.state,
                setup.snapshots,
                self._store,
                weights=setup.weights,
                settings=spec.training.checkpoints,
                report=self._report,
            )
            if not checkpoints.resume():
                self._diagnoses.before_training(setup, self._context)
            if process_group is not None:
                process_group.join(setup)
                setup.step.process_group = process_group
            instead = self._diagnoses.instead_of_training(setup, self._context)
            return self._train(setup, checkpoints) if instead is None else instead

    def _train(self, setup: Setup, checkpoints: Checkpointer) -> Result:
        ending = train(
            setup.step,
            plan=setup.plan,
            batches=setup.batches,
            curriculum=setup.curriculum,
            evaluator=setup.evaluator,
            report=self._report,
            control=self._context.control,
            checkpoints=checkpoints,
        )
        setup.step.health.close()
        setup.state.update.close()
        if isinstance(ending, Stop):
            return self._stopped(ending, setup, checkpoints)
        if ending is None and self._spec.outputs.checkpoint:
            # Before the point that ends a training: a longer one has none there.
            checkpoints.save()
        self._flush(setup)
        if ending is not None:
            if checkpoints.kept_step is not None and not ending.HasField("good_step"):
                ending.good_step = checkpoints.kept_step
            return _diverged(ending, steps=setup.state.applied)
        self._take_best(setup.state)
        bad = setup.weights.bad()
        if bad:
            return _diverged(weights_bad(setup.state, bad), steps=setup.state.applied)
        return self._finish(setup, checkpoints)

    def _stopped(self, stop: Stop, setup: Setup, checkpoints: Checkpointer) -> Result:
        goes_on = stop.reason in _GOES_ON
        if goes_on or (self._spec.outputs.checkpoint and stop.reason != "lost"):
            checkpoints.save()
        if not goes_on:
            # A run that goes on elsewhere has its points where it would have had them.
            self._flush(setup)
        return result_of_stop(stop, self._spec, setup.state)

    def _flush(self, setup: Setup) -> None:
        """Report what is told at a training's end alone."""
        setup.step.recorder.flush()
        flow = setup.step.health.flow
        table = None if flow is None else flow.table()
        if table is not None:
            self._report.table("gradient_flow", table)

    def _take_best(self, state: TrainingState) -> None:
        """Go back to the best weights, under early stopping."""
        if state.best is None:
            if self._spec.training.HasField("early_stopping"):
                metric = self._spec.training.early_stopping.metric
                text = f"The last weights are taken: {metric} never had a value to choose by."
                self._report.log(LogLine.INFO, text)
            return
        state.take_best()
        metric, best = self._spec.training.early_stopping.metric, state.kept
        # Of a checkpoint of an older version it may be one that min_delta counts alone.
        is_best = best.step == state.leading.step
        text = (
            f"The weights of step {best.step} are restored: {metric} was {best.best:.6g}"
            f"{', the best value' if is_best else ''}."
        )
        self._report.log(LogLine.INFO, text)

    def _finish(self, setup: Setup, checkpoints: Checkpointer) -> Result:
        """Evaluate the trained model, and hand it out."""
        tested = self._test(setup)
        stop = self._diagnose(setup, tested)
        if stop is not None:
            if stop.reason in _GOES_ON and stop.reason != "lost":
                checkpoints.save()
            return result_of_stop(stop, self._spec, setup.state)
        last = tested or setup.evaluator.last
        for warning in last.warnings if last else ():
            self._report.warning(warning)
        state = setup.state
        network: nn.Module = state.model.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return Result(
            Job.SUCCEEDED,
            steps=state.applied,
            weights_step=state.step if state.best is None else state.kept.step,
            model=network.eval(),
            example=setup.splits.bundle.train.x[:NUM_EXAMPLES].clone(),
            predictions=tested.predictions if tested else None,
            shown=tested.shown if tested else {},
        )

    def _test(self, setup: Setup) -> EvalResult | None:
        """Evaluate on the test data; None where there is none."""
        test = setup.splits.test
        # A session leaves the test data alone: see `test_of`.
        if not len(test) or self._spec.HasField("session"):
            return None
        model, batch_size = setup.state.model, setup.plan.batch_size
        tested = evaluate(model, setup.learner.task, test, batch_size=batch_size)
        setup.step.recorder.evaluation(setup.state.step, "test", tested.values)
        return tested

    def _diagnose(self, setup: Setup, tested: EvalResult | None) -> Stop | None:
        """Look into the trained model; gives why the run must end, where it must."""
        stop = self._diagnoses.after_test(setup, tested, self._context) if tested else None
        return stop or self._diagnoses.after_training(setup, self._context)


def result_of_stop(stop: Stop, spec: JobSpec, state: TrainingState) -> Result:
    """Return how a run ends that is stopped where its state is."""
    detail = f": {stop.detail}" if stop.detail else ""
    at = f"at step {state.step}{detail}"
    if stop.reason == "cancel":
        return Result(Job.CANCELLED, Outcome.CANCEL_REQUEST, f"Cancelled {at}", steps=state.step)
    if stop.reason == "time_limit":
        limit = spec.resources.time_limit_seconds
        message = f"The time limit, resources.time_limit_seconds {limit}, was reached {at}"
        return Result(Job.FAILED, Outcome.TIME_LIMIT, message, steps=state.step)
    if stop.reason == "pause":
        return Result(Job.PAUSED, message=f"Paused {at}", steps=state.step)
    return Result(Job.QUEUED, message=f"Returned to the queue {at}", steps=state.step)


def _diverged(divergence: Divergence, *, steps: int) -> Result:
    message = f"Diverged at step {divergence.step}: {in_words(divergence)}. {divergence.hint}"
    if divergence.policy:
        message += f" Training ended because {divergence.policy}."
    return Result(
        Job.DIVERGED,
        Outcome.NOT_FINITE,
        message,
        divergence=divergence,
        steps=steps,
    )


def result_of_error(exc: UserSpecError | ProcessFailedError | StoreAwayError) -> Result:
    """Return how a run ends that the spec, or a store that is away, keeps from its end."""
    if isinstance(exc, StoreAwayError):
        return Result(
            Job.QUEUED, Outcome.SERVICE, f"Returned to the queue before it started: {exc}"
        )
    cause = exc.cause if isinstance(exc, ProcessFailedError) else Outcome.USER_SPEC
    return Result(Job.FAILED, cause, str(exc))


def _nondeterministic(operator: str, device: torch.device) -> Result:
    message = (
        f"training.deterministic is true, and {operator} has no deterministic implementation on "
        f"device {device.type}: leave it out to use deterministic implementations where they "
        "exist"
    )
    return Result(Job.FAILED, Outcome.USER_SPEC, message)


def _out_of_memory(failed: str, setup: Setup | None, context: RunContext) -> Result:
    hint = memory.hint(context.spec, setup, context.device)
    message = f"Device {context.device.type} ran out of memory: {failed}. {hint}"
    steps = 0 if setup is None else setup.state.applied
    return Result(Job.FAILED, Outcome.OUT_OF_MEMORY, message, steps=steps)


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("the job needs a CUDA device, but this machine has none")
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
