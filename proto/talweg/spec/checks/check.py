"""The whole check of a spec: bounds first, then the rules that hold between fields."""

from itertools import chain

from talweg.spec.checks.bounds import check_message
from talweg.spec.checks.limits import check_fillable
from talweg.spec.checks.warnings import warnings_of
from talweg.spec.errors import Violation
from talweg.spec.reading.fill import fill
from talweg.spec.rules.data.dataset import data_rules
from talweg.spec.rules.data.folds import fold_rules
from talweg.spec.rules.data.images import image_rules
from talweg.spec.rules.loss import loss_rules
from talweg.spec.rules.models.features import feature_rules
from talweg.spec.rules.models.pretrained import pretrained_rules
from talweg.spec.rules.models.weights import weights_rules
from talweg.spec.rules.tasks.detection import detection_rules
from talweg.spec.rules.tasks.embedding import embedding_rules
from talweg.spec.rules.tasks.gan import game_rules
from talweg.spec.rules.tasks.multitask import multitask_rules
from talweg.spec.rules.training.augmentation import augmentation_rules
from talweg.spec.rules.training.curriculum import curriculum_rules
from talweg.spec.rules.training.diagnostics import diagnostics_rules
from talweg.spec.rules.training.processes import process_rules
from talweg.spec.rules.training.replay import replay_rules
from talweg.spec.rules.training.sampling import sampling_rules
from talweg.spec.rules.training.sessions import session_rules
from talweg.spec.rules.training.settings import training_rules
from talweg.spec.semantics.context import SpecContext
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
    context = SpecContext(spec, reported)
    rules = (
        data_rules,
        fold_rules,
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
        sampling_rules,
        augmentation_rules,
        replay_rules,
        session_rules,
        weights_rules,
        pretrained_rules,
    )
    for violation in chain.from_iterable(rule(context) for rule in rules):
        # A field outside of its own bounds need not be held against others too.
        if violation.field not in reported:
            violations.append(violation)
    unique = dict.fromkeys(violations)
    return list(unique), list(warnings_of(context))
