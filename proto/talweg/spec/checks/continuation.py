"""Going on with another job's training: what may change, and what did."""

import math

from talweg.spec.catalogue.describe import flatten
from talweg.spec.errors import Violation
from talweg.spec.reading.fill import fill_message
from talweg.spec.semantics.facts import chosen, kind
from talweg.v1.jobs_pb2 import Checkpoint, Warning
from talweg.v1.optimizers_pb2 import Cosine, OneCycle
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
    "training.sampling",
    "freeze",
)
# What is no setting of the training.
_BESIDE = ("continued_from.", "display_name", "experiment", "tags.", "priority", "weights.")
_ABSENT = "nothing"
# Of the optimizer's learning rate: below it the remaining steps hardly change the weights.
_SMALL_SHARE = 0.05


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


def remaining_share(after: JobSpec, checkpoint: Checkpoint) -> float | None:
    """Return the largest learning rate of the remaining steps, as a share of the optimizer's.

    Args:
        after: The new job's spec, filled.
        checkpoint: Of the other job, to go on from.

    Returns:
        None under a schedule that does not end at a learning rate of its own, or where it cannot
        be told how many steps there are.
    """
    _, schedule = kind(after.schedule)
    training, done = after.training, checkpoint.step
    if not isinstance(schedule, (Cosine, OneCycle)):
        return None
    if training.HasField("steps"):
        steps = training.steps
    elif checkpoint.epoch:
        # The checkpoint may stand within an epoch, whose length only the worker knows.
        steps = max(done + 1, math.ceil(training.epochs * done / checkpoint.epoch))
    else:
        return None
    first = max(schedule.warmup_steps, 1)
    if isinstance(schedule, Cosine):
        span: float = max(steps - first, 1)
        low, top = schedule.final_share, float(first)
    else:
        top = first - 1 + schedule.rising_share * (steps - first + 1)
        span = max(steps - max(top, first), 1e-9)
        low = 1 / (schedule.start_divisor * schedule.final_divisor)
    if done + 1 <= top:
        return 1.0
    share = min(max((done + 1 - max(top, first)) / span, 0.0), 1.0)
    return low + (1 - low) * (1 + math.cos(math.pi * share)) / 2


def continuation_warnings(after: JobSpec, checkpoint: Checkpoint) -> list[Warning]:
    """Return what is allowed where a job continues another, and probably not meant.

    Args:
        after: The new job's spec, filled and checked.
        checkpoint: Of the other job, to go on from.
    """
    share = remaining_share(after, checkpoint)
    if share is None or not 0 < share < _SMALL_SHARE:
        return []
    name = kind(after.schedule)[0]
    return [
        Warning(
            kind=Warning.LEARNING_RATE_SMALL,
            field=f"schedule.{name}",
            message=f"{name} spans all steps, those before step {checkpoint.step} too: the "
            f"remaining ones have at most {share:.2g} of the optimizer's learning rate and hardly "
            "change the weights. Train longer, or set schedule to constant with a small "
            "learning rate",
        )
    ]


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
    if not violations and remaining_share(after, checkpoint) == 0:
        name = kind(after.schedule)[0]
        violations.append(
            Violation(
                f"schedule.{name}",
                "learning rate 0 in all steps that remain",
                "a schedule under which the weights still change",
                f"{name} spans all steps, those of {job} too: train more steps, or set schedule "
                "to constant",
            )
        )
    return violations
