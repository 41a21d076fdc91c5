"""The same cases over a server in this process and over one of its own."""

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import (
    AlreadyExists,
    BatchError,
    Client,
    Comparison,
    FailedPrecondition,
    Goal,
    InvalidRequest,
    InvalidSpec,
    Job,
    JobFailed,
    JobState,
    NotFound,
    WaitTimeout,
)
from talweg.server.services import jobs as jobs_service
from talweg.spec import check, fill, from_dict
from talweg.v1 import jobs_pb2, options_pb2


def test_submitted_job_is_complete_and_can_be_found(client: Client) -> None:
    job = client.submit(sample(3, loss={"huber": {}}))
    assert job.name == f"jobs/{job.id}"
    assert job.state == "QUEUED"
    assert not job.state.is_final
    assert job.outcome is None
    assert job.spec.loss.huber.delta == 1
    assert job.spec.training.seed == 3
    assert not check(job.spec)[0]
    for name in (job.name, job.id):
        found = client.job(name)
        assert found.spec == job.spec
        assert found.message.create_time == job.message.create_time
    assert job.name in repr(job)


def test_spec_is_a_copy(client: Client) -> None:
    job = client.submit(sample())
    job.spec.training.seed = 99
    assert job.spec.training.seed == 0


def test_submitted_spec_submits_again_as_it_is(client: Client) -> None:
    first = client.submit(sample(1, loss={"huber": {"delta": 2}}))
    second = client.submit(first.spec)
    assert second.name != first.name
    assert second.spec == first.spec


def test_job_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(sample(5)))
    assert client.submit(path).spec.training.seed == 5


def test_request_id_gives_the_same_job_and_refuses_another(client: Client) -> None:
    key = client.submit(sample()).id
    first = client.submit(sample(1), request_id=f"mine-{key}")
    assert client.submit(sample(1), request_id=f"mine-{key}").name == first.name
    with pytest.raises(AlreadyExists) as raised:
        client.submit(sample(2), request_id=f"mine-{key}")
    assert raised.value.reason == "REQUEST_ID_REUSED"
    assert client.submit(sample(1)).name != first.name


def test_invalid_spec_lists_all_violations(client: Client) -> None:
    before = sum(1 for _ in client.jobs())
    spec = sample(loss={"huber": {"delta": -1}}, optimizer={"sgd": {"learning_rate": 0}})
    for validate_only in (False, True):
        with pytest.raises(InvalidSpec) as raised:
            client.submit(spec, validate_only=validate_only)
        by_field = {violation.field: violation for violation in raised.value.violations}
        assert set(by_field) == {"loss.huber.delta", "optimizer.sgd.learning_rate"}
        assert by_field["loss.huber.delta"].found == "-1"
        assert "> 0" in by_field["loss.huber.delta"].allowed
    assert sum(1 for _ in client.jobs()) == before


def test_violations_are_the_same_from_here_and_from_there(client: Client) -> None:
    spec = from_dict(sample(loss="cross_entropy", training={"batch_size": 0}))
    with pytest.raises(InvalidSpec) as raised:
        client.submit(spec)
    assert list(raised.value.violations) == check(fill(spec))[0]


def test_validate_only_changes_nothing(client: Client) -> None:
    before = sum(1 for _ in client.jobs())
    job = client.submit(sample(), validate_only=True)
    assert job.name == ""
    assert job.id == ""
    assert job.spec.training.batch_size == 32
    assert "validated" in repr(job)
    with pytest.raises(ValueError, match="only validated"):
        job.refresh()
    assert sum(1 for _ in client.jobs()) == before


def test_warnings_come_with_the_job(client: Client) -> None:
    job = client.submit(sample(loss={"mse": {"reduction": "sum"}}))
    (warning,) = job.warnings
    assert warning.kind == jobs_pb2.Warning.REDUCTION_SUM
    assert warning.field == "loss.mse.reduction"


def test_many_keep_their_order(client: Client) -> None:
    specs = [sample(seed) for seed in range(30)]
    jobs = client.submit_many(specs)
    assert [job.spec.training.seed for job in jobs] == list(range(30))
    assert len({job.name for job in jobs}) == 30


def test_many_from_a_batch_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "batch.yaml"
    path.write_text(yaml.safe_dump({"base": sample(), "jobs": [{}, {"loss": "mae"}]}))
    first, second = client.submit_many(path)
    assert first.spec.loss.HasField("mse")
    assert second.spec.loss.HasField("mae")


