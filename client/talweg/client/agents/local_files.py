"""Which files of this machine an agent may upload.

What is uploaded can be read by all who reach the server, and an agent may be talked into anything
by what it reads. So it uploads from one folder, and by one tool.
"""

from pathlib import Path

from talweg.client._errors import InvalidRequest
from talweg.client.data._files_in_specs import names_file
from talweg.spec import Violation
from talweg.v1.spec_pb2 import JobSpec


def path_within(folder: Path, path: str) -> Path:
    """Return where a file or folder lies, with links followed.

    Args:
        folder: What may be uploaded lies in it.
        path: Of an agent; a relative one is relative to the folder.

    Raises:
        InvalidRequest: It lies elsewhere.
    """
    root = folder.resolve()
    found = (root / path).resolve()
    if not found.is_relative_to(root):
        hint = "only the user can allow another one: talweg mcp --folder FOLDER"
        raise InvalidRequest(violations=[Violation("path", path, f"a path in {root}", hint)])
    return found


def refuse_file(spec: JobSpec, field: str) -> None:
    """Raise where a spec names a file of this machine, which would be uploaded even to check it.

    Args:
        spec: Of a job.
        field: Where its data stand, for the error.

    Raises:
        InvalidRequest: It names one.
    """
    if names_file(spec):
        hint = "upload it by the tool `add_data`, and name it as stored"
        path = spec.dataset.file.path
        violation = Violation(f"{field}.file", f"the file {path!r}", "stored data", hint)
        raise InvalidRequest(violations=[violation])
