"""Going on with another job's training: what may change, and what did."""

from talweg.spec.catalogue.describe import flatten
from talweg.spec.errors import Violation
from talweg.spec.reading.fill import fill_message
from talweg.spec.semantics.facts import chosen, kind
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.spec_pb2 import JobSpec

# What a state belongs to, by the beginnings of its paths.
_KEPT = (
    "task.",
    "dataset.",
    "split.",
    "preprocessing.",
    "model.",
    "loss.",
    "training.batch_size",
    "training.accumulation",
    "training.seed",
    "training.curriculum.difficulty.",
)
# What is no setting of the training.
_BESIDE = ("continued_from.", "display_name", "experiment", "tags.", "priority")
_ABSENT = "nothing"


def continuation_changes(before: JobSpec, after: JobSpec) -> dict[str, tuple[str, str]]:
    """Give the settings in which a job differs from the one that it continues.

    Args:
        before: The other job's, filled.
        after: The new job's, filled.

    Returns:
        By path, what stood there and what stands there; "nothing" for a setting that is absent.
    """
    old, new = flatten(before), flatten(after)
    return {
        path: (old.get(path, _ABSENT), new.get(path, _ABSENT))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path) and not path.startswith(_BESIDE)
    }


def check_continuation(before: JobSpec, after: JobSpec, checkpoint: Checkpoint) -> list[Violation]:
    """Check a job against the one that it continues.

    Args:
        before: The other job's spec, filled.
        after: The new job's, filled and checked.
        checkpoint: Of the other job, to go on from.

    Returns:
        All violations.
    """
    job = after.continued_from.job
    violations = [
        Violation(path, new, f"{old}, as in {job}", "To change it, submit a new job.")
        for path, (old, new) in continuation_changes(before, after).items()
        if path.startswith(_KEPT)
    ]
    for path, was, now in (
        ("optimizer", before.optimizer, after.optimizer),
        ("training.guard", before.training.guard, after.training.guard),
        # Specs of earlier versions do not name it.
        ("training.spikes", fill_message(before.training).spikes, after.training.spikes),
    ):
        if chosen(was) != chosen(now):
            violations.append(Violation(path, kind(now)[0], f"{kind(was)[0]}, as in {job}"))
    done = f"as {job} has completed so many at the checkpoint of step {checkpoint.step}"
    training = after.training
    if training.HasField("steps") and training.steps <= checkpoint.step:
        violations.append(
            Violation(
                "training.steps", str(training.steps), f"more than {checkpoint.step}, {done}"
            )
        )
    elif training.HasField("epochs") and training.epochs <= checkpoint.epoch:
        violations.append(
            Violation(
                "training.epochs", str(training.epochs), f"more than {checkpoint.epoch}, {done}"
            )
        )
    return violations
