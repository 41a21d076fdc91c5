"""Plug-ins that workers tell of: in the catalogue, and held against jobs at submission."""

import json
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from sqlalchemy import update
from tests.server.conftest import Running, Start
from tests.server.samples import Rules, spec

from talweg.server.errors import InvalidRequest, InvalidSpec
from talweg.server.services.plugins import HOLDS, PluginService
from talweg.server.services.submission.preparing import Submission
from talweg.server.store.record.clock import microseconds
from talweg.server.store.record.schema import worker_plugins
from talweg.v1 import catalog_pb2, jobs_pb2
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.options_pb2 import BINARY, NumberRule
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginParameter
from talweg.v1.spec_pb2 import JobSpec, Resources
from talweg.v1.workers_pb2 import ReportPluginsRequest

LOSS, MODEL, DATASET = PluginDeclaration.Kind.values()[1:]


def declared(kind: Any, name: str, **fields: Any) -> PluginDeclaration:
    scale = PluginParameter(
        name="scale", type=PluginParameter.NUMBER, default="1.0", bounds=NumberRule(gt=0)
    )
    return PluginDeclaration(kind=kind, name=name, **{"parameters": [scale], **fields})


ALL = (declared(LOSS, "cauchy"), declared(MODEL, "gated"), declared(DATASET, "friedman"))


async def tell(
    rules: Rules,
    *plugins: PluginDeclaration,
    worker: str = "w1",
    queues: Sequence[str] = ("default",),
) -> None:
    request = ReportPluginsRequest(worker=worker, queues=queues, plugins=plugins)
    await PluginService(rules.database).report(request)


def job(**parameters: Any) -> JobSpec:
    plugin = {"parameters": parameters}
    return spec(
        dataset={"plugin": {"name": "friedman", **plugin}},
        model={"plugin": {"name": "gated", **plugin}},
        loss={"plugin": {"name": "cauchy", **plugin}},
    )


async def refused(rules: Rules, given: JobSpec) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        await rules.submit(given)
    return {problem.field: problem.description for problem in caught.value.fields}


def warned(row: Any) -> list[str]:
    warnings = Job.FromString(row.warnings).warnings
    return [each.field for each in warnings if each.kind == Warning.PLUGIN_UNKNOWN]


async def test_what_the_plugins_declare_is_filled_in(rules: Rules) -> None:
    await tell(rules, *ALL)
    row = await rules.submit(job())
    for plugin in (row.job_spec.dataset.plugin, row.job_spec.model.plugin,
                   row.job_spec.loss.plugin):  # fmt: skip
        assert json.loads(plugin.parameters) == {"scale": 1.0}
    assert warned(row) == []
    # As it was filled, it is submitted again.
    again = await rules.submit(row.job_spec)
    assert again.job_spec.model == row.job_spec.model


async def test_every_kind_is_checked_alike(rules: Rules) -> None:
    await tell(rules, *ALL)
    violations = await refused(rules, job(scale=0, skale=1))
    assert violations == {
        f"{part}.plugin.parameters.{name}": text
        for part in ("dataset", "model", "loss")
        for name, text in (
            ("scale", "found 0; allowed a number > 0."),
            ("skale", "found \"skale\"; allowed scale. did you mean 'scale'?"),
        )
    }
    violations = await refused(
        rules,
        spec(
            dataset={"plugin": "friedmann"}, model={"plugin": "other"}, loss={"plugin": "cauchi"}
        ),
    )
    assert violations.keys() == {"dataset.plugin.name", "model.plugin.name", "loss.plugin.name"}
    assert "did you mean 'friedman'?" in violations["dataset.plugin.name"]
    assert violations["model.plugin.name"].startswith(
        'found "other", which no worker has; allowed'
    )
    assert "pip install PACKAGE, and restart" in violations["model.plugin.name"]


async def test_where_workers_have_none_at_all(rules: Rules) -> None:
    await tell(rules)
    violations = await refused(rules, spec(model={"plugin": "gated"}))
    assert "of which there is none" in violations["model.plugin.name"]


async def test_where_no_worker_has_told_the_job_is_taken_with_a_warning(rules: Rules) -> None:
    await tell(rules, *ALL, queues=["cuda"])
    row = await rules.submit(job(scale=-1))
    assert warned(row) == ["dataset.plugin.name", "model.plugin.name", "loss.plugin.name"]
    assert json.loads(row.job_spec.model.plugin.parameters) == {"scale": -1}
    on_cuda = job()
    on_cuda.resources.device = Resources.cuda
    assert warned(await rules.submit(on_cuda)) == []


