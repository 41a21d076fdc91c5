"""The model of a plug-in in MLflow's format, made without the delivery's secrets.

`python -m talweg.worker.artifacts.made_apart PARENT FOLDER TARGET` builds the model of a folder,
which runs the plug-in's code, and writes it. It has a cleaned environment, sees no files but these
and has no network.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from talweg.spec import from_dict
from talweg.v1.models_pb2 import Model
from talweg.worker.confinement.apart import live_apart, run_apart
from talweg.worker.confinement.confining import MODE, READ, confine_unless_off
from talweg.worker.confinement.environment import cleaned
from talweg.worker.models.registry import plugin_of
from talweg.worker.models.saved import MODEL
from talweg.worker.parents import die_with_parent
from talweg.worker.settings import Settings

_MODULE = "talweg.worker.artifacts.made_apart"
_LONGEST = 600.0
_MOST_SAID = 2000
_MADE = "made"


def is_of_plugin(folder: Path) -> bool:
    """Return whether the model of a folder is a plug-in's, whose code builds it."""
    description = json.loads((folder / MODEL).read_text())
    return plugin_of(from_dict(description["model"], Model)) is not None


@contextmanager
def made_apart(folder: Path) -> Iterator[Path]:
    """Give a folder with the model in MLflow's format.

    Args:
        folder: Holds the model as a job has left it.

    Raises:
        RuntimeError: It cannot be made, or holds other things than plain files.
        OSError: It holds links, or there is no room for it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="talweg-model-") as own,
        tempfile.TemporaryDirectory(prefix="talweg-made-") as taken,
    ):
        _make(folder, Path(own))
        # Where nothing that the process may have left behind can change it.
        _take(Path(own) / _MADE, Path(taken) / _MADE)
        yield Path(taken) / _MADE


def _make(folder: Path, own: Path) -> None:
    environment = {
        **cleaned((MODE, READ, *Settings.from_env().sandbox_env)),
        "HOME": str(own),
        "TMPDIR": str(own),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "Agg",
    }
    arguments = ["-m", _MODULE, str(os.getpid()), str(folder), str(own / _MADE)]
    try:
        done = run_apart(arguments, env=environment, folder=own, seconds=_LONGEST)
    except subprocess.TimeoutExpired as exc:
        raise RuntimeError(f"its model was not made within {_LONGEST:g} s") from exc
    if done.returncode:
        said = done.stderr[-_MOST_SAID:].decode(errors="replace").strip()
        raise RuntimeError(f"its process ended with {done.returncode}: {said}")


def _take(made: Path, target: Path) -> None:
    """Copy the plain files of a folder, and refuse links, which would lead elsewhere."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for path, _, names, folder in os.fwalk(made):
        place = target / Path(path).relative_to(made)
        place.mkdir()
        for name in names:
            with open(os.open(name, flags, dir_fd=folder), "rb") as source:
                if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                    raise RuntimeError(f"{name} is no plain file")
                with (place / name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)


def main(parent: int, folder: Path, target: Path) -> None:
    """Build the model of a folder, and write it."""
    die_with_parent(parent)
    live_apart()
    confine_unless_off(readable=[folder], writable=[target.parent])
    # What they import is large, and not the delivery's to load.
    from talweg.worker.artifacts import mlflow_flavour, predictor  # noqa: PLC0415 - as above

    mlflow_flavour.write_model(predictor.load(folder), predictor.load_example(folder), target)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
