"""Where things lie in a folder of images: parts, files beside images, names of classes."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from talweg.ingest.images.archive import Archive, Entry
from talweg.ingest.problems import Problem, Refused, names_text, quoted
from talweg.spec.stored import part_named
from talweg.spec.stored.files import IMAGE_ENDINGS

CLASSES = "classes.txt"
"""Has the name of a class in each line."""
IMAGES = "images"
"""The folder of the images, where something lies in folders beside it."""
BACKGROUND = "background"
"""Class 0 of masks and boxes."""
_MOST_CHARS = 200


def is_image(entry: Entry) -> bool:
    """Return whether a file is an image, by its name."""
    return entry.ending in IMAGE_ENDINGS


def file_name(entry: Entry) -> str:
    """Return the last part of a file's path, in lower case."""
    return entry.name.rpartition("/")[2].lower()


def folders_of(entry: Entry) -> list[str]:
    """Return the folders that a file lies in, from the top."""
    return entry.name.split("/")[:-1]


def lies_in(entry: Entry, folder: str) -> bool:
    """Return whether one of the folders that a file lies in has a name."""
    return folder in folders_of(entry)


def parts_of(folders: Sequence[Sequence[str]]) -> list[str]:
    """Return the part of the data that each image belongs to, by the folder at the top.

    Args:
        folders: That each image lies in.

    Returns:
        train, validation or test for each image; nothing unless there are several parts.
    """
    tops = [folder[0] if folder else "" for folder in folders]
    parts = [part_named(top) for top in tops]
    return parts if all(parts) and len(set(parts)) > 1 else []


def place_of(entry: Entry, folder: str) -> str:
    """Return what an image and the file that belongs to it have in common.

    Args:
        entry: A file.
        folder: The name of the folder that is another one for each kind of file.
    """
    folders = folders_of(entry)
    # Of several folders of that name the innermost.
    at = len(folders) - 1 - folders[::-1].index(folder)
    folders[at] = ""
    stem = entry.name.rpartition("/")[2].rpartition(".")[0]
    return "/".join([*folders, stem])


def by_place(
    entries: Iterable[Entry], place: Callable[[Entry], str], what: str, problems: list[Problem]
) -> Mapping[str, Entry]:
    """Return files by what they have in common with others.

    Args:
        entries: Files of one kind.
        place: Returns what a file has in common with those that belong to it; see `place_of`.
        what: They are, for people.
        problems: Takes files that cannot be told from others.
    """
    places: dict[str, Entry] = {}
    for entry in entries:
        first = places.setdefault(place(entry), entry)
        if first is not entry:
            problems.append(
                Problem(
                    quoted(entry.name),
                    f"a further {what} beside {quoted(first.name)}",
                    "one file of a name, whatever it ends in",
                )
            )
    return places


def refuse_outside(images: Iterable[Entry], beside: str, problems: list[Problem]) -> None:
    """Refuse images that lie in no folder images/."""
    outside = [image.name for image in images if not lies_in(image, IMAGES)]
    if outside:
        problems.append(
            Problem(
                names_text(outside),
                f"{len(outside):,} images outside {IMAGES}/ and {beside}/",
                f"each image in {IMAGES}/",
                "move them there, or remove them",
            )
        )


def class_names(archive: Archive) -> tuple[list[str], list[Problem]]:
    """Read classes.txt.

    Returns:
        The names in their order, none where there is no such file; and what is wrong with them.
    """
    entries = [entry for entry in archive.entries if file_name(entry) == CLASSES]
    names: list[str] = []
    problems: list[Problem] = []
    for entry in entries:
        try:
            lines = archive.read(entry).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            problems.append(Problem(quoted(entry.name), "text that is no utf-8", "utf-8"))
            continue
        read = [line.strip() for line in lines]
        while read and not read[-1]:
            read.pop()
        problems += _wrong_names(entry, read)
        if names and read != names:
            found = f"other names than in {quoted(entries[0].name)}"
            problems.append(Problem(quoted(entry.name), found, "the same names in the same order"))
        names = names or read
    return names, problems


def _wrong_names(entry: Entry, names: Sequence[str]) -> list[Problem]:
    place = quoted(entry.name)
    if not names:
        return [Problem(place, "no name", "the name of a class in each line")]
    problems = []
    lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        at = f"{place}, line {number}"
        if not name:
            problems.append(Problem(at, "an empty line", "the name of a class"))
            continue
        if len(name) > _MOST_CHARS or not name.isprintable():
            allowed = f"at most {_MOST_CHARS} printable characters"
            problems.append(Problem(at, f"the name {quoted(name)}", allowed))
        first = lines.setdefault(name, number)
        if first != number:
            found = f"{quoted(name)}, as in line {first}"
            problems.append(Problem(at, found, "a name of its own for each class"))
    return problems


def refuse_if_any(problems: Sequence[Problem]) -> None:
    """Refuse a folder with problems.

    Raises:
        Refused: There are some.
    """
    if problems:
        raise Refused(*problems)