async def test_a_report_holds_for_a_while_only(rules: Rules) -> None:
    await tell(rules)
    await tell(rules, worker="w2")
    with rules.database.write() as tx:
        late = tx.now - microseconds(HOLDS) - 1
        tx.connection.execute(update(worker_plugins).values(time=late))
    assert await PluginService(rules.database).told() == []
    assert warned(await rules.submit(spec(model={"plugin": "gated"}))) == ["model.plugin.name"]
    await tell(rules, *ALL)
    (told,) = await PluginService(rules.database).told()
    assert (told.worker, len(told.plugins)) == ("w1", 3)
    with rules.database.read() as connection:
        assert len(connection.execute(worker_plugins.select()).all()) == 1


async def test_what_a_worker_tells_replaces_what_it_told_before(rules: Rules) -> None:
    await tell(rules, *ALL)
    await tell(rules, declared(MODEL, "gated"))
    violations = await refused(rules, job())
    assert violations.keys() == {"dataset.plugin.name", "loss.plugin.name"}


async def test_a_plugin_that_some_workers_lack(rules: Rules) -> None:
    await tell(rules, *ALL)
    await tell(rules, worker="w2")
    row = await rules.submit(job())
    assert warned(row) == ["dataset.plugin.name", "model.plugin.name", "loss.plugin.name"]
    (warning, *_) = Job.FromString(row.warnings).warnings
    assert '1 of 2 workers of queue default have plug-in "friedman"' in warning.message


async def test_one_of_several_versions_must_take_the_parameters(rules: Rules) -> None:
    width = PluginParameter(name="width", type=PluginParameter.INTEGER, default="4")
    await tell(rules, declared(MODEL, "gated", version="1"))
    await tell(rules, declared(MODEL, "gated", version="2", parameters=[width]), worker="w2")
    for parameters in ({"scale": 2.0}, {"width": 8}):
        plugin = {"plugin": {"name": "gated", "parameters": parameters}}
        row = await rules.submit(spec(model=plugin))
        assert json.loads(row.job_spec.model.plugin.parameters) == parameters
    violations = await refused(
        rules, spec(model={"plugin": {"name": "gated", "parameters": {"scal": 2.0}}})
    )
    assert "allowed width" in violations["model.plugin.parameters.scal"]


async def test_one_that_cannot_be_loaded(rules: Rules) -> None:
    broken = declared(
        MODEL, "gated", package="own", version="2", problem="ImportError: no driver", parameters=[]
    )
    await tell(rules, broken)
    violations = await refused(rules, spec(model={"plugin": "gated"}))
    assert (
        'found "gated" of own 2, which the workers cannot load: ImportError: no driver'
        in (violations["model.plugin.name"])
    )


async def test_tasks_that_a_plugin_does_not_suit(rules: Rules) -> None:
    await tell(rules, *(declared(each.kind, each.name, tasks=[BINARY]) for each in ALL))
    violations = await refused(rules, job())
    assert violations.keys() == {"dataset.plugin.name", "model.plugin.name", "loss.plugin.name"}
    assert "gated suits tasks binary" in violations["model.plugin.name"]


async def test_what_is_wrong_with_the_rest_is_said_too(rules: Rules) -> None:
    await tell(rules, *ALL)
    given = job(scale=0)
    given.training.batch_size = 0
    given.loss.plugin.parameters = "[1]"
    violations = await refused(rules, given)
    assert violations.keys() == {
        "dataset.plugin.parameters.scale",
        "model.plugin.parameters.scale",
        "loss.plugin.parameters",
        "training.batch_size",
    }


async def test_only_workers_say_what_data_hold(rules: Rules) -> None:
    await tell(rules, *ALL)
    given = spec(dataset={"plugin": {"name": "friedman"}})
    given.dataset.plugin.facts.num_samples = 3
    row = await rules.submit(given)
    assert not row.job_spec.dataset.plugin.HasField("facts")


async def test_a_job_that_goes_on_keeps_its_parameters(rules: Rules) -> None:
    row = await rules.submit(spec(model={"plugin": "gated"}))
    await tell(rules, declared(MODEL, "gated"))
    going_on = JobSpec()
    going_on.CopyFrom(row.job_spec)
    going_on.continued_from.job = row.name
    answer = await rules.submission.submit_many([Submission(going_on)])
    # It has no checkpoint to go on from, but nothing that must not change has changed.
    assert "model" not in str(answer[0])


PUBLISHED: dict[str, Any] = {
    "task": "multiclass",
    "dataset": "digits",
    "model": {"pretrained": "resnet"},
    "loss": "cross_entropy",
}


