"""What makes a job a repetition of others: its seeds and its fold, and which of them vary."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import Message

from talweg.v1.spec_pb2 import JobSpec


class Level(IntEnum):
    """What a repetition draws anew, the outermost first: each decides all that follow."""

    DATASET = 0
    SPLIT = 1
    PREPROCESSING = 2
    TRAINING = 3


@dataclass(frozen=True)
class Repetition:
    """The seeds of a job. Jobs of two groups with equal ones are a pair."""

    dataset: tuple[int, ...]
    """Of generated data."""
    split_seed: int
    """Of the split."""
    fold: int
    """Of a cross-validation; 0 without."""
    preprocessing: tuple[int, ...]
    """Such as that of injected outliers."""
    training: int
    """Of weights, batches and dropout."""

    @classmethod
    def of(cls, spec: JobSpec) -> "Repetition":
        """Read the seeds of a filled spec."""
        return cls(
            dataset=tuple(_seeds(spec.dataset)),
            split_seed=spec.split.seed,
            fold=spec.split.fold,
            # Jobs without outliers are pairs of those whose outliers have the default seed.
            preprocessing=tuple(_seeds(spec.preprocessing)) or (0,),
            training=spec.training.seed,
        )

    def unit(self, level: Level) -> Hashable:
        """Return what repetitions have in common that are alike down to a level."""
        parts = (
            self.dataset, (self.split_seed, self.fold), self.preprocessing, self.training
        )  # fmt: skip
        return parts[: level + 1]


@dataclass(frozen=True)
class Design:
    """Which seeds vary within the groups, and what of it is independent."""

    varied: Sequence[str]
    """Paths, the outermost first."""
    level: Level
    """Values that are alike down to it are not independent: they count as one, their mean."""
    overlap: float
    """Test samples per training sample where the splits share samples; else 0."""

    @classmethod
    def of(cls, groups: Sequence[Sequence[JobSpec]], metric: str) -> "Design":
        """Read the design of a comparison.

        Args:
            groups: The specs of each group whose jobs count.
            metric: By which they are compared.
        """
        repetitions = [[Repetition.of(spec) for spec in specs] for specs in groups]
        by_path = {
            "dataset.seed": (Level.DATASET, _varies(repetitions, lambda r: r.dataset)),
            "split.seed": (Level.SPLIT, _varies(repetitions, lambda r: r.split_seed)),
            "split.fold": (Level.SPLIT, _varies(repetitions, lambda r: r.fold)),
            "preprocessing.seed": (
                Level.PREPROCESSING,
                _varies(repetitions, lambda r: r.preprocessing),
            ),
            "training.seed": (Level.TRAINING, _varies(repetitions, lambda r: r.training)),
        }
        varied = [path for path, (_, varies) in by_path.items() if varies]
        level = min((by_path[path][0] for path in varied), default=Level.TRAINING)
        overlap = 0.0
        if level is Level.SPLIT:
            overlap = max(_overlap(spec, metric) for specs in groups for spec in specs)
        return cls(varied, level, overlap)


def _varies(
    groups: Sequence[Sequence[Repetition]], part: Callable[[Repetition], Hashable]
) -> bool:
    return any(len(set(map(part, repetitions))) > 1 for repetitions in groups)


def _overlap(spec: JobSpec, metric: str) -> float:
    split = spec.split
    held_out = split.validation if metric.startswith("val/") else split.test
    if not metric.startswith(("val/", "test/")):
        # Values of training data: all that is held out of them makes splits differ.
        held_out = split.validation + split.test
    return held_out / split.train if split.train else 0.0


def _seeds(message: Message) -> Iterable[int]:
    for field, value in message.ListFields():
        if field.name == "seed" and field.message_type is None:
            yield value
        elif field.message_type is not None and not field.is_repeated:
            yield from _seeds(value)
