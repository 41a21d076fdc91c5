"""One of several processes that train one job, other than the first; started by `launcher`.

python -P -m talweg.worker.training.distributed.rank FOLDER RANK PARENT_PID
"""

import json
import sys
import threading
from pathlib import Path

import torch

from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import Job
from talweg.worker.parents import die_with_parent, end_with_stdin
from talweg.worker.storage.job_store import JobStore
from talweg.worker.training.distributed import launcher
from talweg.worker.training.exits import of_exit
from talweg.worker.training.interface import NeverStop, NullReporter
from talweg.worker.training.job import run


def main(folder: Path, number: int, parent: int) -> int:
    """Train a part of the job that a folder describes.

    Args:
        folder: Where the processes meet.
        number: Which of them this is, from 1.
        parent: The process id of the first.

    Returns:
        The exit status.
    """
    threading.Thread(target=end_with_stdin, daemon=True).start()
    die_with_parent(parent)
    spec = from_dict(json.loads((folder / launcher.SPEC).read_text()))
    device = (folder / launcher.DEVICE).read_text()
    store = JobStore.from_json(json.loads((folder / launcher.STORE).read_text()))
    if device == "cuda":
        torch.cuda.set_device(number)
    rank = launcher.Rank(number=number, size=spec.resources.processes, folder=folder)
    try:
        with store.used():
            result = run(
                spec, report=NullReporter(), control=NeverStop(), device=device, rank=rank
            )
    except Exception:
        raise
    except BaseException as exc:
        # With status 0 it would pass for a process that has trained to the end.
        result = of_exit(exc, spec)
    if result.state != Job.FAILED:
        return 0
    failed = {"cause": result.cause, "message": result.message}
    rank.failure_file.write_text(json.dumps(failed))
    return launcher.FAILED_STATUS


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
