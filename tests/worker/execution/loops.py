"""What stands for the training loop, and what attempts leave in the spool."""

import threading
import time
from pathlib import Path

from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker import training
from talweg.worker.tracking.spool import LINES, attempt_folder, read_lines
from talweg.worker.training import Control, Reporter, Result


class StepUntilStopped:
    """Stands for the training loop: a step every few milliseconds until somebody stops it.

    At most `most` seconds, or until `finish`.
    """

    def __init__(self, *, most: float = 600.0) -> None:
        self.begun = threading.Event()
        self._finished = threading.Event()
        self.stop: training.Stop | None = None
        self.stopped_at = 0.0
        self.lasted = 0.0
        self._most = most

    def finish(self) -> None:
        """End the loop in order at its next step."""
        self._finished.set()

    def __call__(self, spec: object, *, report: Reporter, control: Control, **_: object) -> Result:
        started, step = time.monotonic(), 0
        while time.monotonic() - started < self._most and not self._finished.is_set():
            self.stop = control.check()
            if self.stop is not None:
                break
            step += 1
            report.progress(step, 10**9, 1, 1)
            report.metrics(step, {"train/loss": 1.0 / step})
            self.begun.set()
            time.sleep(0.005)
        self.stopped_at = time.monotonic()
        self.lasted = self.stopped_at - started
        reason = self.stop.reason if self.stop is not None else None
        return {
            None: Result(Job.SUCCEEDED),
            "cancel": Result(Job.CANCELLED, Outcome.CANCEL_REQUEST, "stopped in order"),
            "time_limit": Result(Job.FAILED, Outcome.TIME_LIMIT, "too long"),
        }.get(reason, Result(Job.QUEUED))


def kinds(spool_dir: Path, name: str, attempt: int = 1) -> list[str]:
    folder = attempt_folder(spool_dir, job_id=job_id(name), attempt=attempt)
    return [line.kind for line in read_lines(folder / LINES)]


def last_state(spool_dir: Path, name: str, attempt: int = 1) -> str:
    folder = attempt_folder(spool_dir, job_id=job_id(name), attempt=attempt)
    *_, end = read_lines(folder / LINES)
    assert end.kind == "end"
    return str(end.content["state"])
