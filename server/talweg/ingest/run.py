"""Reads a file, describes what it holds, and writes both; or writes what is wrong with it."""

import json
import sys
import traceback
from dataclasses import asdict

from google.protobuf import json_format

from talweg.ingest.describe import describe
from talweg.ingest.formats import reader_of
from talweg.ingest.problems import Problem, Refused
from talweg.ingest.request import Content, Request
from talweg.ingest.write import write


def run(request: Request) -> None:
    """Write data.arrow or data.safetensors and info.json; or problems.json."""
    try:
        content = _read(request)
    except Refused as exc:
        problems = [asdict(problem) for problem in exc.problems]
        (request.folder / "problems.json").write_text(json.dumps(problems))
        return
    info = describe(content)
    written = write(content, request.folder)
    info.digest, info.data_sha256, info.num_bytes = (
        written.digest,
        written.sha256,
        written.num_bytes,
    )
    text = json_format.MessageToJson(info, preserving_proto_field_name=True)
    (request.folder / "info.json").write_text(text)


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
