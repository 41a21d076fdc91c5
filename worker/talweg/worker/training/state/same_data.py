"""Data that a plug-in returns: known again by their digest."""

from collections.abc import Mapping
from typing import Self

from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.errors import UserSpecError
from talweg.worker.training.state.snapshot import Values

_DIGEST = "sha256"


class SameData:
    """A run goes on only with the data that it began with; see `Stateful`."""

    def __init__(self, name: str, digest: str) -> None:
        """Take the plug-in's name and the digest of its data."""
        self._name = name
        self._digest = digest

    @classmethod
    def of(cls, spec: JobSpec, bundle: DataBundle) -> Self | None:
        """Return what knows a job's data again; None where they are no plug-in's."""
        if spec.dataset.WhichOneof("kind") != "plugin":
            return None
        return cls(spec.dataset.plugin.name, bundle.digest)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return none: a checkpoint does not hold the data."""
        return {}

    def values(self) -> Values:
        """Return the digest."""
        return {_DIGEST: self._digest}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Compare.

        Raises:
            UserSpecError: The data are others now.
        """
        if values.get(_DIGEST) != self._digest:
            raise UserSpecError(
                f"dataset.plugin: the data of plug-in '{self._name}' must have the sha256 "
                f"{values.get(_DIGEST)}, as when the job started, but have {self._digest}: a "
                "plug-in must return the same data for the same parameters. Submit the job again "
                "to train on what it returns now"
            )
