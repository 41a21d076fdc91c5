"""The data of a job as MLflow shows it beside the run.

MLflow keeps one data set for an experiment, name and digest, and shows the first one's profile for
all. So the digest covers all that the profile and the source say. Of a user's data set it is the
stored one's, and profile and source tell nothing of a single job.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from talweg.spec import to_dict
from talweg.v1.spec_pb2 import JobSpec

# As long as those that MLflow computes itself.
_DIGEST_LENGTH = 8
# What MLflow stores of a profile is bounded.
_MOST_COLUMNS = 1000


@dataclass(frozen=True)
class TrainingData:
    """A data set as one job sees it."""

    name: str
    """The data set's name in the catalogue, or under which its owner stored it."""
    digest: str
    """Short, of all below."""
    source: str
    """What makes the data what it is, as JSON: the parts of the spec, or the stored data set."""
    profile: str
    """Its sizes, names, and the digest of what was loaded, as JSON."""


def training_data(spec: JobSpec, facts: Mapping[str, Any]) -> TrainingData:
    """Return the data of a job.

    Args:
        spec: Filled.
        facts: The spool's line that describes the data.
    """
    if "stored" in facts:
        return _stored(facts)
    whole = to_dict(spec)
    parts = ("task", "dataset", "split", "preprocessing")
    source = {part: whole[part] for part in parts if part in whole}
    difficulty = whole.get("training", {}).get("curriculum", {}).get("difficulty", {})
    if "array" in difficulty:
        source["difficulty"] = difficulty["array"]
    profile = {key: value for key, value in facts.items() if key not in ("kind", "digest", "name")}
    profile["sha256"] = facts["digest"]
    name: str = facts["name"]
    content = json.dumps([name, source, profile], sort_keys=True)
    return TrainingData(
        name=name,
        digest=hashlib.sha256(content.encode()).hexdigest()[:_DIGEST_LENGTH],
        source=json.dumps(source),
        profile=json.dumps(profile),
    )


def _stored(facts: Mapping[str, Any]) -> TrainingData:
    stored, digest = facts["stored"], facts["digest"]
    columns = dict(list(stored["columns"].items())[:_MOST_COLUMNS])
    profile = {"num_samples": stored["num_samples"], "columns": columns, "sha256": digest}
    if len(columns) < len(stored["columns"]):
        profile["num_columns"] = len(stored["columns"])
    return TrainingData(
        name=facts["name"],
        digest=digest[:_DIGEST_LENGTH],
        source=json.dumps({"stored": f"datasets/{facts['name']}@{digest}"}),
        profile=json.dumps(profile),
    )
