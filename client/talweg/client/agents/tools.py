"""What the tools of agents do: calls of the client that return plain data. None deletes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from talweg.client._client import Client
from talweg.client._errors import InvalidRequest, NotFound, TalwegError, WaitTimeout
from talweg.client._files import to_spec
from talweg.client._jobs import Job
from talweg.client.agents import plain
from talweg.client.agents.errors import as_data
from talweg.client.agents.local_files import path_within, refuse_file
from talweg.client.catalogue._facts import to_facts
from talweg.client.sweeps._files import to_sweep
from talweg.client.sweeps._sweeps import Sweep
from talweg.spec import Violation, to_dict
from talweg.spec.spelling import nearest
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import SweepSpec

Kind = Literal["losses", "tasks", "models", "datasets", "optimizers"]
Name = Annotated[str, "jobs/ID or sweeps/ID, or the id alone"]

_MOST_SECONDS = 300
_MOST_LISTED = 200
_MOST_SEEDS = 200
_MOST_TEXT = 100_000
_MOST_BYTES = 10 * 2**20


class Tools:
    """The tools, over one client."""

    def __init__(self, client: Client, folder: Path) -> None:
        """Keep the client.

        Args:
            client: Asks the server.
            folder: Files may be uploaded from it.
        """
        self._client = client
        self._folder = folder

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
            self.list_sessions,
            self.session,
            self.list_artifacts,
            self.read_artifact,
        )

    @property
    def changing(self) -> Sequence[Callable[..., Any]]:
        """Those that train, upload, or stop."""
        return (
            self.add_data,
            self.submit,
            self.sweep,
            self.propose,
            self.close_session,
            self.pause,
            self.resume,
            self.cancel,
        )

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

        `facts` are what is known of the data, such as {"imbalance": 50, "outliers": 0.05}; unknown
        names are refused with those that are known.
        """
        return to_dict(self._client.recommend(task, to_facts(None, facts or {})))

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

        It must lie in the folder that the user shares; a relative path is relative to that. Jobs
        read it by {"dataset": {"stored": {"name": NAME, "target": COLUMN}}}.
        """
        stored = self._client.upload(path_within(self._folder, path), name=name or None)
        described = to_dict(stored.message)
        described.pop("pictures", None)
        return described

    def check(self, spec: dict[str, Any], edits: str = "") -> dict[str, Any]:
        """Check the spec of a job or of a sweep and complete it, without running anything.

        A sweep has `base` and `space`. All violations are reported at once. `edits` is sweeps/ID
        of an earlier version of a sweep: the result tells which settings are new, kept, to be run
        again, and removed.
        """
        if _is_sweep(spec):
            checked = self._client.sweep(_sweep_of(spec), validate_only=True, edits=edits)
            return plain.of_sweep(checked)
        return to_dict(self._client.submit(_job_of(spec), validate_only=True).message)

    def submit(
        self, spec: dict[str, Any], request_id: str = "", session: str = ""
    ) -> dict[str, Any]:
        """Submit a job. `request_id` makes a repeated call return the same job.

        With a `session` the test data are left alone until it is closed; see `propose`.

        Only task, dataset, model and loss are required, such as {"task": "regression", "dataset":
        "diabetes", "model": "mlp", "loss": "huber"}.
        """
        job = _job_of(spec)
        if session:
            job.session = session
        return plain.of_job(self._client.submit(job, request_id=request_id or None))

    def sweep(
        self, spec: dict[str, Any], request_id: str = "", session: str = ""
    ) -> dict[str, Any]:
        """Create a sweep: many settings of one job, each with seeds, and a sure answer.

        Such as {"base": {job}, "space": [{"path": "loss", "values": ["mse", "huber"]}, {"path":
        "optimizer.adamw.learning_rate", "log_uniform": {"low": 1e-4, "high": 1e-2}}], "compare":
        {"path": "loss", "baseline": "mse", "margin": "1%"}, "trials": 10}. With a `session` each
        compared value takes a share of its error budget.
        """
        sweep = _sweep_of(spec)
        if session:
            sweep.session = session
        return plain.of_sweep(self._client.sweep(sweep, request_id=request_id or None))

    def propose(self, spec: dict[str, Any], session: str, seeds: int = 12) -> dict[str, Any]:
        """Submit a setting to a session, as a job for each of so many seeds from training.seed on.

        The first setting is what the next one is compared with, over shared seeds; then what was
        kept. The tool `session` tells how many pairs of seeds it takes, and what was decided. If
        some of the jobs are refused, `errors` says why.
        """
        if not 1 <= seeds <= _MOST_SEEDS:
            allowed = f"1 to {_MOST_SEEDS}"
            raise InvalidRequest(violations=[Violation("seeds", str(seeds), allowed)])
        job = _job_of(spec)
        job.session = session
        specs = []
        for seed in range(seeds):
            each = JobSpec()
            each.CopyFrom(job)
            each.training.seed += seed
            specs.append(each)
        results = self._client.submit_many(specs, return_errors=True)
        names = [each.name for each in results if isinstance(each, Job)]
        errors = [each for each in results if isinstance(each, TalwegError)]
        if not names:
            # They differ in their seeds alone.
            raise errors[0]
        refused = {"errors": [as_data(each) for each in errors]} if errors else {}
        return {"jobs": names, **refused}

    def list_sessions(self, limit: int = 20) -> list[dict[str, Any]]:
        """List sessions, the newest first, with what is left of their error budgets."""
        listed = self._client.sessions(limit=min(limit, _MOST_LISTED))
        return [to_dict(each.message) for each in listed]

    def session(self, name: str) -> dict[str, Any]:
        """Show a session: each answer is keep, discard or not distinguishable, with the reason.

        Also what of the error budget is spent and left, how many pairs of seeds the next answer
        takes, and after closing the test results. Asking spends nothing: each proposal has had its
        share since it was submitted.
        """
        return to_dict(self._client.session(name).message)

    def close_session(self, name: str, seconds: float = 60) -> dict[str, Any]:
        """Close a session: it takes nothing more, and workers test its kept weights.

        Waits for the tests for at most 300 seconds. It cannot be opened again: close it when you
        have decided what to keep. Nothing is deleted.
        """
        found = self._client.session(name).close()
        with suppress(WaitTimeout):
            found.wait(min(max(seconds, 0.0), _MOST_SECONDS))
        return to_dict(found.message)

    def list_jobs(self, filter: str = "", limit: int = 20) -> list[dict[str, Any]]:
        """List jobs, the newest first, such as filter 'state = RUNNING AND experiment = "e"'."""
        jobs = self._client.jobs(filter=filter, limit=min(limit, _MOST_LISTED))
        return [plain.of_job(job) for job in jobs]

    def list_sweeps(self, limit: int = 20) -> list[dict[str, Any]]:
        """List sweeps, the newest first."""
        return [
            plain.of_sweep(each) for each in self._client.sweeps(limit=min(limit, _MOST_LISTED))
        ]

    def show(self, name: Name) -> dict[str, Any]:
        """Show a job or a sweep: state, progress, result, warnings, and how it ended."""
        return plain.of_target(self._find(name))

    def wait(self, name: Name, seconds: float = 60) -> dict[str, Any]:
        """Wait until a job or a sweep has ended, for at most 300 seconds, and show it."""
        target = self._find(name)
        with suppress(WaitTimeout):
            target.wait(min(max(seconds, 0.0), _MOST_SECONDS))
        return plain.of_target(target.refresh())

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
        return [plain.of_trial(trial) for trial in found]

    def answer(self, sweep: Name) -> dict[str, Any]:
        """Return what a sweep has shown: in words, the chosen settings, intervals and verdicts.

        A verdict is better, worse, equivalent within the margin, or not distinguishable. It is
        provisional until the sweep has ended: do not act on it before.
        """
        found = self._sweep(sweep).answer()
        data: dict[str, Any] = {
            "text": found.text,
            "is_provisional": found.is_provisional,
            "chosen": [plain.of_trial(trial) for trial in found.chosen],
            "remarks": list(found.remarks),
        }
        if found.comparison is not None:
            data["comparison"] = plain.of_comparison(found.comparison)
        if found.session_answers:
            data["session_answers"] = [asdict(each) for each in found.session_answers]
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
            jobs or None,
            filter=filter,
            metric=metric,
            group_by=by or ("loss",),
            baseline=baseline,
            margin=margin or None,
        )
        return plain.of_comparison(found)

    def list_artifacts(self, job: Name, path: str = "") -> list[dict[str, Any]]:
        """List the files that a job has left: model, plots, predictions, logs."""
        return [
            {"path": each.path, "bytes": each.num_bytes}
            for each in self._client.job(job).artifacts(path)
        ]

    def read_artifact(self, job: Name, path: str) -> str:
        """Return the text of a file that a job has left, as `list_artifacts` names it.

        Of a long one the first 100,000 characters; the last line then says so.
        """
        found = self._client.job(job)
        for each in found.artifacts(path):
            if each.path != path:
                raise ValueError(f"{path!r} is a folder: name a file, such as {each.path!r}")
            if each.num_bytes > _MOST_BYTES:
                raise ValueError(f"{path} has {each.num_bytes:,} bytes, more than {_MOST_BYTES:,}")
        with TemporaryDirectory() as folder:
            # Plots may still be drawn; the server says why a file is not there.
            [file] = found.download(path, to=folder)
            content = file.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text: it has {len(content):,} bytes") from error
        if len(text) <= _MOST_TEXT:
            return text
        return f"{text[:_MOST_TEXT]}\n[cut: the first {_MOST_TEXT:,} of {len(text):,} characters]"

    def pause(self, name: Name, reason: str = "") -> dict[str, Any]:
        """Pause a job or a sweep until it is resumed; its workers are free meanwhile."""
        return plain.of_target(self._find(name).pause(reason))

    def resume(self, name: Name) -> dict[str, Any]:
        """Resume a paused job or sweep."""
        return plain.of_target(self._find(name).resume())

    def cancel(self, name: Name, reason: str = "") -> dict[str, Any]:
        """Cancel a job or a sweep. What it has reached stays in the record."""
        return plain.of_target(self._find(name).cancel(reason=reason))

    def _find(self, name: str) -> Job | Sweep:
        if name.startswith("sweeps/"):
            return self._client.get_sweep(name)
        try:
            return self._client.job(name)
        except NotFound:
            if name.startswith("jobs/"):
                raise
        try:
            return self._client.get_sweep(name)
        except NotFound as error:
            raise NotFound(
                f"there is no job and no sweep {name!r}", reason=error.reason
            ) from error

    def _sweep(self, name: str) -> Sweep:
        return self._client.get_sweep(name)


def _is_sweep(spec: Mapping[str, Any]) -> bool:
    return "base" in spec and "space" in spec


def _job_of(spec: Mapping[str, Any]) -> JobSpec:
    if _is_sweep(spec):
        hint = "use the tool `sweep` for it"
        raise InvalidRequest(violations=[Violation("spec", "a sweep", "a job", hint)])
    job = to_spec(spec)
    refuse_file(job, "dataset")
    return job


def _sweep_of(spec: Mapping[str, Any]) -> SweepSpec:
    sweep = to_sweep(spec)
    refuse_file(sweep.base, "base.dataset")
    return sweep
