"""Training: one job's run, from its spec to its result.

`job` is the run from spec to result. `setup` makes all that it needs, `loop` trains, and `step`
takes each optimizer step; `deferred` reads several of them at once on a GPU. Beside them stand
`batches` and `curriculum`, `evaluator`, `recorder`, `precision`, `determinism` and `memory`; in
rooms of their own `guard`, `monitors`, `optim` and `distributed`. What training changes is in one
object of `state`, where `snapshot` copies all of it and brings it back.

What a job looks into besides its training is `talweg.worker.diagnostics`, which stands above.
"""

from talweg.worker.training.interface import (
    Control,
    NeverStop,
    NoStore,
    NullReporter,
    RecordingReporter,
    Reporter,
    Result,
    Stop,
    Store,
)
from talweg.worker.training.job import run
from talweg.worker.training.state.continuation import continued
from talweg.worker.training.state.snapshot import Snapshot

__all__ = [
    "Control",
    "NeverStop",
    "NoStore",
    "NullReporter",
    "RecordingReporter",
    "Reporter",
    "Result",
    "Snapshot",
    "Stop",
    "Store",
    "continued",
    "run",
]
