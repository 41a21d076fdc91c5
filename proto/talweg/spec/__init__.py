"""What both sides need to read a spec: its JSON form, defaults, rules and facts.

All of it follows from the descriptors of `talweg.v1` and their options. Nothing here imports
torch or MLflow; YAML is imported only where text is read or written.
"""

from talweg.spec._bounds import check_message
from talweg.spec._catalogue import datasets, losses, models, optimizers, tasks
from talweg.spec._characters import drop_control, escape_control, has_control
from talweg.spec._check import check
from talweg.spec._continuation import check_continuation, continuation_changes
from talweg.spec._data import split_sizes
from talweg.spec._describe import display_name, flatten, label, seed_of
from talweg.spec._errors import SpecError, Violation
from talweg.spec._evidence import divergence_lines
from talweg.spec._facts import (
    arrays_of,
    goal_of,
    judges_loss,
    kind,
    metrics_of,
    num_outputs,
    output_activation,
    outputs_of_head,
    primary_metric,
    task_kind,
)
from talweg.spec._fill import fill, fill_message
from talweg.spec._given import given_of, inputs_of
from talweg.spec._heads import Head, heads, spec_of_head
from talweg.spec._json import from_dict, to_dict
from talweg.spec._override import override
from talweg.spec._resources import (
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
)
from talweg.spec._rules_features import job_models
from talweg.spec._rules_loss import has_class_weights, weight_fields
from talweg.spec._text import parse, read, to_yaml
from talweg.spec._word import word
from talweg.spec.advice import Measured, facts, facts_measured, recommend

__all__ = [
    "CheckpointName",
    "Head",
    "Measured",
    "SpecError",
    "Violation",
    "arrays_of",
    "check",
    "check_continuation",
    "check_message",
    "checkpoint_folder",
    "continuation_changes",
    "datasets",
    "display_name",
    "divergence_lines",
    "drop_control",
    "escape_control",
    "facts",
    "facts_measured",
    "fill",
    "fill_message",
    "flatten",
    "from_dict",
    "given_of",
    "goal_of",
    "has_class_weights",
    "has_control",
    "heads",
    "inputs_of",
    "is_blob_path",
    "is_job_id",
    "is_model_folder",
    "is_sha256",
    "is_tracking_id",
    "is_web_address",
    "job_id",
    "job_models",
    "job_name",
    "judges_loss",
    "kind",
    "label",
    "losses",
    "metrics_of",
    "models",
    "num_outputs",
    "optimizers",
    "output_activation",
    "outputs_of_head",
    "override",
    "parse",
    "primary_metric",
    "read",
    "recommend",
    "seed_of",
    "spec_of_head",
    "split_sizes",
    "task_kind",
    "tasks",
    "to_dict",
    "to_yaml",
    "weight_fields",
    "word",
]
