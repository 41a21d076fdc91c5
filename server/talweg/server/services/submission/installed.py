"""What is installed beside some workers alone and jobs need: plug-ins and optional extras."""

from collections.abc import Sequence

from talweg.server.services.submission.plugins import check_plugins, may_name_plugins
from talweg.spec import Violation
from talweg.spec.plugins import Told
from talweg.spec.semantics.pretrained import extras_of
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec


def may_need_installed(spec: JobSpec) -> bool:
    """Return whether a job needs what some workers may lack, or may do so further down."""
    return may_name_plugins(spec) or bool(extras_of(spec))


def check_installed(
    spec: JobSpec, told: Sequence[Told], queue: str, violations: Sequence[Violation]
) -> tuple[list[Violation], list[Warning]]:
    """Check plug-ins and extras of a completed spec, and add the defaults of plug-ins in place.

    Args:
        spec: Filled.
        told: What workers have told.
        queue: The queue from which workers take the job.
        violations: What is known to be wrong, and need not be said again of the same fields.

    Returns:
        Further violations, and warnings.
    """
    of_plugins, about_plugins = check_plugins(spec, told, queue)
    of_extras, about_extras = _check_extras(spec, told, queue)
    known = {each.field for each in violations}
    more = [each for each in (*of_plugins, *of_extras) if each.field not in known]
    return more, [*about_plugins, *about_extras]


def _check_extras(
    spec: JobSpec, told: Sequence[Told], queue: str
) -> tuple[list[Violation], list[Warning]]:
    """Check that workers have told of the extras that a job needs."""
    workers = [each for each in told if queue in each.queues]
    violations: list[Violation] = []
    warnings: list[Warning] = []
    for extra, field in extras_of(spec).items():
        install = f'install it beside {{}}, pip install "talweg[{extra}]", and restart them'
        having = sum(extra in worker.extras for worker in workers)
        if workers and not having:
            violations.append(
                Violation(
                    field,
                    f"a model that needs the extra {extra}, which no worker of queue {queue} has",
                    "a model that the workers can build",
                    install.format("the workers"),
                )
            )
        elif having < len(workers) or not workers:
            found = (
                f"{having} of {len(workers)} workers of queue {queue} have the extra {extra}: the "
                "job fails if another one takes it"
                if workers
                else f"No worker of queue {queue} has told whether it has the extra {extra}: the "
                "job fails if one without takes it"
            )
            where = install.format("all of them")
            message = f"{found}. {where[0].upper()}{where[1:]}."
            warnings.append(Warning(kind=Warning.EXTRA_UNKNOWN, field=field, message=message))
    return violations, warnings
