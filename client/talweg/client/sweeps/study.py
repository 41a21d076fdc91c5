"""Studies: a sweep that asks which loss suits some data, within a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from talweg.client._errors import InvalidRequest
from talweg.spec import Violation, from_dict, kind, to_dict
from talweg.spec.fields import fields
from talweg.spec.sweeps import MAX_DAYS
from talweg.spec.times import seconds_in
from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import SweepSpec

MARGIN = "1%"
"""The largest difference that does not matter."""
_RATES = {"low": 3e-4, "high": 3e-2}
# What differences between a few values need to be significant, and what is worth having.
_FEWEST_SEEDS, _MOST_SEEDS = 8, 50
_ERROR = 0.05
_FEWEST_TRIALS, _MOST_TRIALS = 3, 30
_FEWEST_LOSSES = 2
# Of the time that is left: the rest is for what no plan foresees.
_USED = 0.8
_PATIENCE = 10
LEAST_JOBS = _FEWEST_LOSSES * (_FEWEST_TRIALS + _FEWEST_SEEDS)
"""Of a study of two losses."""


@dataclass(frozen=True)
class Size:
    """How much a study does."""

    num_losses: int
    """Compared losses, the baseline among them."""
    num_trials: int
    """Learning rates that each of them is tried with."""
    num_seeds: int
    """Fresh seeds of each chosen setting."""
    seconds: float
    """How long it is expected to take."""

    @property
    def num_jobs(self) -> int:
        """Jobs in all."""
        return self.num_losses * (self.num_trials + self.num_seeds)


def budget_seconds(text: str) -> int:
    """Read a time such as 90s, 30m, 2h or 1d.

    Raises:
        InvalidRequest: It is none.
    """
    seconds = int(seconds_in(text) or 0)
    if not 0 < seconds <= MAX_DAYS * 86_400:
        allowed = f"a time such as 90s, 30m, 2h or 1d, up to {MAX_DAYS}d"
        raise InvalidRequest(violations=[Violation("budget", repr(text), allowed)])
    return seconds


def size_for(job_seconds: float, budget: float, num_workers: int, num_losses: int) -> Size | None:
    """Return how much fits into a time: seeds first, then losses, then learning rates.

    Args:
        job_seconds: How long one job takes.
        budget: How long the study may take, in seconds.
        num_workers: How many jobs run at once.
        num_losses: How many losses are worth comparing.

    Returns:
        The size; None where not even two losses fit.
    """
    fitting = _USED * budget * num_workers / max(job_seconds, 1e-3)
    for losses in range(num_losses, _FEWEST_LOSSES - 1, -1):
        fewest = _fewest_seeds(losses)
        if losses * (_FEWEST_TRIALS + fewest) > fitting:
            continue
        each = fitting / losses
        # As many trials as seeds: a badly chosen setting costs as much as a noisy figure.
        seeds = min(max(fewest, int(each // 2)), _MOST_SEEDS)
        trials = min(max(_FEWEST_TRIALS, int(each) - seeds), _MOST_TRIALS)
        jobs = losses * (trials + seeds)
        # Each phase ends with its last job.
        seconds = (math.ceil(jobs / num_workers) + 1) * job_seconds
        return Size(losses, trials, seeds, seconds)
    return None


def _fewest_seeds(num_losses: int) -> int:
    """Return how many seeds it takes for all comparisons with the baseline to be significant.

    The smallest p of n pairs, by the flips of their signs, is 2 / 2^n; it is multiplied by the
    number of comparisons.
    """
    return max(_FEWEST_SEEDS, math.ceil(1 + math.log2((num_losses - 1) / _ERROR)))


def least_seconds(job_seconds: float, num_workers: int) -> int:
    """Return the shortest time into which a study of two losses fits, in seconds."""
    return math.ceil(LEAST_JOBS * job_seconds / num_workers / _USED)


def base_of(job: JobSpec, experiment: str) -> JobSpec:
    """Return the job that a study varies: it stops early, and keeps figures alone.

    Args:
        job: A job for the data.
        experiment: Of the study.
    """
    base = JobSpec()
    base.CopyFrom(job)
    base.ClearField("loss")
    base.experiment = experiment
    if not base.training.HasField("early_stopping"):
        base.training.early_stopping.patience = _PATIENCE
    base.outputs.model = False
    base.outputs.plots = False
    return base


def losses_of(plain: Loss, recommended: Sequence[Loss], most: int) -> list[Any]:
    """Return the losses that are compared, as a job file has them, the baseline first.

    Args:
        plain: The baseline.
        recommended: The best first.
        most: So many in all.
    """
    values: list[Any] = []
    for loss in (plain, *recommended):
        value = _shortest(loss)
        if value not in values and len(values) < most:
            values.append(value)
    return values


def has_own_split(job: JobSpec) -> bool:
    """Return whether the data say themselves which samples are for training."""
    return bool(job.dataset.stored.split)


def sweep_of(
    base: JobSpec, losses: Sequence[Any], size: Size, *, name: str, time: int, splits: bool = False
) -> SweepSpec:
    """Return the sweep of a study.

    Args:
        base: The job that is varied.
        losses: As `losses_of` gives them; the first is the baseline.
        size: How much it does.
        name: For display.
        time: In seconds, after which it ends.
        splits: Each seed has a split of its own.
    """
    vary = ["training.seed", "split.seed"] if splits else ["training.seed"]
    return from_dict(
        {
            "display_name": name,
            "base": base,
            "space": [
                {"path": "loss", "values": list(losses[: size.num_losses])},
                {"path": "optimizer.adamw.learning_rate", "log_uniform": dict(_RATES)},
            ],
            "algorithm": {"qmc": {}},
            "trials": size.num_trials,
            "seeds": {"vary": vary},
            "compare": {"path": "loss", "margin": MARGIN, "final_seeds": size.num_seeds},
            "max_time": f"{time}s",
            "predicted": {"seconds": size.seconds},
        },
        SweepSpec,
    )


def _shortest(loss: Loss) -> Any:
    """Return a loss as a job file has it, without what is the default."""
    name, _ = kind(loss)
    body = getattr(loss, name)
    known = fields(body.DESCRIPTOR)
    changed = {
        field: value
        for field, value in to_dict(body).items()
        if value not in (known[field].default, _enum_name(known[field]))
    }
    return {name: changed} if changed else name


def _enum_name(field: Any) -> str | None:
    if field.enum is None or not isinstance(field.default, int):
        return None
    return str(field.enum.values_by_number[field.default].name)
