"""Stored data sets: names, the roles of their columns, and what a job can know of them.

Server and worker read a data set's description alike, so that the shapes which a job is checked
by are the shapes that it trains on.
"""

from talweg.spec.stored.facts import facts_of
from talweg.spec.stored.features import MISSING_TEXTS, Feature, Kind, features_of, is_like_id
from talweg.spec.stored.measured import measured_in, task_for
from talweg.spec.stored.names import DatasetName, dataset_label, is_dataset_name, stored_versions
from talweg.spec.stored.parts import PARTS, part_named
from talweg.spec.stored.roles import Roles, roles_of, split_column
from talweg.spec.stored.weights import name_weights

__all__ = [
    "MISSING_TEXTS",
    "PARTS",
    "DatasetName",
    "Feature",
    "Kind",
    "Roles",
    "dataset_label",
    "facts_of",
    "features_of",
    "is_dataset_name",
    "is_like_id",
    "measured_in",
    "name_weights",
    "part_named",
    "roles_of",
    "split_column",
    "stored_versions",
    "task_for",
]
