"""Names of stored data sets: `datasets/{name}@{digest}`, where the digest may be cut short."""

import re
from dataclasses import dataclass
from typing import Self

from talweg.spec.resources import is_sha256
from talweg.v1.datasets_pb2 import Dataset, StoredData
from talweg.v1.spec_pb2 import JobSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Characters of a digest by which people know a version.
_SHORT = 8
_WHOLE = re.compile(rf"(?:datasets/)?(?P<name>{_NAME.pattern})(?:@(?P<digest>[0-9a-f]{{8,64}}))?")


def is_dataset_name(name: str) -> bool:
    """Tell whether a data set may be called so."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class DatasetName:
    """A data set, or one version of it."""

    name: str
    """What its owner calls it."""
    digest: str = ""
    """Of the version, or the first characters of it; empty for the newest."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read NAME or NAME@DIGEST, also behind `datasets/`; None where it is neither."""
        match = _WHOLE.fullmatch(text)
        return None if match is None else cls(match["name"], match["digest"] or "")

    def __str__(self) -> str:
        """Give the resource name."""
        return f"datasets/{self.name}@{self.digest}" if self.digest else f"datasets/{self.name}"


def dataset_label(data: Dataset | StoredData) -> str:
    """Name the data of a job for people: `diabetes`, or `houses@1a2b3c4d` of stored data.

    Args:
        data: A choice of data, or stored data.
    """
    if isinstance(data, Dataset):
        kind = data.WhichOneof("kind") or ""
        if kind != "stored":
            return kind
        data = data.stored
    parsed = DatasetName.parse(data.name)
    name = data.name if parsed is None else parsed.name
    digest = data.digest or ("" if parsed is None else parsed.digest)
    return f"{name}@{digest[:_SHORT]}" if digest else name


def stored_versions(spec: JobSpec) -> set[DatasetName]:
    """Return the stored data sets that a job reads: data, and starting weights.

    Args:
        spec: As the server has completed it.
    """
    named = [DatasetName.parse(spec.weights.stored)]
    if (data := DatasetName.parse(spec.dataset.stored.name)) is not None:
        named.append(DatasetName(data.name, spec.dataset.stored.digest))
    # Names of folders are made of their digests.
    return {each for each in named if each is not None and is_sha256(each.digest)}
