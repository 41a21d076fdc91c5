"""One run of a job, from its spec to its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from talweg.spec import SpecError, complete
from talweg.v1.jobs_pb2 import Divergence, Job, LogLine, Outcome
from talweg.v1.spec_pb2 import JobSpec, Resources
from talweg.worker.diagnostics import learn_one_batch, look_around, trivial_metrics, try_rates
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import EvalResult
from talweg.worker.training import determinism, memory
from talweg.worker.training.distributed.process_group import ALONE, Team
from talweg.worker.training.distributed.processes import Member, ProcessFailedError, joined
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
    StoreAwayError,
)
from talweg.worker.training.loop import train
from talweg.worker.training.optim import optimizers
from talweg.worker.training.setup import Setup, set_up
from talweg.worker.training.state.checkpoints import Checkpointer
from talweg.worker.training.state.snapshot import seed
from talweg.worker.training.state.training_state import TrainingState

# Another attempt goes on where these have stopped a run.
_GOES_ON = ("pause", "shutdown", "lost")

NUM_EXAMPLES = 5
"""Samples in a result's example."""


def run(
    spec: JobSpec,
    *,
    report: Reporter,
    control: Control,
    device: str | None = None,
    store: Store | None = None,
    member: Member | None = None,
) -> Result:
    """Train as a spec says. The same spec gives the same result, bit for bit, on one machine.

    So it does where it is stopped and run again with the same store, as often as that happens.

    Args:
        spec: The job; defaults may be absent.
        report: Where the run tells what happens.
        control: What may stop it, at resources.time_limit_seconds too.
        device: "auto", "cpu" or "cuda", in place of what the spec says.
        store: Where the state is kept, and what an earlier attempt has kept; none where None.
        member: Which of several processes this is, where it is not the job's first.

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
    if member is not None:
        # The first process does it for all.
        spec.diagnostics.ClearField("loss_landscape")
    place = _place(device or Resources.Device.Name(spec.resources.device))
    setup: Setup | None = None
    training = spec.training
    asked = training.deterministic if training.HasField("deterministic") else None
    with _reproducible(place, asked, report), memory.bounded(place):
        try:
            with joined(spec, place, member) as team:
                setup = set_up(spec, place, report, warned=[warning.kind for warning in warned])
                # Dropout and the like draw from here on.
                seed(place, spec.training.seed + 1)
                checkpoints = Checkpointer(
                    setup.state,
                    setup.snapshots,
                    store or NoStore(),
                    weights=setup.weights,
                    settings=spec.training.checkpoints,
                    report=report,
                )
                if not checkpoints.resume() and member is None:
                    _look_ahead(setup, spec, report, control)
                if team is not None:
                    team.join(setup)
                return _run(setup, spec, report, control, checkpoints, team or ALONE)
        except UserSpecError as exc:
            return Result(Job.FAILED, Outcome.USER_SPEC, str(exc))
        except ProcessFailedError as exc:
            return Result(Job.FAILED, exc.cause, str(exc))
        except StoreAwayError as exc:
            return Result(Job.QUEUED, message=f"Given back before it began: {exc}")
        except (MemoryError, RuntimeError) as exc:
            operator = determinism.refused(exc)
            if operator is not None:
                text = (
                    f"training.deterministic is true, and {operator} has no deterministic form on "
                    f"device {place.type}: leave it out to have as much of it as there is"
                )
                return Result(Job.FAILED, Outcome.USER_SPEC, text)
            if not memory.is_out_of_memory(exc):
                raise
            failed = str(exc).partition("\n")[0]
        # Out here the exception is gone, and with it what its frames held.
        return _out_of_memory(failed, spec, place, setup)


def _look_ahead(setup: Setup, spec: JobSpec, report: Reporter, control: Control) -> None:
    """Make the diagnoses that come before training and leave no trace in it."""
    asked, rate = spec.diagnostics, optimizers.learning_rate(spec.optimizer)
    if asked.one_batch_steps:
        learn_one_batch(setup, asked.one_batch_steps, rate=rate, report=report, control=control)
    if asked.HasField("rate_range"):
        try_rates(setup, asked.rate_range, rate=rate, report=report, control=control)


def _run(
    setup: Setup,
    spec: JobSpec,
    report: Reporter,
    control: Control,
    checkpoints: Checkpointer,
    team: Team,
) -> Result:
    state, recorder = setup.state, setup.recorder
    ending = train(
        state,
        plan=setup.plan,
        batches=setup.batches,
        loss_of=setup.loss_of,
        schedule=setup.schedule,
        guard=setup.guard,
        policy=setup.policy,
        health=setup.health,
        recorder=recorder,
        evaluator=setup.evaluator,
        report=report,
        control=control,
        checkpoints=checkpoints,
        team=team,
        ahead=setup.ahead,
        curriculum=setup.curriculum,
    )
    setup.health.close()
    state.update.close()
    if isinstance(ending, Stop):
        goes_on = ending.reason in _GOES_ON
        if goes_on or (spec.outputs.checkpoint and ending.reason != "lost"):
            checkpoints.save()
        if not goes_on:
            # A run that goes on elsewhere has its points where it would have had them.
            recorder.flush()
            _tell_flow(setup, report)
        return _stopped(ending, spec, state)
    recorder.flush()
    _tell_flow(setup, report)
    if ending is not None:
        if checkpoints.kept_step is not None and not ending.HasField("good_step"):
            ending.good_step = checkpoints.kept_step
        return _diverged(ending, steps=state.applied)
    if spec.outputs.checkpoint:
        checkpoints.save()
    if state.best is not None:
        state.take_best()
        metric, best = spec.training.early_stopping.metric, state.stopping
        text = (
            f"The weights of step {best.step} are taken: {metric} was {best.best:.6g}, its best."
        )
        report.log(LogLine.INFO, text)
    bad = setup.weights.bad()
    if bad:
        return _diverged(weights_bad(state, bad), steps=state.applied)

    tested: EvalResult | None = None
    if len(setup.test):
        batch_size = setup.plan.batch_size
        tested = evaluate(state.model, setup.task, setup.test, batch_size=batch_size)
        recorder.evaluation(state.step, "test", tested.values)
        _compare(setup, spec, tested, report)
    if spec.diagnostics.HasField("loss_landscape"):
        stop = look_around(setup, spec.diagnostics.loss_landscape, report=report, control=control)
        if stop is not None:
            if stop.reason in _GOES_ON and stop.reason != "lost":
                checkpoints.save()
            return _stopped(stop, spec, state)
    last = tested or setup.evaluator.last
    for warning in last.warnings if last else ():
        report.warning(warning)
    network: nn.Module = state.model.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Result(
        Job.SUCCEEDED,
        steps=state.applied,
        model=network.eval(),
        example=setup.bundle.train.x[:NUM_EXAMPLES].clone(),
        predictions=tested.predictions if tested else None,
        shown=tested.shown if tested else {},
    )


def _tell_flow(setup: Setup, report: Reporter) -> None:
    table = None if setup.health.flow is None else setup.health.flow.table()
    if table is not None:
        report.table("gradient_flow", table)


def _compare(setup: Setup, spec: JobSpec, tested: EvalResult, report: Reporter) -> None:
    """Tell what a predictor that knows nothing would have reached, where that is asked for."""
    if not spec.diagnostics.trivial or tested.predictions is None:
        return
    values = trivial_metrics(setup.task, setup.bundle, tested.predictions)
    if values is None:
        report.log(LogLine.INFO, "There is no trivial predictor to compare with for this task.")
    else:
        setup.recorder.evaluation(setup.state.step, "trivial", values)


def _stopped(stop: Stop, spec: JobSpec, state: TrainingState) -> Result:
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
    return Result(Job.QUEUED, message=f"Given back {at}", steps=state.step)


def _diverged(divergence: Divergence, *, steps: int) -> Result:
    message = f"Diverged at step {divergence.step}: {in_words(divergence)}. {divergence.hint}"
    if divergence.policy:
        message += f" It ended here since {divergence.policy}."
    return Result(
        Job.DIVERGED,
        Outcome.NOT_FINITE,
        message,
        divergence=divergence,
        steps=steps,
    )


def _place(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("the job needs a CUDA device, but this machine has none")
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


@contextmanager
def _reproducible(place: torch.device, asked: bool | None, report: Reporter) -> Iterator[None]:
    """Run with one thread, race-free kernels if asked for, and a random state of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            torch.random.fork_rng(devices=[place] if place.type == "cuda" else []),
            determinism.held(asked, report) if place.type == "cuda" else nullcontext(),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


def _out_of_memory(failed: str, spec: JobSpec, place: torch.device, setup: Setup | None) -> Result:
    training = spec.training
    fits = None if setup is None else memory.batch_that_fits(setup, place)
    if setup is None:
        hint = "No step had begun: take a smaller model or data set."
    elif fits is None:
        hint = (
            f"Lower training.batch_size, {training.batch_size} now (training.accumulation makes "
            f"up for it), or take a smaller model or data set."
        )
    elif fits == 0:
        hint = "A single sample is too much already: take a smaller model or data set."
    else:
        accumulation = training.accumulation * -(-training.batch_size // fits)
        hint = (
            f"By an estimate training.batch_size {fits} would fit, where it is "
            f"{training.batch_size} now; with training.accumulation {accumulation} the steps "
            f"stay as large."
        )
    message = f"The memory of device {place.type} did not suffice: {failed}. {hint}"
    steps = 0 if setup is None else setup.state.applied
    return Result(Job.FAILED, Outcome.OUT_OF_MEMORY, message, steps=steps)