def test_refused_one_stops_no_other(client: Client) -> None:
    specs = [
        sample(0),
        sample(loss={"huber": {"delta": -1}}),  # the server refuses it
        sample(los="mse"),  # it cannot even be read
        sample(1),
    ]
    with pytest.raises(BatchError) as raised:
        client.submit_many(specs)
    assert [index for index, _ in raised.value.failures] == [1, 2]
    assert all(isinstance(error, InvalidSpec) for _, error in raised.value.failures)
    accepted = [result for result in raised.value.results if isinstance(result, Job)]
    assert [client.job(job.name).spec.training.seed for job in accepted] == [0, 1]
    results = client.submit_many(specs, return_errors=True)
    assert [type(result) for result in results] == [Job, InvalidSpec, InvalidSpec, Job]


def test_one_spec_is_not_many(client: Client) -> None:
    with pytest.raises(TypeError, match="use submit"):
        client.submit_many(sample())


def test_no_specs_no_jobs(client: Client) -> None:
    assert client.submit_many([]) == []


def test_list_goes_over_pages(client: Client) -> None:
    names = {job.name for job in client.submit_many([sample(seed) for seed in range(250)])}
    listed = [job.name for job in client.jobs(filter="state = QUEUED")]
    assert len(listed) == len(set(listed))
    assert names <= set(listed)
    for limit in (0, 1, 7, 200, 201):
        assert [job.name for job in client.jobs(limit=limit)] == listed[:limit]


def test_list_by_filter(client: Client) -> None:
    client.submit_many([sample(), sample(loss="mae", experiment="by filter"), sample(loss="mae")])
    found = list(client.jobs(filter='experiment = "by filter" AND loss = "mae"'))
    assert {job.spec.experiment for job in found} == {"by filter"}
    with pytest.raises(InvalidRequest):
        next(client.jobs(filter="nonsense ~ 5"))


def test_missing_job(client: Client) -> None:
    for name in ("jobs/none", "none"):
        with pytest.raises(NotFound) as raised:
            client.job(name)
        assert raised.value.reason == "JOB_NOT_FOUND"
    with pytest.raises(ValueError, match="job's id"):
        client.job("no such / name")


