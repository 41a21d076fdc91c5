"""Opening stored data, and the memory that four workers take which read the same.

Run with `make bench`, or alone: `python -m tests.benchmarks.opening`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tests.benchmarks.table import Row, render
from tests.worker.data.stored.storing import store_arrays

from talweg.v1.stored_datasets_pb2 import StoredDataset

NUM_WORKERS = 4
NUM_SAMPLES, SHAPE = 2_000, (3, 256, 256)
OPENING_GOAL_MS = 50
COPIES_GOAL = 1.1
_MIB = 2**20

# It opens a small data set first, as a worker has opened others before, then reads all of the
# large one, and waits until it was looked at.
_WORKER = """
import json, sys, time
import numpy as np
from talweg.v1.datasets_pb2 import StoredData
from talweg.worker.data.stored.opening import open_dataset

small, large = (StoredData(name="data", digest=digest) for digest in sys.argv[1:])
open_dataset(small)
started = time.perf_counter()
opened = open_dataset(large)
seconds = time.perf_counter() - started
total = int(np.sum(opened.columns.array("x"), dtype=np.int64))
print(json.dumps({"ms": 1000 * seconds, "total": total}), flush=True)
sys.stdin.read()
"""


def _stored(store: Path, num_samples: int) -> StoredDataset:
    rng = np.random.default_rng(num_samples)
    pictures = rng.integers(0, 256, (num_samples, *SHAPE), np.uint8)
    return store_arrays(store, {"x": pictures, "y": np.arange(num_samples) % 10})


def _shares(pid: int, folder: Path) -> Iterator[int]:
    """Yield a process's share of each mapping of a folder's files, in bytes."""
    is_of_folder = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if " " in name:
            is_of_folder = str(folder) in line
        elif is_of_folder and name == "Pss":
            yield int(value.split()[0]) * 1024


def measure() -> list[Row]:
    """Return both figures."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        store = Path(name).resolve()
        small, large = _stored(store, 2), _stored(store, NUM_SAMPLES)
        file_bytes = NUM_SAMPLES * int(np.prod(SHAPE))
        workers = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _WORKER, small.digest, large.digest],
                    env={**os.environ, "TALWEG_BLOBS": str(store)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(NUM_WORKERS)
        ]
        told = []
        for worker in workers:
            assert worker.stdout is not None
            told.append(json.loads(worker.stdout.readline()))
        assert len({each["total"] for each in told}) == 1
        together = sum(sum(_shares(worker.pid, store)) for worker in workers)
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()
    ms = statistics.median(each["ms"] for each in told)
    copies = together / file_bytes
    size = f"{file_bytes / _MIB:.0f} MiB"
    return [
        Row(
            f"opening stored data of {size}",
            f"{ms:.1f} ms",
            goal=f"{OPENING_GOAL_MS} ms",
            met=ms < OPENING_GOAL_MS,
            remark=f"median of {NUM_WORKERS} processes at the same time",
        ),
        Row(
            f"stored data of {size} read by {NUM_WORKERS} workers, copies in memory",
            f"{copies:.2f}",
            goal=f"{COPIES_GOAL}",
            met=0.9 < copies < COPIES_GOAL,
            remark="their shares of it together, by the kernel's count",
        ),
    ]


if __name__ == "__main__":
    print(render(measure()))
