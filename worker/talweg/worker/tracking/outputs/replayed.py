"""What a replay leaves in MLflow besides its tables: the report, for programs and for people."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from talweg.spec import from_dict, replay_lines
from talweg.v1.replay_pb2 import ReplayReport
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.spool import REPLAY

if TYPE_CHECKING:
    # MLflow, which a training process does without.
    from talweg.worker.tracking.runs import RunId, Runs

FOLDER = "replay"
TEXT = "replay.txt"


def send_replay(attempt: SpooledAttempt, run: "RunId", runs: "Runs") -> None:
    """Send the report as JSON and as text.

    Args:
        attempt: The last one; it holds the report.
        run: The replay's.
        runs: MLflow.
    """
    path = attempt.folder / REPLAY
    report = from_dict(json.loads(path.read_text()), ReplayReport)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / FOLDER
        target.mkdir()
        (target / REPLAY).write_bytes(path.read_bytes())
        (target / TEXT).write_text(in_text(report))
        runs.log_files(run.run_id, Path(folder))


def in_text(report: ReplayReport) -> str:
    """Return the report as a page of text."""
    return "\n".join(replay_lines(report)) + "\n"
