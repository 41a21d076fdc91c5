"""A state that another job goes on from, whose settings have changed meanwhile."""

from dataclasses import asdict

from talweg.v1.spec_pb2 import JobSpec, Training
from talweg.worker.training.precision import GradScaler
from talweg.worker.training.state.snapshot import Snapshot
from talweg.worker.training.state.training_state import BestValue, Refusals

_BEST = "state/best."
_FLOW = "health/flow"
_SCALER = "scaler"


def continued(snapshot: Snapshot, before: JobSpec, after: JobSpec) -> Snapshot:
    """Fit a snapshot to changed settings.

    What was counted towards a setting that has changed begins anew; with no change it is the
    snapshot as it was, but that the training is not over.

    Args:
        snapshot: Of the job that is continued; it stays as it is.
        before: That job's spec, filled.
        after: The new job's, filled.
    """
    state = {**snapshot.values["state"], "stopped_early": False}
    tensors = dict(snapshot.tensors)
    if before.optimizer != after.optimizer or before.schedule != after.schedule:
        # The rate is what the spec says now.
        state |= {"falls": 0, "plateau": asdict(BestValue())}
    if before.optimizer != after.optimizer:
        fresh = asdict(Refusals())
        state["refusals"] = {**state["refusals"], "rate_factor": fresh["rate_factor"]}
    was, now = before.training, after.training
    stopping = now.early_stopping
    if not (
        was.HasField("early_stopping")
        and now.HasField("early_stopping")
        and was.early_stopping.metric == stopping.metric
    ):
        state["stopping"] = asdict(BestValue())
        tensors = {name: t for name, t in tensors.items() if not name.startswith(_BEST)}
    elif state["stopping"]["waited"] >= stopping.patience:
        state["stopping"] = {**state["stopping"], "waited": 0}
    # The gradient flow is told of by each job from its own first step on.
    tensors.pop(_FLOW, None)
    health = {name: value for name, value in snapshot.values["health"].items() if name != "flow"}
    values = {**snapshot.values, "state": state, "health": health}
    if now.precision == Training.fp16 and _SCALER not in values:
        values[_SCALER] = GradScaler().values()
    return Snapshot(tensors, values)
