"""The whole check of a spec: bounds first, then the rules that hold between fields."""

from __future__ import annotations

from itertools import chain

from talweg.spec._bounds import check_message
from talweg.spec._case import Case
from talweg.spec._errors import Violation
from talweg.spec._fill import fill
from talweg.spec._limits import check_fillable
from talweg.spec._rules_curriculum import curriculum_rules
from talweg.spec._rules_data import data_rules
from talweg.spec._rules_detection import detection_rules
from talweg.spec._rules_diagnostics import diagnostics_rules
from talweg.spec._rules_embedding import embedding_rules
from talweg.spec._rules_features import feature_rules
from talweg.spec._rules_game import game_rules
from talweg.spec._rules_images import image_rules
from talweg.spec._rules_loss import loss_rules
from talweg.spec._rules_multitask import multitask_rules
from talweg.spec._rules_processes import process_rules
from talweg.spec._rules_training import training_rules
from talweg.spec._warnings import warnings_of
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec


def complete(spec: JobSpec) -> tuple[JobSpec, list[Violation], list[Warning]]:
    """Fill a spec and check it, whoever made it: huge ones and unknown enum numbers are refused.

    Args:
        spec: As it was given.

    Returns:
        The filled spec, all violations and all warnings. The spec is as it was given where it
        cannot be filled.
    """
    violations = check_fillable(spec)
    if violations:
        return spec, violations, []
    filled = fill(spec)
    return filled, *check(filled)


def check(spec: JobSpec) -> tuple[list[Violation], list[Warning]]:
    """Check a filled spec as far as that goes without torch and without the data.

    Args:
        spec: What `fill` gives.

    Returns:
        All violations, and all warnings. A spec with violations cannot run.
    """
    violations = check_fillable(spec)
    if violations:
        return violations, []
    violations = check_message(spec, path="")
    reported = {violation.field for violation in violations}
    case = Case(spec, reported)
    rules = (
        data_rules,
        image_rules,
        detection_rules,
        loss_rules,
        feature_rules,
        multitask_rules,
        training_rules,
        embedding_rules,
        game_rules,
        process_rules,
        diagnostics_rules,
        curriculum_rules,
    )
    for violation in chain.from_iterable(rule(case) for rule in rules):
        # A field outside of its own bounds need not be held against others too.
        if violation.field not in reported:
            violations.append(violation)
    unique = dict.fromkeys(violations)
    return list(unique), list(warnings_of(case))
