"""What both sides need to read a spec: its JSON form, defaults, rules and facts.

All of it follows from the descriptors of `talweg.v1` and their options. Nothing here imports
torch or MLflow; YAML is imported only where text is read or written.

    errors, fields, resources   violations, what the descriptors say of a field, names of jobs
    semantics/                  what a spec means: heads, data, metrics, outputs
    reading/                    from text and JSON to messages and back; defaults
    rules/, checks/             the rules between fields, a module a subject; the checks by them
    catalogue/                  the catalogue, its page, specs in words
    advice/, formulas/          recommended losses; formulas of one's own
    sweeps/                     the settings of a sweep, and its checks
"""

from talweg.spec.advice import Measured, facts, facts_measured, recommend
from talweg.spec.catalogue.describe import display_name, flatten, label, seed_of
from talweg.spec.catalogue.divergence import divergence_lines
from talweg.spec.catalogue.entries import datasets, losses, models, optimizers, tasks
from talweg.spec.catalogue.replay import replay_lines
from talweg.spec.catalogue.weights import taken_names, weights_lines
from talweg.spec.characters import drop_control, escape_control, has_control
from talweg.spec.checks.bounds import check_message
from talweg.spec.checks.check import check, complete
from talweg.spec.checks.continuation import (
    check_continuation,
    continuation_changes,
    continuation_warnings,
)
from talweg.spec.checks.limits import MAX_SPEC_BYTES
from talweg.spec.checks.prefix import ends_at_evaluation, length_of, why_no_prefix
from talweg.spec.checks.replay import check_replay
from talweg.spec.errors import MAX_VIOLATIONS, SpecError, Violation
from talweg.spec.reading.fill import fill, fill_message
from talweg.spec.reading.job_file import parse, read, to_yaml
from talweg.spec.reading.json_form import from_dict, to_dict
from talweg.spec.reading.override import override
from talweg.spec.reading.shorthand import read_shorthand
from talweg.spec.resources import (
    CheckpointName,
    checkpoint_folder,
    is_blob_path,
    is_job_id,
    is_model_folder,
    is_sha256,
    is_tracking_id,
    is_web_address,
    job_id,
    job_name,
    session_id,
    session_name,
    sweep_id,
    sweep_name,
)
from talweg.spec.rules.loss import has_class_weights, weight_fields
from talweg.spec.rules.models.features import job_models
from talweg.spec.semantics.categories import category_embedding
from talweg.spec.semantics.dataset import is_fold, split_sizes
from talweg.spec.semantics.facts import arrays_of, kind, leaves, loss_facts, task_kind
from talweg.spec.semantics.heads import Head, heads, spec_of_head
from talweg.spec.semantics.metrics import (
    goal_of,
    is_of_step,
    is_worse_than_trivial,
    judges_loss,
    metrics_of,
    primary_metric,
    reference_names,
    trivial_name,
    undefined_when,
)
from talweg.spec.semantics.outputs import (
    LossOutput,
    num_outputs,
    output_activation,
    output_of,
    outputs_of_head,
    pools_batch,
)
from talweg.spec.semantics.pairs_triplets import examples_of, inputs_of

__all__ = [
    "CheckpointName",
    "MAX_SPEC_BYTES",
    "MAX_VIOLATIONS",
    "Head",
    "LossOutput",
    "Measured",
    "SpecError",
    "Violation",
    "arrays_of",
    "category_embedding",
    "check",
    "check_continuation",
    "check_message",
    "check_replay",
    "complete",
    "checkpoint_folder",
    "continuation_changes",
    "continuation_warnings",
    "datasets",
    "display_name",
    "divergence_lines",
    "drop_control",
    "ends_at_evaluation",
    "escape_control",
    "examples_of",
    "facts",
    "facts_measured",
    "fill",
    "fill_message",
    "flatten",
    "from_dict",
    "goal_of",
    "has_class_weights",
    "has_control",
    "heads",
    "inputs_of",
    "is_blob_path",
    "is_fold",
    "is_job_id",
    "is_model_folder",
    "is_of_step",
    "is_sha256",
    "is_tracking_id",
    "is_web_address",
    "is_worse_than_trivial",
    "job_id",
    "job_models",
    "job_name",
    "judges_loss",
    "kind",
    "label",
    "leaves",
    "length_of",
    "loss_facts",
    "losses",
    "metrics_of",
    "models",
    "num_outputs",
    "optimizers",
    "output_activation",
    "output_of",
    "outputs_of_head",
    "pools_batch",
    "override",
    "parse",
    "primary_metric",
    "reference_names",
    "read",
    "read_shorthand",
    "replay_lines",
    "recommend",
    "seed_of",
    "spec_of_head",
    "split_sizes",
    "session_id",
    "session_name",
    "sweep_id",
    "sweep_name",
    "taken_names",
    "task_kind",
    "tasks",
    "to_dict",
    "to_yaml",
    "trivial_name",
    "undefined_when",
    "weight_fields",
    "weights_lines",
    "why_no_prefix",
]
