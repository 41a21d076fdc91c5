"""A folder that was sent as a .tar file: what is in it, without writing anything to disk."""

import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.request import Request
from talweg.ingest.tar_members import members_of
from talweg.spec.stored.files import is_junk

MOST_FILES = 1_000_000
_MOST_FILE_BYTES = 1 << 28


@dataclass(frozen=True)
class Entry:
    """A file of the folder."""

    name: str
    """Its path within the folder, with / between the parts."""
    member: tarfile.TarInfo
    """Where it stands in the archive."""

    @property
    def ending(self) -> str:
        """Of its name, in lower case."""
        _, dot, ending = self.name.rpartition("/")[2].rpartition(".")
        return f".{ending.lower()}" if dot else ""


class Archive:
    """An open .tar file."""

    def __init__(self, tar: tarfile.TarFile, entries: Sequence[Entry]) -> None:
        """Keep what was found.

        Args:
            tar: The file.
            entries: What is in it, by name.
        """
        self._tar = tar
        self.entries = entries
        """The folder's files, in the order of their names."""

    def read(self, entry: Entry) -> bytes:
        """Return a file's content."""
        file = self._tar.extractfile(entry.member)
        assert file is not None
        with file:
            return file.read()


@contextmanager
def open_archive(request: Request) -> Iterator[Archive]:
    """Open a .tar file, and check the paths of all its members.

    Raises:
        Refused: It is none or not whole, or a member leads out of the folder or is no plain file.
    """
    try:
        tar = tarfile.open(request.path, "r:")
    except tarfile.ReadError as exc:
        raise Refused(
            Problem(
                request.file_name,
                f"content that is no .tar file ({exc})",
                "a .tar file without compression, made of a folder",
                "talweg data add FOLDER makes it",
            )
        ) from exc
    with tar:
        entries: list[Entry] = []
        problems: list[Problem] = []
        number = 0
        for member in members_of(tar, request):
            number += 1
            if number > MOST_FILES:
                raise Refused(Problem(request.file_name, "more files", f"at most {MOST_FILES:,}"))
            problem = _problem(member)
            if problem is not None:
                problems.append(problem)
            elif member.isreg() and not is_junk(member.name.split("/")):
                entries.append(Entry(_clean(member.name), member))
        numbers = Counter(entry.name for entry in entries)
        problems += [
            Problem(quoted(name), f"{number} files of one name", "one of each name")
            for name, number in numbers.items()
            if number > 1
        ]
        if problems:
            raise Refused(*problems)
        yield Archive(tar, sorted(_below_one_folder(entries), key=lambda each: each.name))


def _clean(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _problem(member: tarfile.TarInfo) -> Problem | None:
    name = member.name
    place = quoted(name)
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        return Problem(place, "a path that leads out of the folder", "paths within the folder")
    if member.issym() or member.islnk():
        kind = "a symbolic link" if member.issym() else "a hard link"
        return Problem(
            place, f"{kind} to {quoted(member.linkname)}", "files", "put the file itself there"
        )
    if not (member.isreg() or member.isdir()) or member.sparse is not None:
        return Problem(place, "a device, a pipe or a sparse file", "files and folders")
    if member.size > _MOST_FILE_BYTES:
        return Problem(place, f"{member.size:,} bytes", f"at most {_MOST_FILE_BYTES:,} per file")
    return None


def _below_one_folder(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Take a folder away that all is in, where it is no class: it holds more than images."""
    tops = {entry.name.partition("/")[0] for entry in entries}
    if len(tops) != 1 or any("/" not in entry.name for entry in entries):
        return entries
    rests = [entry.name.partition("/")[2] for entry in entries]
    has_folders = any("/" in rest for rest in rests)
    has_labels = any(rest.lower() == "labels.csv" for rest in rests)
    if not has_folders and not has_labels:
        return entries
    return [Entry(rest, entry.member) for rest, entry in zip(rests, entries, strict=True)]
