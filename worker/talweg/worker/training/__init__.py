"""Training: one job's run, from its spec to its result.

`setup` makes all that a run needs, `loop` trains, and `job` is the run from spec to result. The
loop's collaborators stand beside it: `guard` and `diagnosis`, `schedules`, `optimizers` and the
`update` by them, `batches`, `judge`, `recorder`. What training changes is in one object, `state`,
and `snapshot` copies all of it and brings it back.
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
