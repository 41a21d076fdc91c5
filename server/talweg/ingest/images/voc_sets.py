"""Lists of Pascal VOC that tell which part of the data an image belongs to: ImageSets/Main."""

from collections.abc import Callable, Collection, Sequence

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.images.layout import file_name, folders_of
from talweg.ingest.problems import Problem, names_text, quoted
from talweg.spec.stored import part_named

_SETS, _MAIN = "imagesets", "main"
_TOGETHER = "trainval.txt"
"""The images of training and validation at once."""
_ALLOWED = "the name of an image without its ending in each line"


def is_image_set(entry: Entry) -> bool:
    """Return whether a file tells the images of a part, or of training and validation."""
    folders = [name.lower() for name in folders_of(entry)]
    if entry.ending != ".txt" or (folders[-1:] != [_SETS] and folders[-2:] != [_SETS, _MAIN]):
        return False
    # Others tell which images have a class, such as dog_train.txt.
    return file_name(entry) == _TOGETHER or bool(_part(entry))


def parts_in_sets(
    archive: Archive,
    places: Collection[str],
    place: Callable[[Sequence[str], str], str],
    problems: list[Problem],
) -> dict[str, str]:
    """Return the part of each image that a list names, by the image's place.

    The list of training and validation counts only where neither has one of its own: its images
    are for training.

    Args:
        archive: The folder.
        places: What its images have in common with what belongs to them.
        place: Returns that of an image, by its folders and its name without the ending.
        problems: Takes what is wrong with the lists.

    Returns:
        train, validation or test; nothing where there are no lists.
    """
    lists = [entry for entry in archive.entries if is_image_set(entry)]
    if {"train", "validation"} & {_part(entry) for entry in lists}:
        lists = [entry for entry in lists if file_name(entry) != _TOGETHER]
    parts: dict[str, str] = {}
    for entry in lists:
        part = _part(entry) or "train"
        # Other years of Pascal VOC beside this one have folders and lists of their own.
        folders = [name for name in folders_of(entry) if name.lower() not in (_SETS, _MAIN)]
        names = _names(archive, entry, problems)
        named = {name: place(folders, name) for name in names}
        lost = [name for name in names if named[name] not in places]
        if lost:
            found = f"{len(lost):,} names without an image: {names_text(lost)}"
            problems.append(Problem(quoted(entry.name), found, _ALLOWED))
        twice = [name for name in names if parts.get(named[name], part) != part]
        if twice:
            found = f"{len(twice):,} images of another part: {names_text(twice)}"
            problems.append(Problem(quoted(entry.name), found, "each image in one part"))
        parts |= dict.fromkeys(named.values(), part)
    return parts


def _names(archive: Archive, entry: Entry, problems: list[Problem]) -> list[str]:
    try:
        lines = archive.read(entry).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        problems.append(Problem(quoted(entry.name), "text that is no utf-8", "utf-8"))
        return []
    # No image stands in a part twice; the order of the lines means nothing.
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _part(entry: Entry) -> str:
    return part_named(file_name(entry).removesuffix(".txt"))
