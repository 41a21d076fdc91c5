"""What the tools of agents do: calls of the client that return plain data. None deletes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any, Literal

from talweg.client._client import Client
from talweg.client._errors import InvalidRequest, NotFound, WaitTimeout
from talweg.client._jobs import Job
from talweg.client.sweeps._sweeps import Sweep
from talweg.client.sweeps._values import Trial
from talweg.spec import Violation, to_dict
from talweg.spec.spelling import nearest

Kind = Literal["losses", "tasks", "models", "datasets", "optimizers"]
Name = Annotated[str, "jobs/ID or sweeps/ID, or the id alone"]

_MOST_SECONDS = 300
_MOST_LISTED = 200
_MOST_TEXT = 100_000


class Tools:
    """The tools, over one client."""

    def __init__(self, client: Client) -> None:
        """Keep the client.

        Args:
            client: Asks the server.
        """
        self._client = client

    @property
    def all(self) -> Sequence[Callable[..., Any]]:
        """Every tool: those that only read first."""
        return (*self.reading, *self.changing)

    @property
    def reading(self) -> Sequence[Callable[..., Any]]:
        """Those that change nothing."""
        return (
            self.catalogue,
            self.recommend,
            self.list_data,
            self.show_data,
            self.check,
            self.list_jobs,
            self.list_sweeps,
            self.show,
            self.wait,
            self.metrics,
            self.trials,
            self.answer,
            self.compare,
            self.list_artifacts,
            self.read_artifact,
        )

    @property
    def changing(self) -> Sequence[Callable[..., Any]]:
        """Those that train, upload, or stop."""
        return (self.add_data, self.submit, self.sweep, self.pause, self.resume, self.cancel)

    def catalogue(self, kind: Kind, name: str = "", task: str = "") -> Any:
        """List losses, tasks, models, data sets or optimizers; with a name, describe one.

        A description has all parameters with their defaults and bounds. `task` limits losses to
        those that suit a task.
        """
        entries: Sequence[Any] = (
            self._client.losses(task) if kind == "losses" else getattr(self._client, kind)()
        )
        if name:
            known = {entry.name: entry for entry in entries}
            if name not in known:
                raise NotFound(f"there is no {name!r} among the {kind}. {nearest(name, known)}")
            return to_dict(known[name])
        return [{"name": entry.name, "description": entry.description} for entry in entries]

    def recommend(self, task: str, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Recommend losses for a task, the best first, each complete and with the reason.

        `facts` are what is known of the data, such as {"imbalance": 50, "outliers": true}; unknown
        names are refused with those that are known.
        """
        return to_dict(self._client.recommend(task, **dict(facts or {})))

    def list_data(self) -> list[dict[str, Any]]:
        """List the stored data sets, the newest first."""
        stored = islice(self._client.stored_datasets(), _MOST_LISTED)
        return [{"name": each.message.name, "num_samples": each.num_samples} for each in stored]

    def show_data(self, name: str) -> dict[str, Any]:
        """Describe a stored data set: columns with types, missing values, quantiles; warnings."""
        described = to_dict(self._client.stored_dataset(name).message)
        described.pop("pictures", None)
        return described

    def add_data(self, path: str, name: str = "") -> dict[str, Any]:
        """Upload a data file of this machine, such as CSV, Parquet, npz or a folder of images.

        Jobs read it by {"dataset": {"stored": {"name": NAME, "target": COLUMN}}}.
        """
        stored = self._client.upload(path, name=name or None)
        described = to_dict(stored.message)
        described.pop("pictures", None)
        return described

    def check(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Check the spec of a job or of a sweep and complete it, without running anything.

        A sweep has `base` and `space`. All violations are reported at once.
        """
        if _is_sweep(spec):
            return _sweep_data(self._client.sweep(spec, validate_only=True))
        return to_dict(self._client.submit(spec, validate_only=True).message)

    def submit(self, spec: dict[str, Any], request_id: str = "") -> dict[str, Any]:
        """Submit a job. `request_id` makes a repeated call return the same job.

        Only task, dataset, model and loss are required, such as {"task": "regression", "dataset":
        "diabetes", "model": "mlp", "loss": "huber"}.
        """
        if _is_sweep(spec):
            hint = "use the tool `sweep` for it"
            raise InvalidRequest(violations=[Violation("spec", "a sweep", "a job", hint)])
        return _job_data(self._client.submit(spec, request_id=request_id or None))

    def sweep(self, spec: dict[str, Any], request_id: str = "") -> dict[str, Any]:
        """Create a sweep: many settings of one job, each with seeds, and a sure answer.

        Such as {"base": {job}, "space": [{"path": "loss", "values": ["mse", "huber"]}, {"path":
        "optimizer.adamw.learning_rate", "log_uniform": {"low": 1e-4, "high": 1e-2}}], "compare":
        {"path": "loss", "baseline": "mse", "margin": "1%"}, "trials": 10}.
        """
        return _sweep_data(self._client.sweep(spec, request_id=request_id or None))

    def list_jobs(self, filter: str = "", limit: int = 20) -> list[dict[str, Any]]:
        """List jobs, the newest first, such as filter 'state = RUNNING AND experiment = "e"'."""
        jobs = self._client.jobs(filter=filter, limit=min(limit, _MOST_LISTED))
        return [_job_data(job) for job in jobs]

    def list_sweeps(self, limit: int = 20) -> list[dict[str, Any]]:
        """List sweeps, the newest first."""
        return [_sweep_data(each) for each in self._client.sweeps(limit=min(limit, _MOST_LISTED))]

    def show(self, name: Name) -> dict[str, Any]:
        """Show a job or a sweep: state, progress, result, warnings, and how it ended."""
        return _data(self._find(name))

    def wait(self, name: Name, seconds: float = 60) -> dict[str, Any]:
        """Wait until a job or a sweep has ended, for at most 300 seconds, and show it."""
        target = self._find(name)
        with suppress(WaitTimeout):
            target.wait(min(max(seconds, 0.0), _MOST_SECONDS))
        return _data(target.refresh())

    def metrics(self, job: Name, points: bool = False) -> dict[str, Any]:
        """Return the first, last and best value of each metric of a job; with points, all."""
        found = self._client.job(job).metrics(points=points)
        result: dict[str, Any] = {
            name: {"last": each.last, "best": each.best, "best_step": each.best_step}
            for name, each in found.summaries.items()
        }
        if points:
            return {name: {**each, "points": found.series(name)} for name, each in result.items()}
        return result

    def trials(self, sweep: Name, best: bool = True, limit: int = 20) -> list[dict[str, Any]]:
        """List the trials of a sweep, the best first, with their values and settings."""
        found = self._sweep(sweep).trials(best=best, limit=min(limit, _MOST_LISTED))
        return [_trial_data(trial) for trial in found]

    def answer(self, sweep: Name) -> dict[str, Any]:
        """Return what a sweep has shown: in words, the chosen settings, intervals and verdicts.

        A verdict is better, worse, equivalent within the margin, or not distinguishable. It is
        provisional until the sweep has ended: do not act on it before.
        """
        found = self._sweep(sweep).answer()
        data: dict[str, Any] = {
            "text": found.text,
            "is_provisional": found.is_provisional,
            "chosen": [_trial_data(trial) for trial in found.chosen],
            "remarks": list(found.remarks),
        }
        if found.comparison is not None:
            data["comparison"] = _comparison_data(found.comparison)
        return data

    def compare(
        self,
        filter: str = "",
        jobs: list[str] | None = None,
        metric: str = "",
        by: list[str] | None = None,
        baseline: str = "",
        margin: str = "",
    ) -> dict[str, Any]:
        """Compare jobs by a metric, grouped by paths of their specs, by default the loss.

        With a baseline each other group has a verdict, a difference with an interval and a p
        corrected for the number of groups.
        """
        found = self._client.compare(
            [self._client.job(job) for job in jobs or ()] or None,
            filter=filter,
            metric=metric,
            group_by=by or ("loss",),
            baseline=baseline,
            margin=margin or None,
        )
        return _comparison_data(found)

    def list_artifacts(self, job: Name, path: str = "") -> list[dict[str, Any]]:
        """List the files that a job has left: model, plots, predictions, logs."""
        return [
            {"path": each.path, "bytes": each.num_bytes}
            for each in self._client.job(job).artifacts(path)
        ]

    def read_artifact(self, job: Name, path: str) -> str:
        """Return the text of a file that a job has left, at most 100,000 characters of it."""
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            files = self._client.job(job).download(path, to=folder)
            content = Path(files[0]).read_bytes() if files else b""
        try:
            return content.decode("utf-8")[:_MOST_TEXT]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text: it has {len(content):,} bytes") from error

    def pause(self, name: Name, reason: str = "") -> dict[str, Any]:
        """Pause a job or a sweep until it is resumed; its workers are free meanwhile."""
        return _data(self._find(name).pause(reason))

    def resume(self, name: Name) -> dict[str, Any]:
        """Resume a paused job or sweep."""
        return _data(self._find(name).resume())

    def cancel(self, name: Name, reason: str = "") -> dict[str, Any]:
        """Cancel a job or a sweep. What it has reached stays in the record."""
        return _data(self._find(name).cancel(reason=reason))

    def _find(self, name: str) -> Job | Sweep:
        if name.startswith("sweeps/"):
            return self._client.get_sweep(name)
        try:
            return self._client.job(name)
        except NotFound:
            if name.startswith("jobs/"):
                raise
            return self._client.get_sweep(name)

    def _sweep(self, name: str) -> Sweep:
        return self._client.get_sweep(name)


def _is_sweep(spec: Mapping[str, Any]) -> bool:
    return "base" in spec and "space" in spec


def _data(target: Job | Sweep) -> dict[str, Any]:
    return _job_data(target) if isinstance(target, Job) else _sweep_data(target)


def _job_data(job: Job) -> dict[str, Any]:
    data = to_dict(job.message)
    data.pop("checkpoints", None)
    return data


def _sweep_data(sweep: Sweep) -> dict[str, Any]:
    return to_dict(sweep.message)


def _trial_data(trial: Trial) -> dict[str, Any]:
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


def _comparison_data(comparison: Any) -> dict[str, Any]:
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
