"""The members of .tar files that are whole: tarfile alone ends silently at what it cannot read."""

import tarfile
from collections.abc import Iterator

from talweg.ingest.problems import Problem, Refused
from talweg.ingest.request import Request

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20


def members_of(tar: tarfile.TarFile, request: Request) -> Iterator[tarfile.TarInfo]:
    """Give the members of an open archive, one after another.

    Raises:
        Refused: Behind the last one is no mark of the end, or something behind that.
    """
    yield from tar
    with request.path.open("rb") as file:
        file.seek(tar.offset)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            raise _refused(
                request,
                f"an archive that is cut off at byte {tar.offset:,}",
                "the file may still be written: write files aside and rename them",
            )
        if any(block):
            raise _refused(
                request,
                f"what is no header of a member at byte {tar.offset:,}",
                "the file may be damaged: write it again",
            )
        while piece := file.read(_PIECE):
            if any(piece):
                raise _refused(
                    request,
                    f"something behind its end at byte {tar.offset:,}",
                    "join archives by tar --concatenate; cat leaves their ends in",
                )


def _refused(request: Request, found: str, hint: str) -> Refused:
    return Refused(Problem(request.file_name, found, "one whole .tar file", hint))
