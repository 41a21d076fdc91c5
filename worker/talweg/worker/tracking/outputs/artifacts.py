"""What an attempt leaves in the blob store: files that are there until the job is deleted.

The training process writes all but pictures before the job is reported as ended. The delivery
process draws the pictures, and writes what the training process could not, while the store was
away. Nothing here loads torch or matplotlib before it draws.
"""

import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from talweg.blobs import PICTURES, TRAINING, Blobs, has_part, write_artifacts
from talweg.spec import from_dict, to_yaml
from talweg.v1.jobs_pb2 import Divergence
from talweg.v1.replay_pb2 import ReplayReport
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.outputs import evidence, replayed, tables
from talweg.worker.tracking.spool import (
    DIVERGENCE,
    EXAMPLE,
    GRADIENT_FLOW,
    LOSS_LANDSCAPE,
    MODEL,
    PREDICTIONS,
    RATE_RANGE,
    REPLAY,
    REPLAY_TABLES,
    WEIGHTS,
    table_file,
)

JOB_FILE = "job.yaml"
MODEL_FOLDER, PLOTS_FOLDER = "model", "plots"
DRAWN = "drawn"
"""The folder in an attempt's spool that holds its pictures once they are drawn."""
_MODEL_FILES = (MODEL, WEIGHTS, EXAMPLE)
_TABLES = (RATE_RANGE, GRADIENT_FLOW, LOSS_LANDSCAPE, *REPLAY_TABLES)


def files_of(
    folder: Path, names: Collection[str], spec: JobSpec, *, log: str = "", attempt: int = 0
) -> dict[str, Path | bytes]:
    """Return the files of an attempt, pictures left out, by their paths among the job's.

    A job whose outputs ask for nothing, and that nothing was found out about, has none.

    Args:
        folder: The attempt's in the spool.
        names: Its files that are complete.
        spec: Filled.
        log: What it has told, as text.
        attempt: Its number, for the name of the log.
    """
    files: dict[str, Path | bytes] = {}
    if set(_MODEL_FILES) <= set(names):
        files |= {f"{MODEL_FOLDER}/{name}": folder / name for name in _MODEL_FILES}
    if PREDICTIONS in names:
        files[PREDICTIONS] = folder / PREDICTIONS
    if DIVERGENCE in names:
        text = evidence.in_text(_read_divergence(folder))
        files[f"{evidence.FOLDER}/{DIVERGENCE}"] = folder / DIVERGENCE
        files[f"{evidence.FOLDER}/{evidence.TEXT}"] = text.encode()
    if REPLAY in names:
        report = from_dict(json.loads((folder / REPLAY).read_text()), ReplayReport)
        files[f"{replayed.FOLDER}/{REPLAY}"] = folder / REPLAY
        files[f"{replayed.FOLDER}/{replayed.TEXT}"] = replayed.in_text(report).encode()
    for name in _TABLES:
        if table_file(name) in names:
            columns = json.loads((folder / table_file(name)).read_text())["columns"]
            files[f"{tables.FOLDER}/{name}.csv"] = tables.as_csv(columns).encode()
    if files or spec.outputs.plots:
        files[JOB_FILE] = to_yaml(spec).encode()
        if log:
            files[f"logs/attempt-{attempt}.txt"] = log.encode()
    return files


def store(
    blobs: Blobs, job: str, attempt: int, files: Mapping[str, Path | bytes], spec: JobSpec
) -> None:
    """Write what `files_of` gave, if anything.

    Raises:
        OSError: Something cannot be read or written.
    """
    if files:
        awaits = [PICTURES] if spec.outputs.plots else []
        write_artifacts(blobs, job, attempt, TRAINING, files, awaits=awaits)


def draw(last: SpooledAttempt, attempts: Iterable[SpooledAttempt], spec: JobSpec) -> Path:
    """Draw all pictures of a job into the spool, once, and return their folder.

    Args:
        last: The attempt that ended the job.
        attempts: All that are here.
        spec: Filled.
    """
    drawn = last.folder / DRAWN
    if drawn.is_dir():
        return drawn
    from talweg.worker.tracking.outputs.diagnoses import draw_diagnosis  # noqa: PLC0415 - matplotlib
    from talweg.worker.tracking.plots.task import draw_all  # noqa: PLC0415 - torch, matplotlib

    with tempfile.TemporaryDirectory(dir=last.folder, prefix=".drawing-") as aside:
        folder = Path(aside) / DRAWN
        for name in (PLOTS_FOLDER, evidence.FOLDER, tables.FOLDER):
            (folder / name).mkdir(parents=True)
        draw_all(last, spec, folder / PLOTS_FOLDER)
        if DIVERGENCE in last.files:
            evidence.draw_evidence(_read_divergence(last.folder), spec, folder / evidence.FOLDER)
        for attempt in attempts:
            for name in _TABLES:
                if table_file(name) in attempt.files:
                    content = json.loads((attempt.folder / table_file(name)).read_text())
                    draw_diagnosis(name, content, spec, folder / tables.FOLDER)
        shutil.move(folder, drawn)
    return drawn


def store_rest(
    blobs: Blobs,
    job: str,
    last: SpooledAttempt,
    attempts: Iterable[SpooledAttempt],
    spec: JobSpec,
) -> None:
    """Write what the training process has left to be written: pictures, or all that it could not.

    Args:
        blobs: The store.
        job: `jobs/ID`.
        last: The attempt that ended the job.
        attempts: All that are here.
        spec: Filled.

    Raises:
        OSError: The store does not answer.
    """
    files = files_of(last.folder, last.files, spec)
    if not files:
        return
    if not has_part(blobs, job, last.number, TRAINING):
        store(blobs, job, last.number, files, spec)
    if spec.outputs.plots and not has_part(blobs, job, last.number, PICTURES):
        drawn = draw(last, attempts, spec)
        pictures: dict[str, Path | bytes] = {
            str(path.relative_to(drawn)): path
            for path in sorted(drawn.rglob("*"))
            if path.is_file()
        }
        write_artifacts(blobs, job, last.number, PICTURES, pictures)


def _read_divergence(folder: Path) -> Divergence:
    return from_dict(json.loads((folder / DIVERGENCE).read_text()), Divergence)
