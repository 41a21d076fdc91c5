"""In what specs differ, as far as it can change what comes of a job."""

from collections.abc import Sequence

from google.protobuf.message import Message

from talweg.v1.spec_pb2 import Continuation, JobSpec

_DECIDING = (
    "task",
    "dataset",
    "split",
    "preprocessing",
    "model",
    "loss",
    "optimizer",
    "schedule",
    "training",
)
# Of the training: what is told and kept of it, and not what it does.
_TELLING = ("log_every_steps", "checkpoints", "read_every_steps")


_FOLD = "split.fold"


def is_repetition(path: str) -> bool:
    """Return whether a path is one at which jobs of a comparison are meant to differ.

    Seeds of the training, and also of split, data and preprocessing: a repetition may draw all of
    them anew. And the fold of a cross-validation.
    """
    return path == _FOLD or path.rpartition(".")[2] == "seed"


def differing(specs: Sequence[JobSpec]) -> list[str]:
    """Name the paths at which completed specs differ, in the order of their declaration.

    Where another member is chosen, such as another loss, that is one path. Names, tags and the
    like decide nothing and are left out; of jobs that go on with others' training it counts that
    they do, since each seed goes on with its own.
    """
    return _differing([_deciding(spec) for spec in specs], "")


def num_repeats(specs: Sequence[JobSpec]) -> int:
    """Count the specs that say the same as one before them, seed and all."""
    distinct = {
        tuple(
            message.SerializeToString(deterministic=True)
            for message in (_deciding(spec), _other(spec))
        )
        for spec in specs
    }
    return len(specs) - len(distinct)


def _deciding(spec: JobSpec) -> JobSpec:
    deciding = JobSpec()
    for part in _DECIDING:
        getattr(deciding, part).CopyFrom(getattr(spec, part))
    for name in _TELLING:
        deciding.training.ClearField(name)  # type: ignore[arg-type]
    if _other(spec).job:
        deciding.continued_from.SetInParent()
    return deciding


def _other(spec: JobSpec) -> Continuation:
    """Return whose training a job goes on with; nothing where that changes nothing."""
    return Continuation() if spec.continued_from.as_whole else spec.continued_from


def _differing(messages: Sequence[Message], path: str) -> list[str]:
    first = messages[0]
    if all(message == first for message in messages):
        return []
    choices = [
        group.name
        for group in first.DESCRIPTOR.oneofs
        if all(field.message_type is not None for field in group.fields)
    ]
    if any(len({message.WhichOneof(choice) for message in messages}) > 1 for choice in choices):
        return [path]
    paths: list[str] = []
    for field in first.DESCRIPTOR.fields:
        name = f"{path}.{field.name}" if path else field.name
        values = [getattr(message, field.name) for message in messages]
        is_present = {not field.has_presence or m.HasField(field.name) for m in messages}
        if len(is_present) > 1:
            paths.append(name)
        elif field.message_type is not None and not field.is_repeated:
            paths += _differing(values, name)
        elif any(value != values[0] for value in values):
            paths.append(name)
    return paths
