"""Metrics and comparisons, from the record of either database."""

from typing import Any

import pytest
from tests.server.samples import Rules, held, point, spec, summary

from talweg.server.errors import (
    BadGrouping,
    BadMetric,
    BadPageToken,
    InvalidRequest,
    JobNotFound,
)
from talweg.server.queries import pages
from talweg.server.services.attempts.reaper import reap
from talweg.server.services.attempts.reports import Report
from talweg.server.store import events, jobs
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import (
    CompareJobsResponse,
    Event,
    Job,
    LogLine,
    MetricSummary,
    Outcome,
)
from talweg.v1.options_pb2 import MAXIMIZE, MINIMIZE
from talweg.v1.spec_pb2 import JobSpec

_VAE: dict[str, Any] = {"task": "vae", "dataset": "digits", "model": "autoencoder"}


def _within(k: float) -> dict[str, Any]:
    formula = "where(abs(pred - target) < k, 1, 0)"
    return {"name": "within", "formula": formula, "params": {"k": k}, "goal": "maximize"}


class TestMetrics:
    async def test_gives_summaries_and_points(self, rules: Rules) -> None:
        row = await rules.running()
        told = [point(1, train_loss=2.0, val_mae=3.0), point(2, train_loss=1.0)]
        summaries = [summary("train/loss", 1.0), summary("val/mae", 3.0)]
        await rules.leases.report(held(row), Report(1, told, summaries))
        found = await rules.jobs.metrics(row.name, wanted=(), include_points=True)
        assert list(found.summaries) == summaries
        assert [event.metrics.step for event in found.points] == [1, 2]
        found = await rules.jobs.metrics(row.name, wanted=["val/"], include_points=True)
        assert [each.name for each in found.summaries] == ["val/mae"]
        assert [dict(event.metrics.values) for event in found.points] == [{"val/mae": 3.0}]
        found = await rules.jobs.metrics(
            row.name, wanted=["train/loss", "val"], include_points=False
        )
        assert [each.name for each in found.summaries] == ["train/loss"]
        assert not found.points

    def measure(self, rules: Rules, row: JobRow, new: list[Event]) -> None:
        """Write events as they are, where a report's would be thinned."""
        with rules.database.write() as tx:
            locked = jobs.lock(tx, row.id)
            jobs.change(tx, locked, last_cursor=events.append(tx, locked, new))

    async def test_points_come_in_pages(self, rules: Rules) -> None:
        row = await rules.running()
        log = Event(log=LogLine(text="between"))
        self.measure(rules, row, [point(1, val_mae=1), log, *(point(s, lr=s) for s in (2, 3, 4))])
        arguments: dict[str, Any] = {"include_points": True, "page_size": 2}

        async def page(token: str, **more: Any) -> tuple[list[int], str]:
            found = await rules.jobs.metrics(row.name, page_token=token, **{**arguments, **more})
            return [event.metrics.step for event in found.points], found.next_token

        steps, token = await page("")
        assert steps == [1, 2]
        # A page that holds nothing of what is wanted is not the last.
        assert (await page("", wanted=["lr"]))[0] == [2]
        # Another attempt has begun meanwhile, from step 2: it measures some steps again.
        rules.lose_worker(row)
        with rules.database.write() as tx:
            reap(tx, 5)
        (again,) = await rules.claim()
        self.measure(rules, again, [point(s, lr=s) for s in (3, 4, 9)])
        steps, token = await page(token)
        assert steps == [3, 4]
        # Nor is a page that holds nothing new.
        steps, token = await page(token)
        assert steps == []
        assert await page(token) == ([9], "")
        steps, token = await page("")
        assert steps == [1, 2]
        for wrong in ({"wanted": ["lr"]}, {"page_size": 10_001}, {"page_size": -1}):
            with pytest.raises(InvalidRequest):
                await page(token, **wrong)

    @pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '{"a": 0.5}', "9" * 5000])
    async def test_forged_page_tokens_are_refused(self, rules: Rules, text: str) -> None:
        row = await rules.running()
        token = pages.encode((1, text), (row.name,))
        with pytest.raises(BadPageToken):
            await rules.jobs.metrics(row.name, include_points=True, page_token=token)

    async def test_summaries_come_once(self, rules: Rules) -> None:
        row = await rules.running()
        told = [point(step, lr=step) for step in range(3)]
        await rules.leases.report(held(row), Report(1, summaries=[summary("lr", 1.0)]))
        self.measure(rules, row, told)
        first = await rules.jobs.metrics(row.name, include_points=True, page_size=2)
        second = await rules.jobs.metrics(
            row.name, include_points=True, page_token=first.next_token
        )
        assert (len(first.summaries), len(second.summaries)) == (1, 0)

    async def test_a_page_of_points_ends_before_it_outgrows_a_message(self, rules: Rules) -> None:
        row = await rules.running()
        many = {f"val_metric_{number:02}": 1.0 for number in range(30)}
        self.measure(rules, row, [point(step, **many) for step in range(5000)])
        first = await rules.jobs.metrics(row.name, include_points=True)
        assert 2_500_000 < sum(event.ByteSize() for event in first.points) <= 3 * 1024 * 1024
        second = await rules.jobs.metrics(
            row.name, include_points=True, page_token=first.next_token
        )
        assert len(first.points) + len(second.points) == 5000

    async def test_absent_best_stays_absent(self, rules: Rules) -> None:
        row = await rules.running()
        plain = summary("lr", 0.1)
        plain.ClearField("best")
        await rules.leases.report(held(row), Report(1, summaries=[plain]))
        (found,) = (await rules.jobs.metrics(row.name, wanted=(), include_points=False)).summaries
        assert found == plain

    async def test_of_no_job(self, rules: Rules) -> None:
        with pytest.raises(JobNotFound):
            await rules.jobs.metrics("jobs/none", wanted=(), include_points=False)


