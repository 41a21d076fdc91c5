"""Whether a job is the first part of a longer one, bit for bit."""

from talweg.spec.checks.continuation import continuation_changes
from talweg.spec.semantics.facts import kind
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.optimizers_pb2 import Cosine, OneCycle
from talweg.v1.spec_pb2 import JobSpec, Training

_LENGTHS = ("training.epochs", "training.steps")
# It cannot change what comes of a job that has ended.
_TIME_LIMIT = "resources.time_limit_seconds"


def why_no_prefix(before: JobSpec, after: JobSpec) -> str:
    """Say why a job is not the first part of a longer one that differs in its length alone.

    Args:
        before: The shorter job's spec, filled.
        after: The longer job's, filled.

    Returns:
        The reason in words; empty where the longer job, going on from the last checkpoint of the
        shorter one, ends as if it had been trained from the beginning.
    """
    changes = continuation_changes(before, after)
    others = [path for path in changes if path not in (*_LENGTHS, _TIME_LIMIT)]
    if others:
        return f"{others[0]} differs too"
    (unit, length), (new_unit, new_length) = length_of(before), length_of(after)
    if unit != new_unit:
        return f"training.{unit} stands in place of training.{new_unit}"
    if length >= new_length:
        return f"it has no fewer {unit}"
    return depends_on_length(before, new_length)


def length_of(spec: JobSpec) -> tuple[str, int]:
    """Return the unit of a job's length, epochs or steps, and how many it has.

    Args:
        spec: The job's, filled.
    """
    unit = spec.training.WhichOneof("length") or "epochs"
    return unit, getattr(spec.training, unit)


def depends_on_length(spec: JobSpec, length: int) -> str:
    """Say what of a job depends on its length; empty where nothing does.

    Args:
        spec: The job's, filled, with its own length.
        length: The one that it is to have, which is larger, in the same unit.
    """
    training, schedule = spec.training, kind(spec.schedule)
    if isinstance(schedule[1], (Cosine, OneCycle)):
        return f"schedule.{schedule[0]} spans all steps"
    if training.HasField("curriculum"):
        return "training.curriculum spans all epochs"
    stopping = training.early_stopping
    # With as much patience as there are evaluations training never stops early.
    if training.HasField("early_stopping") and stopping.patience < length:
        return "training.early_stopping may end it"
    in_epochs = not training.HasField("steps")
    # A job is evaluated at its end, where the longer one is not.
    ends_between = in_epochs and training.epochs % training.evaluate_every_epochs
    if not spec.split.validation or ends_between:
        return "training.evaluate_every_epochs does not end with its last epoch"
    if not in_epochs and (skips := _skips_steps(training)):
        return f"{skips} may leave steps out, so that it cannot be told where an epoch ends"
    return _not_repeated(spec)


def ends_at_evaluation(spec: JobSpec, end: Checkpoint, first_evaluation: int) -> bool:
    """Return whether a job whose length is in steps ends where a longer one is evaluated too.

    How many steps an epoch has is known from what the job has done alone.

    Args:
        spec: The job's, filled.
        end: The checkpoint of its last step.
        first_evaluation: The step after which it was evaluated for the first time.
    """
    every = spec.training.evaluate_every_epochs
    # With fewer epochs than that the only evaluation is that of the end.
    if end.epoch < every or end.epoch % every:
        return False
    return end.step * every == end.epoch * first_evaluation


def _skips_steps(training: Training) -> str:
    if kind(training.guard)[0] != "fail":
        return "training.guard"
    return "training.spikes" if kind(training.spikes)[0] != "warn" else ""


def _not_repeated(spec: JobSpec) -> str:
    """Say what a job that goes on does not have of the first part."""
    checkpoints, diagnostics = spec.training.checkpoints, spec.diagnostics
    if checkpoints.keep_best or checkpoints.HasField("keep_every"):
        return "training.checkpoints keeps some of the first part"
    if diagnostics.one_batch_steps or diagnostics.HasField("rate_range"):
        return "diagnostics are made before the first step"
    if diagnostics.HasField("gradient_flow"):
        return "diagnostics.gradient_flow spans all steps"
    if spec.HasField("weights"):
        return "it began with starting weights"
    if spec.HasField("replay") or (
        spec.HasField("continued_from") and not spec.continued_from.as_whole
    ):
        return "it went on with another job"
    if not spec.outputs.checkpoint:
        return "outputs.checkpoint is false"
    return ""
