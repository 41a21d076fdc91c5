"""Whether a job is the first part of a longer one, bit for bit."""

from talweg.spec.checks.continuation import continuation_changes
from talweg.spec.semantics.facts import kind
from talweg.v1.optimizers_pb2 import Cosine, OneCycle
from talweg.v1.spec_pb2 import JobSpec

_EPOCHS = "training.epochs"
# It cannot change what comes of a job that has ended.
_TIME_LIMIT = "resources.time_limit_seconds"


def why_no_prefix(before: JobSpec, after: JobSpec) -> str:
    """Say why a job is not the first part of a longer one that differs in its epochs alone.

    Args:
        before: The shorter job's spec, filled.
        after: The longer job's, filled.

    Returns:
        The reason in words; empty where the longer job, going on from the last checkpoint of the
        shorter one, ends as if it had been trained from the beginning.
    """
    changes = continuation_changes(before, after)
    others = [path for path in changes if path not in (_EPOCHS, _TIME_LIMIT)]
    if others:
        return f"{others[0]} differs too"
    if before.training.WhichOneof("length") != "epochs":
        return "training.steps may end within an epoch"
    if before.training.epochs >= after.training.epochs:
        return "it has no fewer epochs"
    return depends_on_length(before, after.training.epochs)


def depends_on_length(spec: JobSpec, epochs: int) -> str:
    """Say what of a job depends on the number of its epochs; empty where nothing does.

    Args:
        spec: The job's, filled, with its own number of epochs.
        epochs: The number that it is to have, which is larger.
    """
    training, schedule = spec.training, kind(spec.schedule)
    if isinstance(schedule[1], (Cosine, OneCycle)):
        return f"schedule.{schedule[0]} spans all steps"
    if training.HasField("curriculum"):
        return "training.curriculum spans all epochs"
    stopping = training.early_stopping
    # With as much patience as there are evaluations training never stops early.
    if training.HasField("early_stopping") and stopping.patience < epochs:
        return "training.early_stopping may end it"
    if not spec.split.validation or training.epochs % training.evaluate_every_epochs:
        # A job is evaluated at its end, where the longer one is not.
        return "training.evaluate_every_epochs does not end with its last epoch"
    return _not_repeated(spec)


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
