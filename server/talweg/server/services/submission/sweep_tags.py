"""The tags by which the jobs of a sweep are known, on jobs that are of none."""

from collections.abc import Sequence

from talweg.spec import Violation
from talweg.spec.errors import shown
from talweg.spec.sweeps import TAG_RUNS, TAG_SWEEP, TAG_TRIAL
from talweg.v1.spec_pb2 import JobSpec


def without_sweep(spec: JobSpec) -> JobSpec:
    """Return the spec of a copy of a job: a copy of a sweep's job is of no sweep.

    With these tags it would count as one of the sweep's in MLflow, or never have a run there,
    where the sweep's settings have theirs.
    """
    if TAG_SWEEP not in spec.tags:
        return spec
    bare = JobSpec()
    bare.CopyFrom(spec)
    for tag in (TAG_SWEEP, TAG_TRIAL, TAG_RUNS):
        bare.tags.pop(tag, None)
    return bare


def check_of_no_sweep(spec: JobSpec) -> Sequence[Violation]:
    """Return what is wrong with the tags of a job that no sweep submits."""
    if TAG_SWEEP not in spec.tags:
        return ()
    hint = (
        f"the service sets it, {TAG_TRIAL} and {TAG_RUNS} for the jobs of a sweep: leave them out"
    )
    return [Violation(f"tags.{TAG_SWEEP}", shown(spec.tags[TAG_SWEEP]), "other tags", hint)]
