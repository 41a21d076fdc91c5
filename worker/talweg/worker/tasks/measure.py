"""What the training split of a data set tells of the choice of a loss."""

from talweg.spec import Measured
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data
from talweg.worker.tasks.registry import TASKS


def measure(spec: JobSpec) -> tuple[Measured, ...]:
    """Look at the training split of a spec's data, and at nothing of the other parts.

    Args:
        spec: Filled and checked as to its task, data set, split and preprocessing. The rest may be
            absent.

    Returns:
        What was found, in the units of the data as they come; nothing for tasks that
        look for nothing.

    Raises:
        UserSpecError: The data cannot be divided as asked.
    """
    name = spec.task.WhichOneof("kind")
    look = TASKS[name].measured if name else None
    if look is None:
        return ()
    raw = JobSpec()
    raw.CopyFrom(spec)
    raw.preprocessing.standardise_inputs = False
    raw.preprocessing.standardise_targets = False
    bundle = data.load(raw)
    return (
        Measured(f"{len(bundle.train):,} samples in the training split"),
        *look(bundle, spec),
    )
