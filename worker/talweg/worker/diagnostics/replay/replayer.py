"""A run that replays one step of another job."""

import time
from collections.abc import Mapping

import torch

from talweg.v1.jobs_pb2 import GuardDecision, Job, LogLine, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import training
from talweg.worker.data import DataBundle
from talweg.worker.diagnostics.replay.report import make_report, tables
from talweg.worker.diagnostics.replay.steps import ReplaySteps
from talweg.worker.tasks import EvalResult
from talweg.worker.training import Control, NullReporter, Reporter, Result, Snapshot, Stop, Store
from talweg.worker.training.job import RunContext, result_of_stop
from talweg.worker.training.loop import train
from talweg.worker.training.setup import Setup

_CUDA_STATE = "random/cuda"


def replay(
    spec: JobSpec,
    *,
    report: Reporter,
    control: Control,
    device: str | None = None,
    store: Store | None = None,
) -> Result:
    """Replay the step that a spec names; arguments as for `training.run`.

    Args:
        spec: Of the other job, with `replay`.
        report: Where the replay tells what happens: how far it is, what it shows, and nothing of
            what the other job has told already.
        control: What may stop it.
        device: In place of what the spec says.
        store: Gives the state to begin from.

    Returns:
        How it ended, with the report where it succeeded.
    """
    watched = _Watched(store or training.NoStore())
    quiet = _Quiet(report, last_step=spec.replay.step)
    return training.run(
        spec,
        report=quiet,
        control=control,
        device=device,
        store=watched,
        diagnoses=_Replay(report, quiet, watched),
    )


class _Watched:
    """A store that keeps nothing, and notes where the state that it gave had been trained."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.was_on_cuda: bool | None = None
        """Whether the restored state is of a GPU; None where there is none."""

    def load(self) -> Snapshot | None:
        snapshot = self._store.load()
        if snapshot is not None:
            self.was_on_cuda = _CUDA_STATE in snapshot.tensors
        return snapshot

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        return False


class _Quiet(NullReporter):
    """Drops what the other job has told when it took these steps."""

    def __init__(self, report: Reporter, *, last_step: int) -> None:
        self._report, self._last_step = report, last_step
        self.decision: GuardDecision | None = None
        """What was decided last about a refused step."""

    def data(self, bundle: DataBundle) -> None:
        self._report.data(bundle)

    def computed(self, parameters: Mapping[str, str]) -> None:
        self._report.computed(parameters)

    def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
        self._report.progress(step, self._last_step, epoch, total_epochs)

    def guard(self, decision: GuardDecision) -> None:
        self.decision = decision


class _Until:
    """Ends the training once the replay is done, or where the run is to stop."""

    def __init__(self, control: Control, steps: ReplaySteps) -> None:
        self._control, self._steps = control, steps
        self.stopped: Stop | None = None
        """Why the run is to stop before."""

    def check(self) -> Stop | None:
        if self._steps.is_done:
            return _DONE
        self.stopped = self._control.check()
        return self.stopped


_DONE = Stop("shutdown", "the replay is done")


class _Replay:
    """What a replay does in place of training; see `Diagnoses`."""

    def __init__(self, report: Reporter, quiet: _Quiet, store: _Watched) -> None:
        self._report, self._quiet, self._store = report, quiet, store

    def before_training(self, setup: Setup, context: RunContext) -> None:
        """Do nothing: what the other job looked into left its training as it was."""

    def after_test(self, setup: Setup, tested: EvalResult, context: RunContext) -> Stop | None:
        """Do nothing."""
        return None

    def after_training(self, setup: Setup, context: RunContext) -> Stop | None:
        """Do nothing."""
        return None

    def instead_of_training(self, setup: Setup, context: RunContext) -> Result:
        spec, started = context.spec, time.perf_counter()
        from_step = setup.state.step
        asked = spec.replay
        start = f"the checkpoint of step {from_step}" if from_step else "the initial state"
        self._report.log(LogLine.INFO, f"Replays step {asked.step} of {asked.job} from {start}.")
        steps = ReplaySteps(setup, asked, context.device)
        until = _Until(context.control, steps)
        train(
            steps,
            plan=setup.plan,
            batches=setup.batches,
            curriculum=setup.curriculum,
            evaluator=setup.evaluator,
            report=self._quiet,
            control=until,
        )
        setup.step.health.close()
        if until.stopped is not None:
            return result_of_stop(until.stopped, spec, setup.state)
        if steps.findings is None:
            return _unreached(setup, spec)
        setup.state.update.close()
        decision = self._quiet.decision
        if decision is not None and decision.seen.step != asked.step:
            decision = None
        report = make_report(
            spec,
            steps,
            from_step=from_step,
            seconds=steps.findings.done_at - started,
            inexact=self._inexact(spec, context.device),
            decision=decision,
        )
        for name, table in tables(steps).items():
            self._report.table(name, table)
        self._report.metrics(asked.step, _metrics(report.loss, report.gradient_norm))
        return Result(Job.SUCCEEDED, steps=asked.step - from_step, replay=report)

    def _inexact(self, spec: JobSpec, device: torch.device) -> str:
        """Say why the replay may differ from the original; nothing where it is the same bits."""
        is_on_cuda = device.type == "cuda"
        was_on_cuda = self._store.was_on_cuda
        if was_on_cuda is not None and was_on_cuda != is_on_cuda:
            places = {True: "a GPU", False: "the CPU"}
            return (
                f"the job trained on {places[was_on_cuda]}, and the replay ran on "
                f"{places[is_on_cuda]}: values differ by rounding, and random draws may differ"
            )
        if is_on_cuda and not spec.training.deterministic:
            return "on a GPU only training.deterministic: true makes replays exact"
        return ""


def _unreached(setup: Setup, spec: JobSpec) -> Result:
    last = setup.state.step
    message = (
        f"replay.step must be <= {last}, where the training ends when it is replayed, but got "
        f"{spec.replay.step}"
    )
    return Result(Job.FAILED, Outcome.USER_SPEC, message, steps=last)


def _metrics(loss: float, norm: float) -> dict[str, float]:
    return {"replay/loss": loss, "replay/grad_norm": norm}
