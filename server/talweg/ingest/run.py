"""Reads a file, describes what it holds, and writes both; or writes what is wrong with it."""

import json
import sys
import traceback
from dataclasses import asdict

from google.protobuf import json_format

from talweg.ingest.describe import describe
from talweg.ingest.formats import reader_of
from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.request import Content, Request
from talweg.ingest.write import write
from talweg.v1.stored_datasets_pb2 import StoredDataset

# It stands in a row of the record.
_MOST_DESCRIPTION = 16 * 2**20


def run(request: Request) -> None:
    """Write data.arrow or data.safetensors, info.json and info.binpb; or problems.json.

    The description is written twice: for the blob store, and for the server, which would spend
    seconds on a large one in JSON.
    """
    try:
        content = _read(request)
        info = _described(content, request)
    except Refused as exc:
        problems = [asdict(problem) for problem in exc.problems]
        (request.folder / "problems.json").write_text(json.dumps(problems))
        return
    written = write(content, request.folder)
    info.digest, info.data_sha256, info.num_bytes = (
        written.digest,
        written.sha256,
        written.num_bytes,
    )
    text = json_format.MessageToJson(info, preserving_proto_field_name=True)
    (request.folder / "info.json").write_text(text)
    (request.folder / "info.binpb").write_bytes(info.SerializeToString(deterministic=True))


def _described(content: Content, request: Request) -> StoredDataset:
    info = describe(content)
    info.file_name = request.file_name
    info.file_sha256 = request.sha256
    info.file_bytes = request.num_bytes
    size = info.ByteSize()
    if size > _MOST_DESCRIPTION:
        largest = max(info.columns, key=lambda column: column.ByteSize())
        raise Refused(
            Problem(
                request.file_name,
                f"categories and names of {size:,} bytes, {largest.ByteSize():,} of them in "
                f"column {quoted(largest.name)}",
                f"at most {_MOST_DESCRIPTION:,} bytes",
                "leave out columns of long texts",
            )
        )
    return info


def _read(request: Request) -> Content:
    try:
        return reader_of(request)(request)
    except (Refused, MemoryError):
        raise
    except Exception as exc:
        # Files that are made to break a reader find errors of it that nobody has listed.
        traceback.print_exc(file=sys.stderr)
        found = f"content that cannot be read ({type(exc).__name__}: {str(exc)[:200]})"
        raise Refused(
            Problem(
                request.file_name,
                found,
                "a whole file of its format",
                "the file may be damaged or cut off: write it again",
            )
        ) from exc
