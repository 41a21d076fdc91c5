"""The blob store, which server and workers share: checkpoints, models, data sets, artifacts."""

from talweg.blobs.artifacts import (
    PICTURES,
    TRAINING,
    DamagedListError,
    StoredArtifact,
    StoredArtifacts,
    has_part,
    read_artifacts,
    write_artifacts,
)
from talweg.blobs.projects import job_blobs, job_folders, project_blobs, remove_job
from talweg.blobs.store import Blobs, UnsafePathError, is_of_one_file

__all__ = [
    "PICTURES",
    "TRAINING",
    "Blobs",
    "DamagedListError",
    "StoredArtifact",
    "StoredArtifacts",
    "UnsafePathError",
    "has_part",
    "is_of_one_file",
    "job_blobs",
    "job_folders",
    "project_blobs",
    "read_artifacts",
    "remove_job",
    "write_artifacts",
]
