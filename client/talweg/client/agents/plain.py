"""What tools return, as plain data."""

from typing import Any

from talweg.client._jobs import Job
from talweg.client.sweeps._sweeps import Sweep
from talweg.client.sweeps._values import Trial
from talweg.spec import to_dict


def of_target(target: Job | Sweep) -> dict[str, Any]:
    """Return a job or a sweep."""
    return of_job(target) if isinstance(target, Job) else of_sweep(target)


def of_job(job: Job) -> dict[str, Any]:
    """Return a job without its checkpoints."""
    data = to_dict(job.message)
    data.pop("checkpoints", None)
    return data


def of_sweep(sweep: Sweep) -> dict[str, Any]:
    """Return a sweep, with how it differs from the one that it edits."""
    data = to_dict(sweep.message)
    if sweep.difference is not None:
        data["difference"] = to_dict(sweep.difference)
    return data


def of_trial(trial: Trial) -> dict[str, Any]:
    """Return a trial of a sweep."""
    return {
        "number": trial.number,
        "state": str(trial.state),
        "setting": dict(trial.setting),
        "compared": trial.compared,
        "is_final": trial.is_final,
        "value": trial.value,
        "sd": trial.sd,
        "seeds": trial.count,
        "jobs": list(trial.jobs),
        "message": trial.message,
    }


def of_comparison(comparison: Any) -> dict[str, Any]:
    """Return a comparison, with verdicts where it has any."""
    groups = []
    answer = comparison.answer
    for index, group in enumerate(comparison.groups):
        data: dict[str, Any] = {
            "labels": list(group.labels),
            "count": group.count,
            "mean": group.mean,
            "sd": group.sd,
        }
        if answer is not None:
            found = answer.groups[index]
            data["interval"] = _interval(found.interval)
            if (difference := found.difference) is not None:
                data["difference"] = {
                    "mean": difference.mean,
                    "interval": _interval(difference.interval),
                    "p": difference.adjusted_p,
                    "pairs": difference.n,
                    "verdict": str(difference.verdict),
                    "text": difference.text,
                }
        groups.append(data)
    return {"metric": comparison.metric, "groups": groups, "notes": list(comparison.notes)}


def _interval(interval: Any) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
