"""What small things cost: a program's start, the checks of a loss, a step's reports.

Run with `make bench`, or alone: `python -m tests.benchmarks.costs`. Each is held against the same
without it, in processor time, in one run.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tests.benchmarks.pairs import one_thread
from tests.benchmarks.table import Row, render
from tests.worker._jobs import tiny_spec
from torch.nn import functional as F

from talweg.spec import fill_message, from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.execution.control import JobControl
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.losses import build
from talweg.worker.tracking.spool import SpoolWriter
from talweg.worker.training import NeverStop, NullReporter, Reporter
from talweg.worker.training.interface import Control

NUM_STEPS = 20_000
_CONNECT = "from talweg.client import Client; Client('127.0.0.1:1').close()"
_VALUES = {"train/loss": 1.0, "lr": 0.1, "guard/grad_norm": 1.0}


def start_of_programs() -> list[Row]:
    """Processor time of the command line's help and of a connection, beside Python's own start."""
    bare = _cpu_seconds([sys.executable, "-c", "pass"])
    rows = []
    for what, command, goal in (
        ("talweg --help", [sys.executable, "-m", "talweg.client.cli", "--help"], 0.5),
        ("import of the client and a connection", [sys.executable, "-c", _CONNECT], 0.3),
    ):
        seconds = _cpu_seconds(command) - bare
        rows.append(
            Row(
                f"{what}, processor time beyond Python's start",
                f"{seconds:.2f} s",
                goal=f"{goal} s",
                met=seconds < goal,
                remark="least of three",
            )
        )
    return rows


def checks_of_a_loss() -> Row:
    """Microseconds by which mse with its checks takes longer than torch's on a small batch."""
    pred, target = torch.randn(64), torch.randn(64)
    module = build(fill_message(from_dict("mse", Loss)))
    plain = _quickest(lambda: F.mse_loss(pred, target))
    ours = _quickest(lambda: module({"pred": pred, "target": target}))
    return Row(
        "checks of mse on 64 numbers, beyond torch's",
        f"{ours - plain:.1f} µs",
        goal="8 µs",
        met=ours - plain < 8,
        remark="best of 40 rounds",
    )


def reports_of_a_step() -> Row:
    """Microseconds of a step's control and reports, beyond those of a run without a job."""
    with tempfile.TemporaryDirectory() as folder:
        with SpoolWriter(Path(folder), job_id="job", attempt=1) as spool:
            control = JobControl(lease_end=time.monotonic() + 1e9)
            real = _telling(JobReporter(tiny_spec(), spool), control)
        null = _telling(NullReporter(), NeverStop())
    micros = 1e6 * (real - null) / NUM_STEPS
    return Row(
        "control, progress and metrics of a step",
        f"{micros:.1f} µs",
        goal="20 µs",
        met=micros < 20,
        remark=f"{NUM_STEPS:,} steps, beyond a run without a job",
    )


def _telling(report: Reporter, control: Control) -> float:
    started = time.process_time()
    for step in range(NUM_STEPS):
        control.check()
        report.progress(step, NUM_STEPS, 1, 1)
        report.metrics(step, _VALUES)
    return time.process_time() - started


def _quickest(call: Callable[[], object], number: int = 300, rounds: int = 40) -> float:
    """Return the microseconds of a call at its best."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(number):
            call()
        best = min(best, (time.perf_counter() - start) / number)
    return best * 1e6


def _cpu_seconds(command: Sequence[str]) -> float:
    """Return the least processor time of three runs: waiting for others is not counted."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=os.environ, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def measure() -> list[Row]:
    """Return all figures."""
    with one_thread():
        return [*start_of_programs(), checks_of_a_loss(), reports_of_a_step()]


if __name__ == "__main__":
    print(render(measure()))