class TestCompare:
    async def compare(self, rules: Rules, **more: Any) -> Any:
        arguments: dict[str, Any] = {"names": [], "filter": "", "metric": "", "group_by": []}
        return await rules.comparison.compare(**(arguments | more))

    async def test_groups_by_loss_the_best_first(self, rules: Rules) -> None:
        for loss, values in {"mse": (5.0, 7.0), "huber": (3.0, 4.0, 5.0)}.items():
            for seed, value in reversed(list(enumerate(values))):
                given = spec(loss=loss, training={"seed": seed})
                await rules.finished(given, test_mae=value)
        await rules.finished(spec(loss="mae"), state=Job.FAILED)
        await rules.running(spec(loss="mae"))

        found = await self.compare(rules)
        assert (found.metric, found.goal) == ("test/mae", MINIMIZE)
        huber, mse, mae = found.groups
        assert [group.labels for group in found.groups] == [("huber",), ("mse",), ("mae",)]
        assert (huber.mean, huber.sd, huber.num_succeeded) == (4.0, 1.0, 3)
        assert [(row.seed, row.value) for row in huber.rows] == [(0, 3.0), (1, 4.0), (2, 5.0)]
        assert mse.mean == 6.0
        assert mse.sd == pytest.approx(2**0.5)
        assert (mae.mean, mae.sd, mae.num_succeeded, len(mae.rows)) == (None, None, 0, 2)

    async def test_a_high_metric_is_better_where_its_goal_says_so(self, rules: Rules) -> None:
        for model, value in (("linear", 0.8), ({"mlp": {}}, 0.9)):
            given = spec(task="multiclass", dataset="iris", loss="cross_entropy", model=model)
            await rules.finished(given, test_accuracy=value)
        found = await self.compare(rules, metric="test/accuracy", group_by=["model"])
        assert found.goal == MAXIMIZE
        assert [group.labels for group in found.groups] == [("mlp",), ("linear",)]
        assert (found.groups[0].sd, found.groups[0].mean) == (None, 0.9)

    async def test_groups_by_paths(self, rules: Rules) -> None:
        one = {"adamw": {"learning_rate": 0.01}}
        await rules.finished(spec(optimizer=one, tags={"team": "a"}), test_mae=1.0)
        await rules.finished(spec(optimizer="sgd", loss={"huber": {"delta": 2}}), test_mae=2.0)
        paths = ["loss", "optimizer.adamw.learning_rate", "tags.team", "loss.huber"]
        found = await self.compare(rules, group_by=paths)
        assert [group.labels for group in found.groups] == [
            ("mse", "0.01", "a", "none"),
            ("huber delta=2", "none", "none", "delta=2"),
        ]
        by_alias = ["loss", "optimizer.adamw.lr", "tags.team", "loss.huber"]
        assert (await self.compare(rules, group_by=by_alias)).groups == found.groups

    async def test_tells_what_beside_the_seed_differs_within_a_group(self, rules: Rules) -> None:
        def given(rate: float, seed: int, **more: Any) -> JobSpec:
            adamw = {"adamw": {"learning_rate": rate}}
            return spec(
                optimizer=adamw, **{"training": {"seed": seed}, "tags": {"n": "1"}, **more}
            )

        await rules.finished(given(0.01, 0), test_mae=1.0)
        await rules.finished(given(0.01, 1, tags={}), test_mae=2.0)
        await rules.finished(given(0.02, 1), state=Job.FAILED)
        (group,) = (await self.compare(rules)).groups
        assert (group.varies, group.num_repeats) == ([], 0)

        await rules.finished(given(0.02, 0), test_mae=3.0)
        clipped = {"seed": 0, "clip_norm": 1}
        await rules.finished(given(0.01, 0, model="linear", training=clipped), test_mae=4.0)
        await rules.finished(given(0.01, 1, display_name="again"), test_mae=2.0)
        (group,) = (await self.compare(rules)).groups
        paths = ["model", "optimizer.adamw.learning_rate", "training.clip_norm"]
        assert (group.varies, group.num_repeats) == (paths, 1)
        parted = await self.compare(rules, group_by=paths)
        assert [each.varies for each in parted.groups] == [[], [], []]

    async def test_folds_repeat_a_job_and_may_be_told_apart(self, rules: Rules) -> None:
        for loss, by_fold in {"mse": (6.0, 8.0), "huber": (3.0, 5.0)}.items():
            for fold, value in enumerate(by_fold, start=1):
                split = {"fold": fold, "folds": 2}
                await rules.finished(spec(loss=loss, split=split), test_mae=value)
        found = await self.compare(rules)
        assert [(group.labels, group.mean) for group in found.groups] == [
            (("huber",), 4.0), (("mse",), 7.0),
        ]  # fmt: skip
        assert [(group.varies, group.num_repeats) for group in found.groups] == [([], 0)] * 2
        apart = await self.compare(rules, group_by=["loss", "split.fold"])
        assert [(group.labels, group.mean) for group in apart.groups] == [
            (("huber", "1"), 3.0), (("huber", "2"), 5.0),
            (("mse", "1"), 6.0), (("mse", "2"), 8.0),
        ]  # fmt: skip

    async def test_only_jobs_that_succeeded_count(self, rules: Rules) -> None:
        await rules.finished(spec(training={"seed": 0}), val_mae=4.0)
        await rules.finished(spec(training={"seed": 1}), val_mae=6.0)
        for state in (Job.DIVERGED, Job.FAILED, Job.CANCELLED):
            await rules.finished(spec(), state=state, val_mae=1.0)
        row = await rules.running(spec(loss="mae", training={"seed": 2}))
        await rules.leases.report(held(row), Report(1, summaries=[summary("val/mae", 0.5)]))
        await rules.finished(spec(loss="huber"), val_mae=9.0)
        await rules.submit()

        found = await self.compare(rules, metric="val/mae")
        assert [group.labels for group in found.groups] == [("mse",), ("huber",), ("mae",)]
        mse, _, mae = found.groups
        assert (mse.values, mse.mean, mse.median) == ([4.0, 6.0], 5.0, 5.0)
        assert mse.states == {
            Job.SUCCEEDED: 2, Job.DIVERGED: 1, Job.FAILED: 1, Job.CANCELLED: 1, Job.QUEUED: 1,
        }  # fmt: skip
        assert (mse.varies, mse.num_repeats) == ([], 0)
        assert (mae.mean, mae.median, mae.iqr, mae.values) == (None, None, None, [])
        assert [(row.value, row.counts) for row in mae.rows] == [(0.5, False)]

    async def stopped(self, rules: Rules, watched: str, weights_step: int, **more: Any) -> JobRow:
        """A job under early stopping: three evaluations, of which the second has the best val/mae
        and the third the best val/rmse."""
        given = spec(training={"early_stopping": {"metric": watched}}, **more)
        row = await rules.running(given)
        told = [
            point(1, val_mae=5.0, val_rmse=9.0, val_r2=0.1),
            point(2, val_mae=2.0, val_rmse=7.0, val_r2=0.2),
            point(3, val_mae=3.0, val_rmse=6.0, val_r2=0.3),
            point(4, val_mae=4.0, val_rmse=8.0, val_r2=0.1),
        ]
        summaries = [
            MetricSummary(
                name=f"val/{name}", first=first, first_step=1, last=last, last_step=4,
                best=best, best_step=step, count=4, goal=MINIMIZE,
            )
            for name, first, last, best, step in (
                ("mae", 5.0, 4.0, 2.0, 2), ("rmse", 9.0, 8.0, 6.0, 3),
            )
        ]  # fmt: skip
        outcome = Outcome(state=Job.SUCCEEDED, weights_step=weights_step)
        await rules.leases.finish(held(row), outcome, Report(1, told, summaries))
        return rules.get(row)

    @pytest.mark.parametrize(
        ("watched", "weights_step", "expected"),
        [
            ("val/mae", 2, (2.0, 2, True)),
            # As an older worker, which does not say of which step the weights are.
            ("val/mae", 0, (2.0, 2, True)),
            # Not val/mae's best: that of the weights.
            ("val/rmse", 3, (3.0, 3, True)),
            ("val/rmse", 0, (3.0, 3, True)),
            # min_delta can leave the best to an earlier evaluation.
            ("val/rmse", 1, (5.0, 1, True)),
            ("val/mae", 4, (4.0, 4, False)),
        ],
    )
    async def test_a_validation_metric_is_that_of_the_weights_kept(
        self, rules: Rules, watched: str, weights_step: int, expected: tuple[float, int, bool]
    ) -> None:
        await self.stopped(rules, watched, weights_step)
        (group,) = (await self.compare(rules, metric="val/mae")).groups
        (measured,) = [row.measured for row in group.rows]
        assert measured is not None
        assert (measured.value, measured.step, measured.best_weights) == expected

    async def test_without_early_stopping_it_is_the_last(self, rules: Rules) -> None:
        row = await rules.running()
        told = MetricSummary(
            name="val/mae", first=9, first_step=1, last=3.0, last_step=5, best=1.0, best_step=2,
            count=3, goal=MINIMIZE,
        )  # fmt: skip
        await rules.leases.finish(
            held(row), Outcome(state=Job.SUCCEEDED, weights_step=5), Report(1, summaries=[told])
        )
        (group,) = (await self.compare(rules, metric="val/mae")).groups
        assert group.values == [3.0]

    @pytest.mark.parametrize(
        ("one", "other", "differs"),
        [
            ({"loss": "mse"}, {"loss": "mae"}, "loss"),
            ({"loss": "huber"}, {"loss": {"huber": {"delta": 2}}}, "loss.huber.delta"),
            (
                {},
                {"preprocessing": {"standardise_targets": False}},
                "preprocessing.standardise_targets",
            ),
            (
                {},
                {"preprocessing": {"target_outliers": {"share": 0.2}}},
                "preprocessing.target_outliers",
            ),
        ],
    )
    @pytest.mark.parametrize("metric", ["val/loss", "test/loss", "train/loss", "train/loss_mean"])
    async def test_refuses_losses_that_are_not_the_same(
        self, rules: Rules, one: Any, other: Any, differs: str, metric: str
    ) -> None:
        for each in (one, other):
            await rules.submit(spec(**each))
        with pytest.raises(BadMetric) as caught:
            await self.compare(rules, metric=metric)
        part = "val" if metric.startswith("val") else "test"
        assert f"they differ in {differs}; compare by {part}/mae" in str(caught.value)
        assert f"{part}/loss" not in str(caught.value).partition(";")[2]
        assert len((await self.compare(rules, metric=f"{part}/mae", group_by=["loss"])).groups)

    async def test_refuses_losses_with_other_class_weights_or_smoothing(
        self, rules: Rules
    ) -> None:
        iris = {"task": "multiclass", "dataset": "iris", "model": "linear"}
        for more in ({}, {"weight": "balanced"}, {"label_smoothing": 0.1}):
            await rules.submit(spec(**iris, loss={"cross_entropy": more}))
        with pytest.raises(BadMetric, match=r"differ in loss\.cross_entropy.*val/accuracy"):
            await self.compare(rules, metric="val/loss")

    @pytest.mark.parametrize(
        ("jobs", "metric", "message"),
        [
            (
                [{"loss": "mse"}, {"task": "ordinal", "loss": "coral"}],
                "test/mae",
                "differ in task; compare jobs for which",
            ),
            (
                [{**_VAE, "loss": {"vae": {"recon": form}}} for form in ("bce_logits", "mse")],
                "test/elbo",
                "preprocessing.standardise_inputs, loss.vae.recon; compare by test/kl",
            ),
            (
                [{"loss": {"multi_quantile": {"quantiles": q}}} for q in ([0.5], [0.1, 0.9])],
                "val/pinball",
                "loss.multi_quantile.quantiles; compare by val/mae",
            ),
            (
                [{"evaluation": {"metrics": [_within(k)]}} for k in (5, 20)],
                "val/within",
                "evaluation.metrics; compare by val/mae",
            ),
        ],
    )
    async def test_refuses_metrics_that_are_not_the_same(
        self, rules: Rules, jobs: list[dict[str, Any]], metric: str, message: str
    ) -> None:
        for each in jobs:
            await rules.submit(spec(**each))
        with pytest.raises(BadMetric, match=f"{metric} is not the same metric .*{message}"):
            await self.compare(rules, metric=metric)

    async def test_takes_metrics_that_mean_the_same(self, rules: Rules) -> None:
        tumours = {"dataset": "breast_cancer", "model": "linear"}
        await rules.submit(spec(**tumours, task="multiclass", loss="focal"))
        await rules.submit(spec(**tumours, task="binary", loss="focal_binary"))
        assert len((await self.compare(rules, metric="test/accuracy")).groups) == 2
        forms = [{"vae": {"recon": form}} for form in ("bce", "bce_logits")]
        codes = [(await rules.submit(spec(**_VAE, loss=form))).name for form in forms]
        assert len((await self.compare(rules, names=codes, metric="test/elbo")).groups) == 2
        # Of jobs that do not have it, nothing could be another function.
        await rules.submit(spec(evaluation={"metrics": [_within(5)]}))
        assert (await self.compare(rules, metric="val/within")).groups

    async def test_says_that_groups_are_of_other_data(self, rules: Rules) -> None:
        wine = {"task": "multiclass", "dataset": "wine", "model": "linear"}
        for loss in ("focal", "cross_entropy"):
            await rules.finished(spec(**wine, loss=loss), test_accuracy=0.9)
        assert not (await self.compare(rules, metric="test/accuracy")).unequal
        await rules.finished(spec(**{**wine, "dataset": "iris"}, loss="focal"), test_accuracy=0.8)
        assert (await self.compare(rules, metric="test/accuracy")).unequal == ["dataset"]
        for by in (["dataset"], ["loss", "dataset.wine"]):
            assert not (await self.compare(rules, metric="test/accuracy", group_by=by)).unequal

    async def test_takes_a_loss_that_is_the_same_for_all(self, rules: Rules) -> None:
        for rate in (0.1, 0.01):
            await rules.finished(
                spec(optimizer={"adamw": {"learning_rate": rate}}, split={"seed": int(rate * 10)}),
                val_loss=rate,
            )
        found = await self.compare(
            rules, metric="val/loss", group_by=["optimizer.adamw.learning_rate"]
        )
        assert [group.mean for group in found.groups] == [0.01, 0.1]

    async def test_names_what_others_reach_on_the_same_test_data(self, rules: Rules) -> None:
        await rules.finished(test_mae=48.0, trivial_mae=66.0)
        await rules.finished(test_mae=50.0, trivial_mae=64.0, linear_mae=44.0)
        boosting = {"gradient_boosting/mae": 1.0}
        await rules.finished(state=Job.FAILED, test_mae=1.0, beside=boosting)
        compared = await self.compare(rules)
        assert [(each.name, each.mean, each.count) for each in compared.references] == [
            ("linear", 44.0, 1),
            ("trivial", 65.0, 2),
        ]

    async def test_marks_what_is_far_worse_than_the_trivial_predictor(self, rules: Rules) -> None:
        await rules.finished(spec(training={"seed": 0}), test_mae=130.0, trivial_mae=66.0)
        await rules.finished(spec(training={"seed": 1}), test_mae=4e27, trivial_mae=66.0)
        (group,) = (await self.compare(rules)).groups
        worse = CompareJobsResponse.WORSE_THAN_TRIVIAL
        assert [list(row.marks) for row in group.rows] == [[], [worse]]

    async def test_marks_outliers_beside_a_robust_summary(self, rules: Rules) -> None:
        for seed, value in enumerate((44.0, 45.0, 46.0, 47.0, 4e27)):
            await rules.finished(spec(training={"seed": seed}), test_mae=value)
        await rules.finished(spec(loss="mae"), test_mae=90.0)
        await rules.finished(spec(loss="huber"), test_mae=1e6)
        mae, huber, mse = (await self.compare(rules)).groups
        assert (mse.median, mse.iqr) == (46.0, 2.0)
        outlier = [CompareJobsResponse.OUTLIER]
        assert [list(row.marks) for row in mse.rows] == [[], [], [], [], outlier]
        assert [list(row.marks) for group in (mae, huber) for row in group.rows] == [[], outlier]

    async def test_by_names_in_any_number(self, rules: Rules) -> None:
        one, two = await rules.finished(test_mae=1.0), await rules.finished(test_mae=2.0)
        await rules.finished(test_mae=9.0)
        found = await self.compare(rules, names=[two.name, one.name, two.name])
        (group,) = found.groups
        assert {row.job.id for row in group.rows} == {one.id, two.id}
        assert group.mean == 1.5

    async def test_by_filter(self, rules: Rules) -> None:
        await rules.finished(spec(experiment="a"), test_mae=1.0)
        await rules.finished(spec(experiment="b"), test_mae=2.0)
        (group,) = (await self.compare(rules, filter="experiment = b")).groups
        assert group.values == [2.0]
        assert (await self.compare(rules, filter="experiment = c")).groups == []

    @pytest.mark.parametrize(
        ("path", "hint"),
        [
            ("los", "did you mean 'loss'?"),
            ("loss.hubr", "did you mean 'huber'?"),
            ("optimizer.adamw.learn_rate", "did you mean 'learning_rate'?"),
            ("priority.x", "nothing after priority"),
            ("tags", "tags.KEY"),
            ("loss.sum.terms", "terms.0"),
            ("loss.sum.terms.0.wait", "did you mean 'weight'?"),
            ("", "allowed"),
        ],
    )
    async def test_refuses_unknown_paths(self, rules: Rules, path: str, hint: str) -> None:
        await rules.finished(test_mae=1.0)
        with pytest.raises(BadGrouping, match=hint):
            await self.compare(rules, group_by=[path])

    async def test_refuses_what_cannot_be_compared(self, rules: Rules) -> None:
        row = await rules.finished(test_mae=1.0)
        iris = spec(task="multiclass", dataset="iris", loss="cross_entropy", model="linear")
        await rules.finished(iris, test_accuracy=0.8)
        with pytest.raises(BadMetric, match="test/mae, test/accuracy"):
            await self.compare(rules)
        for misspelt in ("test/mea", "mae"):
            with pytest.raises(BadMetric, match="did you mean 'test/mae'"):
                await self.compare(rules, names=[row.name], metric=misspelt)
        (group,) = (await self.compare(rules, names=[row.name], metric="guard/clipped")).groups
        assert group.values == []
        for refused in ("test/mae\0", "x" * 201):
            with pytest.raises(InvalidRequest, match="metric"):
                await self.compare(rules, names=[row.name], metric=refused)
        with pytest.raises(InvalidRequest, match="names: must be <= 10,000, but got 10,001"):
            await self.compare(rules, names=[f"jobs/{number}" for number in range(10_001)])
        with pytest.raises(JobNotFound, match="jobs/none"):
            await self.compare(rules, names=[row.name, "jobs/none"])
        with pytest.raises(InvalidRequest, match="filter"):
            await self.compare(rules, names=[row.name], filter="loss = mse")
        with pytest.raises(InvalidRequest, match="names"):
            await self.compare(rules, names=["none"])
