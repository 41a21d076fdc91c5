"""Comparisons with intervals and verdicts, in Python and on the command line."""

import json
from dataclasses import asdict

import pytest
from tests.client.commands import Talweg
from tests.client.samples import sample
from tests.client.test_screens import Screen, screen
from tests.client.worker import Worker

from talweg.client import Client, Comparison, InvalidRequest, Job, Verdict
from talweg.v1 import jobs_pb2
from talweg.v1.answers_pb2 import Answer

__all__ = ["screen"]

NOISE = (0.0, 0.4, -0.3, 0.1, -0.2, 0.25, -0.35)


def trained(client: Client, worker: Worker, experiment: str) -> list[Job]:
    """Return jobs of two losses and seven seeds, of which mae is better by 3."""
    values = {
        (loss, seed): 50 + 5 * NOISE[seed] + off * (1 + 0.1 * NOISE[-1 - seed])
        for loss, off in (("mse", 0.0), ("mae", -3.0))
        for seed in range(7)
    }
    specs = [sample(seed, loss=loss, experiment=experiment) for loss, seed in values]
    jobs = client.submit_many(specs)
    for job, value in zip(jobs, values.values(), strict=True):
        attempt = worker.claim(job.name)
        attempt.finish(metrics={"test/mae": value})
    return jobs


def test_an_answer_in_python(client: Client, worker: Worker) -> None:
    jobs = trained(client, worker, "answer in python")
    assert client.compare(jobs).answer is None
    plain = client.compare(jobs, statistics=True).answer
    assert plain is not None
    assert (plain.baseline, plain.verdicts, plain.test) == ((), (), "")
    comparison = client.compare(jobs, baseline="mse", margin="1%")
    answer = comparison.answer
    assert answer is not None
    best, mse = answer.groups
    assert (best.labels, mse.labels, answer.baseline) == (("mae",), ("mse",), ("mse",))
    assert mse.difference is None
    assert best.difference is not None
    assert best.difference.verdict is Verdict.BETTER
    assert best.difference.p == 2 / 128
    assert best.difference.mean == pytest.approx(-3, abs=0.01)
    assert best.difference.interval is not None
    assert best.difference.interval.low < -3 < best.difference.interval.high < -2.8
    assert answer.margin == pytest.approx(0.01 * (mse.mean or 0))
    assert (
        client.compare(jobs, baseline="mse", margin=4)
        .verdicts[0]
        .startswith("mae is equivalent to mse within ±4 (")
    )
    frame = answer.to_pandas()
    assert list(frame["verdict"].dropna()) == ["better"]
    assert list(frame["n"]) == [7, 7]
    title, verdict, header, *_ = str(comparison).splitlines()
    assert title.endswith(", by loss, against mse")
    assert verdict.startswith("mae is better than mse: ")
    assert header.split() == [*"loss n mean ± sd 95% interval difference p".split()]
    assert verdict in comparison._repr_html_()
    assert json.loads(json.dumps(asdict(comparison)))["answer"]["level"] == 0.95
    with pytest.raises(
        InvalidRequest, match="question.baseline: found 'huber'; allowed: mae, mse"
    ):
        client.compare(jobs, baseline="huber")


@pytest.mark.parametrize("margin", ["-1", "0", "1 %%", "one", "nan", "inf%"])
def test_a_margin_is_a_number_or_a_percentage(client: Client, margin: str) -> None:
    with pytest.raises(ValueError, match="margin must be a number > 0 in the unit"):
        client.compare(["a"], baseline="mse", margin=margin)
    with pytest.raises(ValueError, match="a margin needs a baseline"):
        client.compare(["a"], margin=0.1)


def test_the_verdict_comes_first(
    talweg: Talweg, screen: Screen, client: Client, worker: Worker
) -> None:
    trained(client, worker, "answer by command")
    compare = ("compare", "--experiment", "answer by command")
    done = talweg(*compare, "--baseline", "mse", "--margin", "1%")
    assert done.status == 0
    title, verdict, header, best, baseline = done.out.splitlines()[:5]
    assert title == "test/mae (lower is better), by loss, against mse"
    assert verdict.startswith("• mae is better than mse: difference -2.996 (-6%), 95% interval")
    assert header.split() == [*"loss n mean ± sd 95% interval difference p".split()]
    assert best.split()[-2:] == ["-2.996", "0.016"]
    assert baseline.split()[-1] == "baseline"
    assert "this split of the data" in done.err
    assert "noise floor: mse has an sd of" in done.err
    shown = talweg(*compare, "--baseline", "mse", "--json").json["answer"]
    assert shown["groups"][0]["difference"]["verdict"] == "better"
    assert "95% interval" in talweg(*compare, "--statistics").out
    assert talweg(*compare).out.splitlines()[1].split()[:2] == ["loss", "mean"]

    lines = screen(80, *compare, "--baseline", "mse", "--margin", "1%")
    assert all(len(line.rstrip()) <= 80 for line in lines[:6])
    assert any(line.split()[-2:] == ["-2.996", "0.016"] for line in lines)


def test_a_margin_alone_is_refused(talweg: Talweg) -> None:
    done = talweg("compare", "a", "--margin", "1%")
    assert done.status == 2
    assert "a margin needs a baseline" in done.err
    assert talweg("compare", "a", "--baseline", "mse", "--margin", "x").status == 2


def test_an_unknown_verdict_is_not_taken_for_another() -> None:
    difference = Answer.Difference(n=1, verdict=99)  # type: ignore[arg-type]
    response = jobs_pb2.CompareJobsResponse(
        groups=[jobs_pb2.CompareJobsResponse.Group(labels=["mse"])],
        answer=Answer(groups=[Answer.Group(method=Answer.STUDENT_T, difference=difference)]),
    )
    with pytest.raises(ValueError, match="but got number 99"):
        Comparison.of(response, ["loss"])