def test_result_of_a_success(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    attempt.report(step=5, metrics={"val/mae": 60.0})
    attempt.finish(metrics={"val/mae": 50.0, "test/mae": 51.5})
    result = job.result(timeout=timedelta(seconds=20))
    assert result.state is JobState.SUCCEEDED
    assert result.metrics == {"val/mae": 50.0, "test/mae": 51.5}
    assert result.best["test/mae"] == 51.5
    assert result.divergence is None
    assert result.tracking_url is None
    assert job.state is JobState.SUCCEEDED
    assert job.state.is_final
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.state = JobState.FAILED  # type: ignore[misc]
    attempt.deliver("http://127.0.0.1:5000/#/experiments/1/runs/r1", "r1")
    assert job.refresh().result().tracking_url == "http://127.0.0.1:5000/#/experiments/1/runs/r1"


def test_result_of_a_failure_carries_the_outcome(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    seen = jobs_pb2.Divergence(step=7, what="loss", value="nan", losses=[1.0, 2.0])
    worker.claim(job.name).finish(
        jobs_pb2.Job.DIVERGED,
        message="the loss was nan at step 7",
        cause=jobs_pb2.Outcome.NOT_FINITE,
        divergence=seen,
        metrics={"train/loss": 2.0},
    )
    with pytest.raises(JobFailed, match="DIVERGED: the loss was nan at step 7") as raised:
        job.result(20)
    assert raised.value.outcome.cause == jobs_pb2.Outcome.NOT_FINITE
    assert raised.value.result.divergence == seen
    assert raised.value.result.metrics == {"train/loss": 2.0}


def test_metrics_by_prefix_and_as_points(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    attempt.report(step=2, metrics={"val/mae": 60.0, "train/loss": 1.0})
    attempt.finish(metrics={"val/mae": 50.0})
    job.wait(120)
    assert set(job.metrics().summaries) == {"val/mae", "train/loss"}
    found = job.metrics(["val/"], points=True)
    assert set(found.summaries) == {"val/mae"}
    assert found.summaries["val/mae"].last == 50
    assert dict(found.series("val/mae"))[2] == 60
    assert not job.metrics(["val/"]).points
    # One name is no list of its letters.
    assert set(job.metrics("val/mae").summaries) == {"val/mae"}
    assert client.compare(job.id, metric="val/mae", group_by="loss").groups[0].count == 1


def test_points_of_all_pages(faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_service, "MAX_POINTS", 2)
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        job = client.submit(sample())
        attempt = worker.claim(job.name)
        for step in range(1, 6):
            attempt.report(step=step, metrics={"lr": float(step)})
        found = job.metrics(points=True)
        assert found.series("lr") == [(step, float(step)) for step in range(1, 6)]
        assert set(found.summaries) == {"lr"}
        assert faulty.calls.count("GetJobMetrics") > 2


def test_wait_ends_in_time_and_the_job_goes_on(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    with pytest.raises(WaitTimeout, match=rf"{job.name} is still RUNNING after 0.2 s"):
        job.wait(0.2)
    with pytest.raises(TimeoutError):
        job.wait(timedelta(0))
    attempt.finish()
    assert job.wait(timedelta(seconds=20)).state == "SUCCEEDED"
    assert job.wait(0).state == "SUCCEEDED"


def test_cancel(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    job.cancel("not needed", grace=timedelta(seconds=5))
    assert job.wait(120).state == "CANCELLED"
    assert job.outcome is not None
    assert job.outcome.cause == jobs_pb2.Outcome.CANCEL_REQUEST
    running = client.submit(sample())
    attempt = worker.claim(running.name)
    assert running.cancel(grace=5).message.cancel_requested
    attempt.finish()
    with pytest.raises(FailedPrecondition) as raised:
        running.wait(120).cancel()
    assert raised.value.reason == "JOB_ENDED"


def test_retry(client: Client, worker: Worker) -> None:
    job = client.submit(sample(8))
    with pytest.raises(FailedPrecondition) as raised:
        job.retry()
    assert raised.value.reason == "JOB_NOT_ENDED"
    worker.claim(job.name).finish(jobs_pb2.Job.FAILED, message="no")
    again = job.wait(120).retry(request_id=f"again-{job.id}")
    assert again.name != job.name
    assert again.message.retry_of == job.name
    assert again.spec.training.seed == 8
    assert job.retry(request_id=f"again-{job.id}").name == again.name


def test_compare(client: Client, worker: Worker) -> None:
    values = {("mse", 0): 80.0, ("mse", 1): 90.0, ("mae", 0): 50.0, ("mae", 1): 52.0}
    jobs = client.submit_many(
        [sample(seed, loss=loss, experiment="compared") for loss, seed in values]
        + [sample(0, loss="huber", experiment="compared")]
    )
    for value in values.values():
        worker.claim().finish(metrics={"test/mae": value})
    for comparison in (
        client.compare(jobs),
        client.compare(filter='experiment = "compared"', metric="test/mae"),
        client.compare([job.id for job in jobs], group_by=["loss"]),
    ):
        assert comparison.metric == "test/mae"
        assert comparison.goal is Goal.MINIMIZE
        assert [group.labels for group in comparison.groups] == [("mae",), ("mse",), ("huber",)]
        best, worse, none = comparison.groups
        assert (best.mean, best.count, best.succeeded, best.total) == (51, 2, 2, 2)
        assert best.sd == pytest.approx(2**0.5)
        assert {row.seed: row.value for row in worse.rows} == {0: 80, 1: 90}
        assert (worse.min, worse.max) == (80, 90)
        assert (none.mean, none.sd, none.count, none.total) == (None, None, 0, 1)
        lines = str(comparison).splitlines()
        assert "test/mae (lower is better), by loss" in lines[0]
        assert lines[2].split()[:5] == ["mae", "51.00", "±", "1.41", "51.00"]


def test_a_comparison_says_where_its_groups_hold_more_than_seeds() -> None:
    Group = jobs_pb2.CompareJobsResponse.Group
    even = Group(labels=["mse"], count=2, total=2, mean=2.0, sd=1.0)
    assert Comparison.of(jobs_pb2.CompareJobsResponse(groups=[even]), ["loss"]).notes == ()
    mixed = Group(labels=["mae"], count=3, total=3, mean=1.0, sd=0.5, repeats=1)
    mixed.varies.extend(["dataset", "training.epochs"])
    found = Comparison.of(jobs_pb2.CompareJobsResponse(groups=[mixed, even]), ["loss"])
    differing, repeated = found.notes
    assert "jobs of one group differ in dataset, training.epochs; group by it too" in differing
    assert repeated.startswith("1 of the values")
    assert str(found).splitlines()[-2:] == [differing, repeated]
    unequal = jobs_pb2.CompareJobsResponse(groups=[even], unequal=["task", "dataset"])
    assert "differ in task and dataset too" in Comparison.of(unequal, ["loss"]).notes[0]
    unequal.groups.append(mixed)
    within, _, between = Comparison.of(unequal, ["loss"]).notes
    assert within == differing
    assert "the groups differ in task too" in between


@pytest.mark.parametrize("goal", [options_pb2.MINIMIZE, options_pb2.MAXIMIZE])
def test_a_comparison_says_where_scikit_learn_wins(goal: options_pb2.Goal.ValueType) -> None:
    Response = jobs_pb2.CompareJobsResponse
    group = Response.Group(labels=["mse"], count=1, total=1, mean=3.0)
    low = Response.Reference(name="linear", mean=2.0, count=1)
    high = Response.Reference(name="trivial", mean=9.0, count=1)
    response = Response(metric="test/mae", goal=goal, groups=[group], references=[low, high])
    listed, *wins = Comparison.of(response, ["loss"]).notes
    assert "linear model (scikit-learn) 2.0000, trivial predictor 9.0000" in listed
    is_low = goal == options_pb2.MINIMIZE
    assert [text.partition(" is better")[0] for text in wins] == (
        ["linear model (scikit-learn)"] if is_low else []
    )


def test_a_comparison_says_what_stands_apart() -> None:
    Response = jobs_pb2.CompareJobsResponse
    group = Response.Group(labels=["mse"], count=2, total=4, mean=3.0, median=2.5, iqr=0.5)
    group.rows.add(
        job="jobs/a", state=jobs_pb2.Job.SUCCEEDED, value=2.0, best_weights=True, step=7
    )
    group.rows.add(job="jobs/b", state=jobs_pb2.Job.SUCCEEDED, value=4e9).marks.extend(
        [Response.WORSE_THAN_TRIVIAL, Response.OUTLIER]
    )
    for state, count in ((jobs_pb2.Job.SUCCEEDED, 2), (jobs_pb2.Job.DIVERGED, 2)):
        group.states.add(state=state, count=count)
    found = Comparison.of(Response(metric="val/mae", groups=[group]), ["loss"])
    assert found.groups[0].states == {JobState.SUCCEEDED: 2, JobState.DIVERGED: 2}
    one, two = found.groups[0].rows
    assert (one.best_weights, one.step, one.outlier) == (True, 7, False)
    assert (two.worse_than_trivial, two.outlier) == (True, True)
    assert found.table()[1][2] == "2.5000 (0.5000)"
    apart, kept, worse, outlying = found.notes
    assert "left out: 2 DIVERGED" in apart
    assert "val/mae is that of the weights kept: for 1 of 2 jobs" in kept
    assert worse == "far worse than the trivial predictor: jobs/b"
    assert outlying.endswith("jobs/b")


def test_compare_needs_jobs(client: Client) -> None:
    with pytest.raises(ValueError, match="either jobs or a filter"):
        client.compare()
    with pytest.raises(ValueError, match="timeout must be above 0"):
        Client(client.address, timeout=-1)
    with pytest.raises(ValueError, match="at least 1 job"):
        client.compare([])


def test_catalogue(client: Client) -> None:
    losses = {entry.name: entry for entry in client.losses()}
    assert {"mse", "huber", "cross_entropy", "sum"} <= set(losses)
    assert [parameter.name for parameter in losses["huber"].parameters] == ["delta", "reduction"]
    assert "cross_entropy" not in {entry.name for entry in client.losses("regression")}
    assert {"regression", "ordinal"} <= {entry.name for entry in client.tasks()}
    assert {"linear", "mlp", "convnet", "sequential"} <= {e.name for e in client.models()}
    assert {"diabetes", "digits"} <= {entry.name for entry in client.datasets()}
    assert "adamw" in {entry.name for entry in client.optimizers()}


def test_closed_client_says_so(client: Client) -> None:
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.submit(sample())
