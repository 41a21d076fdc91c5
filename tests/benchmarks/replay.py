"""How long it takes from a step whose loss rose to its rows.

Replays step 18,402 of the smallest example, regression_diabetes.yaml trained for 20,000 steps:
once from the initial state, as where no checkpoint is left, and once from the checkpoint of step
18,000.
Run with `make bench`, or alone: `python -m tests.benchmarks.replay`.
"""

import time
from dataclasses import dataclass, field

from tests.benchmarks.pairs import one_thread
from tests.benchmarks.spikes import EXAMPLES
from tests.benchmarks.table import Row, render

from talweg.client import read_jobs
from talweg.spec import fill
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.training import NeverStop, NullReporter, Result, Snapshot

STEP, CHECKPOINT, STEPS = 18_402, 18_000, 20_000
MOST_SECONDS = 60


@dataclass
class _Kept:
    """Keeps the states of a training in memory, and gives that of one step."""

    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    start: int = 0

    def load(self) -> Snapshot | None:
        return self.snapshots.get(self.start)

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        tensors = {name: tensor.clone() for name, tensor in snapshot.tensors.items()}
        self.snapshots[step] = Snapshot(tensors, dict(snapshot.values))
        return True


def measure() -> list[Row]:
    """Return the rows of the table."""
    (spec,) = read_jobs(EXAMPLES / "regression_diabetes.yaml")
    spec = fill(spec)
    spec.training.ClearField("length")
    spec.training.steps = STEPS
    spec.training.ClearField("early_stopping")
    spec.training.checkpoints.every_steps = CHECKPOINT
    store = _Kept()
    with one_thread():
        trained = _seconds(spec, store)[0]
        replayed = JobSpec()
        replayed.CopyFrom(spec)
        replayed.replay.job, replayed.replay.step = "jobs/benchmark", STEP
        rows = []
        for start, words in ((0, "the initial state"), (CHECKPOINT, f"step {CHECKPOINT:,}")):
            seconds, result = _seconds(replayed, _Kept(store.snapshots, start))
            assert result.replay is not None, result.message
            assert result.replay.from_step == start
            rows.append(
                Row(
                    f"replay of step {STEP:,} from {words}",
                    f"{seconds:.1f} s; the {STEPS:,} steps of training: {trained:.1f} s",
                    f"< {MOST_SECONDS} s",
                    seconds < MOST_SECONDS,
                )
            )
    return rows


def _seconds(spec: JobSpec, store: _Kept) -> tuple[float, Result]:
    started = time.perf_counter()
    result = diagnostics.run(
        spec, report=NullReporter(), control=NeverStop(), device="cpu", store=store
    )
    return time.perf_counter() - started, result


if __name__ == "__main__":
    print(render(measure()))
