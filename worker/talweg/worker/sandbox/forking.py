"""The process that forks the processes of jobs: `python -m talweg.worker.sandbox.forking PARENT`.

It is started without the worker's secrets, by a new program, so that they are not in its memory
either. It imports what training needs, once, and touches neither tensors nor a device: what it
forks begins within milliseconds.

Standard input is a socket. It says {"namespaces", "landlock"} once it is ready. For each folder
that it reads there, with the job's end of a socket, it forks a keeper. The keeper enters the
namespaces, and forks the job; where processes have a namespace of their own, by way of its first
process. It says `ended STATUS` when the job's process has ended, and `idle` once all are gone
that the job has started.
"""

import gc
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from talweg.worker.confinement import landlock, namespaces
from talweg.worker.confinement.namespaces import Namespaces
from talweg.worker.parents import adopt_orphans, die_with_parent, go_on_in_child
from talweg.worker.sandbox import inside

ENDED, IDLE = "ended", "idle"
"""What is said of a job's processes."""
_LONGEST_PATH = 4096


def main(parent: int) -> None:
    """Fork a job's process whenever asked, until the worker is gone."""
    die_with_parent(parent)
    adopt_orphans()
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    own = namespaces.available()
    _say(control, json.dumps({"namespaces": int(own), "landlock": landlock.abi()}))
    gc.collect()
    gc.freeze()
    while True:
        path, ends, _, _ = socket.recv_fds(control, _LONGEST_PATH, 1)
        if not path:
            return
        _run_one(Path(os.fsdecode(path)), ends[0], control, own)


def _run_one(folder: Path, job: int, control: socket.socket, own: Namespaces) -> None:
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        control.close()
        _end_with(_keep, folder, job, writing, own)
    os.close(job)
    os.close(writing)
    with open(reading) as told:
        # Until the last is gone that could tell.
        status = told.read()
    _say(control, f"{ENDED} {status}")
    with suppress(ChildProcessError):
        while True:
            os.wait()
    _say(control, IDLE)


def _keep(folder: Path, job: int, writing: int, own: Namespaces) -> None:
    """Enter the namespaces, and fork what lives in them."""
    die_with_parent(os.getppid())
    namespaces.enter(own)
    if not own & Namespaces.PID:
        _fork_job(folder, job, writing, own)
        return
    if (first := os.fork()) == 0:
        # The kernel ends all others of its namespace with it. Its parent has no number in there.
        die_with_parent(0)
        namespaces.own_processes()
        _end_with(_fork_job, folder, job, writing, own)
    os.close(job)
    os.close(writing)
    os.waitpid(first, 0)


def _fork_job(folder: Path, job: int, writing: int, own: Namespaces) -> None:
    go_on_in_child(writing, job)
    inside.work(folder, job, own)


def _end_with(what: object, *arguments: object) -> None:
    """Do something and end this process, whatever comes of it."""
    status = 1
    try:
        what(*arguments)  # type: ignore[operator]
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _say(control: socket.socket, text: str) -> None:
    with suppress(OSError):
        control.sendall(text.encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