async def tell_extras(rules: Rules, *extras: str, worker: str = "w1") -> None:
    request = ReportPluginsRequest(worker=worker, queues=["default"], extras=extras)
    await PluginService(rules.database).report(request)


async def test_an_extra_that_no_worker_has_is_named(rules: Rules) -> None:
    await tell_extras(rules)
    violations = await refused(rules, spec(**PUBLISHED))
    assert violations.keys() == {"model.pretrained"}
    assert "the extra pretrained, which no worker of queue default has" in str(violations)
    assert 'pip install "talweg[pretrained]"' in violations["model.pretrained"]
    trunk = {"embedder": {"trunk": {"pretrained": "resnet"}}}
    of_trunk = {**PUBLISHED, "task": "metric_learning", "loss": "triplet", "model": trunk}
    assert (await refused(rules, spec(**of_trunk))).keys() == {"model.embedder.trunk.pretrained"}
    # The catalogue's own resnet needs nothing.
    row = await rules.submit(spec(**{**PUBLISHED, "model": "resnet"}))
    assert not Job.FromString(row.warnings).warnings


async def test_an_extra_that_some_workers_lack_or_none_has_told_of(rules: Rules) -> None:
    def about(row: Any) -> list[str]:
        warnings = Job.FromString(row.warnings).warnings
        return [each.message for each in warnings if each.kind == Warning.EXTRA_UNKNOWN]

    (message,) = about(await rules.submit(spec(**PUBLISHED)))
    assert "No worker of queue default has told whether it has the extra pretrained" in message
    await tell_extras(rules, "pretrained")
    assert about(await rules.submit(spec(**PUBLISHED))) == []
    await tell_extras(rules, worker="w2")
    (message,) = about(await rules.submit(spec(**PUBLISHED)))
    assert message.startswith("1 of 2 workers of queue default have the extra pretrained")


# a report, the field that is wrong
HOSTILE: list[tuple[ReportPluginsRequest, str]] = [
    (ReportPluginsRequest(), "worker"),
    (ReportPluginsRequest(worker="w" * 201), "worker"),
    (ReportPluginsRequest(worker="w", queues=["q"] * 101), "queues"),
    (ReportPluginsRequest(worker="w", queues=[""]), "queues[0]"),
    (ReportPluginsRequest(worker="w", extras=["e"] * 101), "extras"),
    (ReportPluginsRequest(worker="w", extras=[""]), "extras[0]"),
    (ReportPluginsRequest(worker="w", plugins=[declared(MODEL, "a")] * 1001), "plugins"),
    (ReportPluginsRequest(worker="w", plugins=[declared(MODEL, "a", description="x" * 2**20)]),
     "plugins"),
    (ReportPluginsRequest(worker="w", plugins=[declared(0, "a")]), "plugins[0].kind"),
    (ReportPluginsRequest(worker="w", plugins=[declared(9, "a")]), "plugins[0].kind"),
    (ReportPluginsRequest(worker="w", plugins=[declared(MODEL, "")]), "plugins[0].name"),
    (ReportPluginsRequest(worker="w", plugins=[
        declared(MODEL, "a", parameters=[PluginParameter(name="b", default="{")])
    ]), "plugins[0].parameters[0].default"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "field"), HOSTILE, ids=[row[1] for row in HOSTILE])
async def test_a_report_that_cannot_be(
    rules: Rules, request_: ReportPluginsRequest, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await PluginService(rules.database).report(request_)
    assert [problem.field for problem in caught.value.fields] == [field]
    assert await PluginService(rules.database).told() == []


async def test_over_the_wire(start: Start) -> None:
    running: Running = await start()
    report = ReportPluginsRequest(worker="w1", queues=["default"], plugins=ALL)
    await running.workers.ReportPlugins(report)
    catalog = running.catalog
    for entries, name in (
        ((await catalog.ListLosses(catalog_pb2.ListLossesRequest())).losses, "plugin:cauchy"),
        ((await catalog.ListModels(catalog_pb2.ListModelsRequest())).models, "plugin:gated"),
        ((await catalog.ListDatasets(catalog_pb2.ListDatasetsRequest())).datasets,
         "plugin:friedman"),
    ):  # fmt: skip
        entry = entries[-1]
        assert (entry.name, list(entry.plugin.workers)) == (name, ["w1"])
        assert [parameter.allowed for parameter in entry.parameters] == ["> 0"]
    request = catalog_pb2.ListLossesRequest(task="segmentation")
    assert "plugin:cauchy" not in [e.name for e in (await catalog.ListLosses(request)).losses]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=job(scale=0)))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
