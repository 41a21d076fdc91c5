"""One of several processes that train one job, other than the first; started by `launcher`.

python -m talweg.worker.training.distributed.member FOLDER RANK
"""

import json
import os
import sys
import threading
from pathlib import Path

import torch

from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import Job
from talweg.worker.parents import die_with_parent
from talweg.worker.training.distributed import launcher
from talweg.worker.training.distributed.processes import Member
from talweg.worker.training.interface import NeverStop, NullReporter
from talweg.worker.training.job import run

_SECONDS_APART = 1.0


def main(folder: Path, rank: int) -> int:
    """Train its part of the job that a folder describes; the exit status."""
    die_with_parent(os.getppid())
    first = int((folder / launcher.PARENT).read_text())
    threading.Thread(target=_end_with, args=(first,), daemon=True).start()
    spec = from_dict(json.loads((folder / launcher.SPEC).read_text()))
    device = (folder / launcher.DEVICE).read_text()
    if device == "cuda":
        torch.cuda.set_device(rank)
    member = Member(rank=rank, size=spec.resources.processes, folder=folder)
    result = run(spec, report=NullReporter(), control=NeverStop(), device=device, member=member)
    if result.state != Job.FAILED:
        return 0
    failed = {"cause": result.cause, "message": result.message}
    launcher.failure_file(folder, rank).write_text(json.dumps(failed))
    return 1


def _end_with(first: int) -> None:
    """End this process once the first is gone: then nobody waits for it."""
    over = threading.Event()
    while not over.wait(_SECONDS_APART):
        try:
            os.kill(first, 0)
        except OSError:
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
