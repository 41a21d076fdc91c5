"""Projects: another one's names are those of nothing, wherever they stand."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.server.identity.teams import CSV, Metadata, Teams, refusal
from tests.server.samples import SUCCEEDED, spec
from tests.server.stored_datasets.parts import header, job

from talweg.server.identity.methods import METHODS
from talweg.server.services.plugins import told
from talweg.spec import from_dict
from talweg.v1 import (
    artifacts_pb2,
    identity_pb2,
    jobs_pb2,
    plugins_pb2,
    predictions_pb2,
    stored_datasets_pb2,
    sweeps_pb2,
    workers_pb2,
)

SWEEP = {
    "base": {"task": "regression", "dataset": "diabetes", "model": "linear", "loss": "mse"},
    "space": [{"path": "optimizer.adamw.learning_rate", "values": [0.1, 0.01]}],
    "algorithm": {"grid": {}},
    "objective": {"metric": "val/mae"},
}


@pytest.fixture
async def ann(teams: Teams) -> Metadata:
    return await teams.token(identity_pb2.Role.SUBMITTER, "a")


@pytest.fixture
async def bob(teams: Teams) -> Metadata:
    return await teams.token(identity_pb2.Role.SUBMITTER, "b")


async def first_of(stream: Any) -> Any:
    async for response in stream:
        return response


def named(name: str) -> dict[str, Any]:
    """A request for each method that takes the name of a job, a sweep or a data set."""
    table = predictions_pb2.PredictRequest(job=name).table
    table.content = CSV
    if name.startswith("jobs/"):
        return {
            "talweg.v1.JobService/GetJob": jobs_pb2.GetJobRequest(name=name),
            "talweg.v1.JobService/WatchJob": jobs_pb2.WatchJobRequest(name=name),
            "talweg.v1.JobService/GetJobMetrics": jobs_pb2.GetJobMetricsRequest(name=name),
            "talweg.v1.JobService/GetJobLogs": jobs_pb2.GetJobLogsRequest(name=name),
            "talweg.v1.JobService/CompareJobs": jobs_pb2.CompareJobsRequest(names=[name]),
            "talweg.v1.JobService/CancelJob": jobs_pb2.CancelJobRequest(name=name),
            "talweg.v1.JobService/PauseJob": jobs_pb2.PauseJobRequest(name=name),
            "talweg.v1.JobService/ResumeJob": jobs_pb2.ResumeJobRequest(name=name),
            "talweg.v1.JobService/RetryJob": jobs_pb2.RetryJobRequest(name=name),
            "talweg.v1.JobService/DeleteJob": jobs_pb2.DeleteJobRequest(name=name),
            "talweg.v1.ArtifactService/ListArtifacts": artifacts_pb2.ListArtifactsRequest(
                job=name
            ),
            "talweg.v1.ArtifactService/DownloadArtifact": (
                artifacts_pb2.DownloadArtifactRequest(job=name, path="model/weights.safetensors")
            ),
            "talweg.v1.PredictionService/Predict": (
                predictions_pb2.PredictRequest(job=name, table=table)
            ),
        }
    if name.startswith("sweeps/"):
        return {
            "talweg.v1.SweepService/GetSweep": sweeps_pb2.GetSweepRequest(name=name),
            "talweg.v1.SweepService/ListTrials": sweeps_pb2.ListTrialsRequest(sweep=name),
            "talweg.v1.SweepService/WatchSweep": sweeps_pb2.WatchSweepRequest(name=name),
            "talweg.v1.SweepService/UpdateSweep": sweeps_pb2.UpdateSweepRequest(
                name=name, trials=9
            ),
            "talweg.v1.SweepService/PauseSweep": sweeps_pb2.PauseSweepRequest(name=name),
            "talweg.v1.SweepService/ResumeSweep": sweeps_pb2.ResumeSweepRequest(name=name),
            "talweg.v1.SweepService/CancelSweep": sweeps_pb2.CancelSweepRequest(name=name),
            "talweg.v1.SweepService/RetryTrials": (
                sweeps_pb2.RetryTrialsRequest(name=name, states=[sweeps_pb2.Trial.FAILED])
            ),
            "talweg.v1.SweepService/AnswerSweep": sweeps_pb2.AnswerSweepRequest(name=name),
        }
    return {
        "talweg.v1.StoredDatasetService/GetStoredDataset": (
            stored_datasets_pb2.GetStoredDatasetRequest(name=name)
        ),
        "talweg.v1.StoredDatasetService/DeleteStoredDataset": (
            stored_datasets_pb2.DeleteStoredDatasetRequest(name=name)
        ),
    }


async def ask(teams: Teams, method: str, request: Any, metadata: Metadata) -> tuple[str, str]:
    channel: Any = teams.running.channel
    data = request.SerializeToString()
    if method.rpartition("/")[2] in ("WatchJob", "WatchSweep", "DownloadArtifact"):
        call = channel.unary_stream(f"/{method}")(data, metadata=metadata)
        return await refusal(first_of(call))
    return await refusal(channel.unary_unary(f"/{method}")(data, metadata=metadata))


async def test_names_of_another_project_are_those_of_nothing(
    teams: Teams, ann: Metadata, bob: Metadata
) -> None:
    names = [await teams.submit(ann), await teams.upload(ann)]
    request = sweeps_pb2.CreateSweepRequest(spec=from_dict(SWEEP, sweeps_pb2.SweepSpec))
    names.append((await teams.sweeps.CreateSweep(request, metadata=ann)).sweep.name)
    missing = ["jobs/none12345678", "datasets/gone", "sweeps/none12345678"]
    for name, other in zip(names, missing, strict=True):
        for (method, asked), unknown in zip(
            named(name).items(), named(other).values(), strict=True
        ):
            assert f"/{method}" in METHODS
            code, said = await ask(teams, method, asked, bob)
            # Word for word what is said of a name that nobody has.
            expected_code, expected = await ask(teams, method, unknown, bob)
            assert code == expected_code, (method, said)
            bare, of = name.partition("/")[2].partition("@")[0], other.partition("/")[2]
            assert said.replace(name, other).replace(bare, of) == expected, method
            assert code == "NOT_FOUND" or method.endswith("CompareJobs"), (method, said)


async def test_lists_and_counts_are_of_the_project(
    teams: Teams, ann: Metadata, bob: Metadata
) -> None:
    name, data = await teams.submit(ann), await teams.upload(ann)

    async def seen(metadata: Metadata) -> tuple[list[str], list[str]]:
        jobs = await teams.running.jobs.ListJobs(jobs_pb2.ListJobsRequest(), metadata=metadata)
        sets = await teams.running.data.ListStoredDatasets(
            stored_datasets_pb2.ListStoredDatasetsRequest(), metadata=metadata
        )
        return [each.name for each in jobs.jobs], [each.name for each in sets.datasets]

    assert await seen(ann) == ([name], [data])
    assert await seen(bob) == ([], [])
    # Nor does an admin of all see them in another project than the one that the call acts in.
    assert await seen(teams.admin) == ([], [])
    assert await seen((*teams.admin, ("talweg-project", "a"))) == ([name], [data])


async def test_a_spec_cannot_refer_to_what_another_project_has(
    teams: Teams, ann: Metadata, bob: Metadata
) -> None:
    name = await teams.submit(ann)
    await teams.upload(ann)
    nothing = "jobs/none12345678"
    referring: list[Callable[[str], Any]] = [
        lambda job: spec(continued_from={"job": job}),
        lambda job: spec(weights={"job": job}),
        lambda job: spec(training={"steps": 5}, replay={"job": job, "step": 1}),
    ]
    for made in referring:
        code, said = await refusal(teams.submit(bob, spec=made(name)))
        assert code == "INVALID_ARGUMENT"
        # As of a job that nobody has.
        unknown = await refusal(teams.submit(bob, spec=made(nothing)))
        assert said.replace(name, nothing) == unknown[1]
    code, said = await refusal(teams.submit(bob, spec=job()))
    assert (code, "upload the data first" in said) == ("INVALID_ARGUMENT", True), said
    assert await teams.submit(ann, spec=job())


async def test_request_ids_and_uploads_do_not_meet(
    teams: Teams, ann: Metadata, bob: Metadata
) -> None:
    one = await teams.submit(ann, request_id="again")
    other = await teams.submit(bob, request_id="again", spec=spec(display_name="another"))
    assert one != other
    assert await teams.submit(ann, request_id="again") == one
    await teams.upload(ann)
    head = header(CSV)
    asked = stored_datasets_pb2.GetUploadRequest(
        sha256=head.sha256, num_bytes=head.num_bytes, file_name=head.file_name
    )
    uploaded = [
        (await teams.running.data.GetUpload(asked, metadata=each)).offset for each in (ann, bob)
    ]
    # Whoever has the bytes of another project learns nothing of them.
    assert uploaded == [len(CSV), 0]
    assert await teams.upload(bob) == await teams.upload(ann)


async def test_a_worker_serves_what_its_token_is_for(
    teams: Teams, ann: Metadata, bob: Metadata
) -> None:
    of_ann, of_bob = await teams.submit(ann), await teams.submit(bob)
    one = await teams.token(identity_pb2.Role.WORKER, "b", queues=["default"])
    other = await teams.token(identity_pb2.Role.WORKER, "*")
    claim = workers_pb2.ClaimJobsRequest(queue="default", worker="w", limit=8)
    claimed = await teams.running.workers.ClaimJobs(claim, metadata=one)
    assert [each.lease.job for each in claimed.assignments] == [of_bob]
    rest = await teams.running.workers.ClaimJobs(claim, metadata=other)
    assert [each.lease.job for each in rest.assignments] == [of_ann]
    # By it, MLflow's experiments are named.
    assert [each.assignments[0].project for each in (claimed, rest)] == ["b", "a"]
    claim.queue = "cuda"
    code, said = await refusal(teams.running.workers.ClaimJobs(claim, metadata=one))
    assert (code, "token is for default" in said) == ("PERMISSION_DENIED", True)
    # A stolen lease opens nothing by another token.
    lease = rest.assignments[0].lease
    report = workers_pb2.ReportProgressRequest(lease=lease, sequence=1)
    for thief in (one, teams.worker):
        code, said = await refusal(teams.running.workers.ReportProgress(report, metadata=thief))
        assert (code, "given to another worker" in said) == ("ABORTED", True)
        finish = workers_pb2.FinishJobRequest(lease=lease)
        code, _ = await refusal(teams.running.workers.FinishJob(finish, metadata=thief))
        assert code == "ABORTED"
    await teams.running.workers.ReportProgress(report, metadata=other)
    # What needs no lease is narrowed by the project.
    run = workers_pb2.SetTrackingRunRequest(job=of_ann)
    code, _ = await refusal(teams.running.workers.SetTrackingRun(run, metadata=one))
    assert code in ("NOT_FOUND", "INVALID_ARGUMENT")


async def test_a_worker_is_told_where_data_lie(
    teams: Teams, ann: Metadata, tmp_path: Path
) -> None:
    digest = (await teams.upload(ann)).rpartition("@")[2]
    assert (tmp_path / "blobs/projects/a/datasets" / digest / "info.json").is_file()
    assert not (tmp_path / "blobs/datasets").exists()
    claim = workers_pb2.ClaimJobsRequest(queue="default", worker="w", limit=1)

    async def told() -> tuple[str, list[str]]:
        await teams.submit(ann, spec=job())
        answer = await teams.running.workers.ClaimJobs(claim, metadata=teams.worker)
        (assignment,) = answer.assignments
        return assignment.project, list(assignment.root_digests)

    assert await told() == ("a", [])
    # What was uploaded before projects had prefixes.
    with closing(sqlite3.connect(tmp_path / "talweg.db")) as record, record:
        record.execute("UPDATE stored_datasets SET stored_in = 'default'")
    assert await told() == ("a", [digest])


async def test_a_worker_learns_nothing_of_what_another_project_has_deleted(
    teams: Teams, ann: Metadata, bob: Metadata
) -> None:
    name = await teams.submit(ann)
    one = await teams.token(identity_pb2.Role.WORKER, "a")
    other = await teams.token(identity_pb2.Role.WORKER, "b")
    claim = workers_pb2.ClaimJobsRequest(queue="default", worker="w", limit=1, request_id="first")
    [assignment] = (await teams.running.workers.ClaimJobs(claim, metadata=one)).assignments
    # A claim that is sent again gives its leases to nobody else.
    again = await teams.running.workers.ClaimJobs(claim, metadata=other)
    assert not again.assignments
    again = await teams.running.workers.ClaimJobs(claim, metadata=one)
    assert [each.lease.token for each in again.assignments] == [assignment.lease.token]
    done = workers_pb2.FinishJobRequest(lease=assignment.lease, outcome=SUCCEEDED)
    await teams.running.workers.FinishJob(done, metadata=one)
    delete = jobs_pb2.DeleteJobRequest(name=name, force=True)
    await teams.running.jobs.DeleteJob(delete, metadata=ann)
    removals = workers_pb2.ListRemovalsRequest()

    async def listed(metadata: Metadata) -> list[str]:
        answer = await teams.running.workers.ListRemovals(removals, metadata=metadata)
        # In whose part of the blob store the files are.
        assert {each.project for each in answer.removals} <= {"a"}
        return [each.job for each in answer.removals]

    assert (await listed(one), await listed(other)) == ([name], [])
    # Nor can it have the files of another project forgotten.
    finish = workers_pb2.FinishRemovalRequest(job=name)
    await teams.running.workers.FinishRemoval(finish, metadata=other)
    assert await listed(teams.worker) == [name]
    # Deleted twice is no error; of another project, it has never been.
    await teams.running.jobs.DeleteJob(delete, metadata=ann)
    code, _ = await refusal(teams.running.jobs.DeleteJob(delete, metadata=bob))
    assert code == "NOT_FOUND"
    await teams.running.workers.FinishRemoval(finish, metadata=one)
    assert await listed(teams.worker) == []


async def test_workers_of_one_name_tell_of_their_plug_ins_apart(teams: Teams) -> None:
    one = await teams.token(identity_pb2.Role.WORKER, "a")
    other = await teams.token(identity_pb2.Role.WORKER, "b")
    plugin = plugins_pb2.PluginDeclaration(kind=plugins_pb2.PluginDeclaration.LOSS, name="mine")
    report = workers_pb2.ReportPluginsRequest(worker="w", queues=["default"], plugins=[plugin])
    await teams.running.workers.ReportPlugins(report, metadata=one)
    nothing = workers_pb2.ReportPluginsRequest(worker="w")
    await teams.running.workers.ReportPlugins(nothing, metadata=other)
    reports = await teams.running.server.database.reading(told)
    assert [plugin.name for each in reports for plugin in each.plugins] == ["mine"]
