"""The data of a job as MLflow shows it beside the run.

MLflow keeps one data set for an experiment, name and digest, and shows the first one's profile for
all. So the digest covers all that the profile and the source say.
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


@dataclass(frozen=True)
class TrainingData:
    """A data set as one job sees it."""

    name: str
    """The data set's name in the catalogue."""
    digest: str
    """Short, of all below."""
    source: str
    """What makes the data what it is, as JSON: the parts of the spec."""
    profile: str
    """Its sizes, names, and the digest of what was loaded, as JSON."""


def training_data(spec: JobSpec, facts: Mapping[str, Any]) -> TrainingData:
    """Return the data of a job.

    Args:
        spec: Filled.
        facts: The spool's line that describes the data.
    """
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
