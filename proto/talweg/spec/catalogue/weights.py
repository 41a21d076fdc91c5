"""What a job took of its starting weights, in lines for people."""

from collections.abc import Sequence

from talweg.v1.weights_pb2 import TakenWeights

_Entry = TakenWeights.Entry
_MOST_NAMED = 20
_WHY = {
    _Entry.OTHER_SHAPE: "another shape",
    _Entry.NOT_IN_FILE: "not in the file",
    _Entry.WITH_ITS_LAYER: "the rest of its layer does not fit",
    _Entry.NEW_HEAD: "new_head",
}


def weights_lines(taken: TakenWeights) -> list[str]:
    """Say how much was taken from where, what starts at random and why, and what is unused."""
    source = taken.source.removeprefix("datasets/")
    name, mark, digest = source.partition("@")
    source = f"{name}{mark}{digest[:8]}"
    total = taken.num_taken + taken.num_new
    lines = [f"weights of {source}: {taken.num_taken} of the model's {total} tensors were taken"]
    new = [each for each in taken.tensors if each.use in _WHY]
    if new:
        lines.append(f"at random: {_listed([_new(each) for each in new], taken.num_new)}")
    unused = [each for each in taken.tensors if each.use == _Entry.NOT_IN_MODEL]
    if unused:
        texts = [f"{each.name} {shape_text(each.file_shape)}" for each in unused]
        lines.append(f"not in the model: {_listed(texts, taken.num_unused)}")
    return lines


def taken_names(taken: TakenWeights) -> list[str]:
    """Return the names of the tensors that were taken, as far as they are listed."""
    return [each.name for each in taken.tensors if each.use == _Entry.TAKEN]


def shape_text(shape: Sequence[int]) -> str:
    """Write a shape as PyTorch does: ``(10, 64)``, ``(10,)``, ``()``."""
    return str(tuple(shape))


def _new(entry: TakenWeights.Entry) -> str:
    shape = shape_text(entry.model_shape)
    if entry.use == _Entry.OTHER_SHAPE:
        return f"{entry.name} {shape} ({shape_text(entry.file_shape)} in the file)"
    return f"{entry.name} {shape} ({_WHY[entry.use]})"


def _listed(texts: Sequence[str], number: int) -> str:
    shown = texts[:_MOST_NAMED]
    more = f" and {number - len(shown)} more" if number > len(shown) else ""
    return ", ".join(shown) + more
