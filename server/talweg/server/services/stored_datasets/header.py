"""What an upload says of itself before its bytes, checked so that nobody sends them in vain."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePath

from google.protobuf import json_format

from talweg.server.errors import FieldProblem, InvalidUpload, UnreadableData, UploadTooLarge
from talweg.server.services.arguments import text
from talweg.spec import check_message, datasets, is_sha256
from talweg.spec.stored import is_dataset_name
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import UploadHeader

# Raised where files are read in another way than before: what is read then is another data set.
_READING_VERSION = 2
_MAX_FILE_NAME_CHARS = 255


@dataclass(frozen=True)
class UploadPlan:
    """An upload, in order as far as its header says."""

    name: str
    """Of the data set; empty where nothing is stored."""
    file_name: str
    """Without folders."""
    sha256: str
    """Of the file's bytes."""
    num_bytes: int
    """Of the file."""
    options: ReadOptions
    """How to read it."""
    validate_only: bool = False
    """Store nothing."""
    source_uri: str = ""
    """Where the server has read it from; empty for an upload."""

    @property
    def read_key(self) -> str:
        """A digest of the file and of all that decides how it is read."""
        options = json_format.MessageToJson(
            self.options, preserving_proto_field_name=True, indent=None, sort_keys=True
        )
        ending = PurePath(self.file_name).suffix.lower()
        parts = (str(_READING_VERSION), self.sha256, str(self.num_bytes), ending, options)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def plan_of(header: UploadHeader, *, max_bytes: int) -> UploadPlan:
    """Check a header.

    Args:
        header: The header.
        max_bytes: The largest file that is taken.

    Raises:
        InvalidUpload: It is not in order; carries all violations.
        InvalidRequest: A text is too long, or holds control characters.
        UnreadableData: The file is empty.
        UploadTooLarge: The file is too large.
    """
    problems = [*_name_problems(header), *_file_problems(header)]
    problems += [
        FieldProblem(each.field, each.description)
        for each in check_message(header.options, path="header.options")
    ]
    if problems:
        told = "; ".join(f"{each.field}: {each.description}" for each in problems)
        raise InvalidUpload(told, fields=problems)
    file_name = text(
        PurePath(header.file_name.replace("\\", "/")).name,
        field="header.file_name",
        most=_MAX_FILE_NAME_CHARS,
        required=True,
    )
    if header.num_bytes > max_bytes:
        raise UploadTooLarge(
            f"{file_name} has {header.num_bytes:,} bytes; allowed are {max_bytes:,} "
            "(TALWEG_MAX_UPLOAD_BYTES): store numbers as Parquet, or leave columns out"
        )
    if not header.num_bytes:
        raise UnreadableData(
            f"{file_name}: found an empty file; allowed a file with data.",
            fields=[FieldProblem(file_name, "found an empty file; allowed a file with data.")],
        )
    return UploadPlan(
        name=header.name,
        file_name=file_name,
        sha256=header.sha256,
        num_bytes=header.num_bytes,
        options=header.options,
        validate_only=header.validate_only,
    )


def _name_problems(header: UploadHeader) -> list[FieldProblem]:
    name = header.name
    if header.validate_only and not name:
        return []
    if not is_dataset_name(name):
        return [
            FieldProblem(
                "header.name",
                "must be 1 to 100 letters, digits, dots, dashes and underscores, beginning with "
                f"a letter or digit, but got {name[:200]!a}",
            )
        ]
    if name in {each.name for each in datasets()}:
        return [
            FieldProblem(
                "header.name",
                f"must not be that of a built-in data set, but got {name!r}: choose another, "
                f"such as my_{name}",
            )
        ]
    return []


def _file_problems(header: UploadHeader) -> list[FieldProblem]:
    if is_sha256(header.sha256):
        return []
    return [
        FieldProblem(
            "header.sha256",
            "must be the sha256 of the file's bytes, 64 hexadecimal digits in lower case, but "
            f"got {header.sha256[:100]!a}",
        )
    ]
