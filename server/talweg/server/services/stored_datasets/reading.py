"""Files are read by a process of their own, with limits on its memory and its time.

Whatever is in a file, this process never looks at it: numpy, pandas and the like run there alone.
"""

import asyncio
import json
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from google.protobuf import json_format

from talweg.server.errors import DataTooLarge, FieldProblem, InternalError, UnreadableData
from talweg.server.services.stored_datasets.processes import TIME_IS_UP, run_module
from talweg.spec.local.environment import without_secrets
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import StoredDataset

log = logging.getLogger(__name__)

_NUM_AT_ONCE = 2
_MOST_LOGGED = 4000
# What a process without memory ends by, or says last.
_KILLED = (-signal.SIGKILL, -signal.SIGABRT)
_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"annot allocate memory", b"failed to map segment")
_DATA = ("data.arrow", "data.safetensors")


@dataclass(frozen=True)
class ReadLimits:
    """What reading a file may take."""

    memory_bytes: int
    """Address space of the process."""
    time: timedelta
    """From start to end."""


@dataclass(frozen=True)
class Read:
    """What a file became."""

    info: StoredDataset
    """Its description."""
    description: Path
    """The same as JSON, as it is stored."""
    data: Path
    """The canonical form."""


class Reader:
    """Starts the processes that read files."""

    def __init__(self, limits: ReadLimits) -> None:
        """Start nothing yet.

        Args:
            limits: Of each process.
        """
        self._limits = limits
        self._slots = asyncio.Semaphore(_NUM_AT_ONCE)

    async def read(
        self, path: Path, *, file_name: str, sha256: str, options: ReadOptions, folder: Path
    ) -> Read:
        """Read a file; wait where others are being read.

        Args:
            path: The file.
            file_name: As its owner calls it.
            sha256: Of its bytes.
            options: How to read it.
            folder: An empty folder for what it becomes.

        Raises:
            UnreadableData: It cannot be stored; carries each problem with its place.
            DataTooLarge: It takes too much memory or time.
        """
        request = {
            "path": str(path.absolute()),
            "file_name": file_name,
            "sha256": sha256,
            "options": json_format.MessageToDict(options, preserving_proto_field_name=True),
            "folder": str(folder.absolute()),
            "memory_bytes": self._limits.memory_bytes,
            "seconds": self._limits.time.total_seconds(),
        }
        async with self._slots:
            ended = await run_module(
                "talweg.ingest",
                json.dumps(request).encode(),
                environment=without_secrets(),
                seconds=self._limits.time.total_seconds(),
            )
        return await asyncio.to_thread(self._result, folder, ended.status, ended.errors)

    def _result(self, folder: Path, status: int | None, errors: bytes) -> Read:
        problems = folder / "problems.json"
        if problems.exists():
            raise _refused(json.loads(problems.read_bytes()))
        seconds = self._limits.time.total_seconds()
        if status in TIME_IS_UP:
            raise DataTooLarge(
                f"reading the file takes more than {seconds:g} s: divide it, or have "
                "TALWEG_INGEST_SECONDS raised"
            )
        data = [folder / name for name in _DATA if (folder / name).exists()]
        info, description = folder / "info.binpb", folder / "info.json"
        if status == 0 and info.exists() and description.exists() and len(data) == 1:
            return Read(StoredDataset.FromString(info.read_bytes()), description, data[0])
        if status in _KILLED or any(text in errors for text in _OF_MEMORY):
            raise DataTooLarge(
                f"reading the file takes more than {self._limits.memory_bytes:,} bytes of memory: "
                "divide it, or have TALWEG_INGEST_MEMORY_BYTES raised"
            )
        if status is not None and status < 0:
            # A library has broken on it, as a file can be made to do.
            log.warning("reading a file was ended by signal %d", -status)
            found = f"content on which its reader broke down (signal {-status})"
            raise _refused([{"place": "", "found": found, "allowed": "a file of its format"}])
        text = errors[-_MOST_LOGGED:].decode(errors="replace")
        log.error("reading a file failed with status %s: %s", status, text)
        raise InternalError


def _refused(problems: Sequence[dict[str, str]]) -> UnreadableData:
    fields = []
    for each in problems:
        sentence = f"found {each['found']}; allowed {each['allowed']}."
        hint = each.get("hint", "")
        fields.append(FieldProblem(each["place"], f"{sentence} {hint}" if hint else sentence))
    number = len(fields)
    told = "; ".join(f"{f.field}: {f.description}" if f.field else f.description for f in fields)
    return UnreadableData(
        f"{number} problem{'s' if number > 1 else ''} in the file: {told}",
        fields=fields,
        metadata={"problems": str(number)},
    )
