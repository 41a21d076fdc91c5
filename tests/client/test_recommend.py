"""Recommendations by the library and the command line, over both servers and without one."""

import io
import json
import typing
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests._parts import Server
from tests.client.faulty import FaultyServer
from tests.client.samples import sample

from talweg.client import Client, InvalidRequest
from talweg.client.catalogue._facts import FactArguments
from talweg.client.cli._root import run
from talweg.spec import facts, from_dict, tasks, to_dict
from talweg.spec.fields import fields
from talweg.v1.recommendations_pb2 import ProblemFacts, RecommendLossResponse


class Done(NamedTuple):
    status: int
    out: str
    err: str


def talweg(*arguments: str) -> Done:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run(["recommend", *arguments])
    assert "Traceback" not in err.getvalue()
    return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture
def at_service(service: FaultyServer | Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line talks to the service."""
    monkeypatch.setenv("TALWEG_ADDRESS", service.address)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is known."""
    for name in ("TALWEG_ADDRESS", "TALWEG_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_the_keywords_are_the_facts() -> None:
    known = fields(ProblemFacts.DESCRIPTOR)
    hints = typing.get_type_hints(FactArguments)
    assert list(hints) == list(known)
    for name, hint in hints.items():
        held = typing.get_args(hint)[0] if known[name].is_list else hint
        expected: Any = {
            "number": float, "integer": int, "boolean": bool,
        }.get(known[name].type.value, typing.Literal)  # fmt: skip
        if expected is typing.Literal:
            assert typing.get_args(held) == known[name].names, name
        else:
            assert held is expected, name


def test_the_best_loss_is_submitted_as_it_is(client: Client) -> None:
    found = client.recommend("regression", outliers=0.2)
    assert [each.loss.WhichOneof("kind") for each in found.recommendations][:2] == ["mae", "huber"]
    best = found.recommendations[0]
    assert "outliers" not in best.caution
    job = client.submit(sample(loss=best.loss))
    assert job.spec.loss == best.loss
    job.cancel()


def test_keywords_stand_in_place_of_the_message(client: Client) -> None:
    measured = from_dict({"imbalance": 5, "noisy_labels": 0.2}, ProblemFacts)
    found = client.recommend("multiclass", measured, imbalance=50, noisy_labels=0.0)
    assert found == client.recommend("multiclass", imbalance=50, noisy_labels=0.0)
    assert found != client.recommend("multiclass", measured)
    quantiles = from_dict({"quantiles": [0.1, 0.9]}, ProblemFacts)
    found = client.recommend("regression", quantiles, quantiles=[0.5])
    assert found.recommendations[0].loss.quantile.q == 0.5
    assert list(quantiles.quantiles) == [0.1, 0.9]


def test_what_cannot_be_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.recommend("multiclass", imbalance=0.5, metric="iou")
    assert {violation.field for violation in caught.value.violations} == {
        "facts.imbalance", "facts.metric",
    }  # fmt: skip
    with pytest.raises(InvalidRequest, match="did you mean 'imbalance'"):
        client.recommend("multiclass", imbalanse=50)  # type: ignore[call-arg]
    with pytest.raises(InvalidRequest, match="did you mean 'ordinal'"):
        client.recommend("ordnal")


@pytest.mark.usefixtures("at_service")
def test_the_table() -> None:
    done = talweg("--task", "multiclass", "--imbalance", "50", "--outliers", "0.1")
    assert done.status == 0
    header, first, *_ = done.out.splitlines()
    assert header.split() == ["LOSS", "WHY"]
    assert first.split()[:2] == ["1", "logit_adjusted"]
    assert "balanced weights .835" in done.out
    assert "But: It was the worst of four" in done.out
    assert "Compare losses by a metric" in done.out
    assert "For evaluate only" not in done.out
    assert "outliers was not used" in done.err
    done = talweg("--task", "multiclass", "--teacher")
    assert "For evaluate only: jobs have no teacher" in done.out
    assert "better recommendations" not in done.err
    done = talweg("--task", "gan")
    assert "give facts for better recommendations: --critic" in done.err
    trained = {entry.name for entry in tasks()}
    for task in {"gan", "detection", "multitask"} - trained:
        assert talweg("--task", task).out.count("For evaluate only") == 1


@pytest.mark.usefixtures("at_service")
def test_json_is_the_response() -> None:
    arguments = ("--task", "regression", "--targets", "counts", "--quantiles", "0.1, 0.9")
    done = talweg(*arguments, "--json")
    assert done.status == 0
    found = from_dict(json.loads(done.out), RecommendLossResponse)
    assert to_dict(found) == json.loads(done.out)
    assert list(found.recommendations[0].loss.multi_quantile.quantiles) == [0.1, 0.9]
    assert found.recommendations[1].loss.HasField("poisson_nll")


@pytest.mark.usefixtures("at_service")
def test_yaml_is_a_part_of_a_job_file(tmp_path: Path, client: Client) -> None:
    facts = ("--task", "regression", "--over-cost", "3", "--outliers", "0.05")
    done = talweg(*facts, "--yaml", "--rank", "2")
    first, second = (client.recommend("regression", over_cost=3.0, outliers=0.05)
                     .recommendations[:2])  # fmt: skip
    assert first.loss != second.loss
    path = tmp_path / "job.yaml"
    path.write_text("dataset: diabetes\nmodel: mlp\n" + done.out)
    job = client.submit(path, validate_only=True)
    assert job.spec.loss == second.loss
    assert job.spec.task.HasField("regression")
    assert all(len(line) < 100 for line in done.out.splitlines())
    assert "# " + second.reason[:40] in done.out
    done = talweg(*facts, "--yaml", "--rank", "20")
    assert done.status == 2
    assert "--rank must be <= " in done.err


@pytest.mark.usefixtures("alone")
def test_yaml_of_a_loss_that_no_job_trains_by_holds_the_loss_alone() -> None:
    done = talweg("--task", "multiclass", "--teacher", "--yaml")
    assert done.status == 0
    assert "# For evaluate only: jobs have no teacher logits." in done.out
    assert list(yaml.safe_load(done.out)) == ["loss"]


@pytest.mark.usefixtures("alone")
def test_without_a_server_the_client_answers_and_says_so() -> None:
    done = talweg("--task", "vae", "--inputs", "fractions", "--json")
    assert done.status == 0
    assert json.loads(done.out)["recommendations"][0]["loss"]["vae"]["recon"] == "bce_logits"
    assert "no server is known" in done.err


BAD: list[tuple[list[str], str]] = [
    (["--task", "multiclas"], "task: found \"multiclas\"; allowed one of regression, binary,"),
    (["--task", "binary", "--imbalance", "0"], "facts.imbalance: found 0; allowed a number >= 1."),
    (["--task", "binary", "--imbalance", "many"], 'facts.imbalance: found "many"; allowed a'),
    (["--task", "binary", "--imbalance", "nan"], "facts.imbalance: found nan"),
    (["--task", "binary", "--metric", "f2"], "facts.metric: found \"f2\"; allowed one of mae,"),
    (["--task", "regression", "--quantiles", "0.1,"], 'facts.quantiles[1]: found ""'),
    (["--task", "regression", "--quantiles", "0.9,0.1"], "quantiles must increase"),
    (["--task", "self_supervised", "--batch-size", "2.5"], "facts.batch_size: found 2.5"),
    (["--task", "vae", "--disentangled", "--code-ignored"], "facts.code_ignored: found true"),
    (["--task", "binary", "--imbalanse", "5"], "No such option"),
    (["--imbalance", "5"], "Missing option '--task'"),
]  # fmt: skip


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_bad_input_is_wrong_usage(arguments: list[str], words: str) -> None:
    done = talweg(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert words in done.err


@pytest.mark.usefixtures("at_service")
def test_servers_refusals_read_as_the_clients_own() -> None:
    done = talweg("--task", "binary", "--metric", "iou", "--noisy-labels", "0.7")
    assert done.status == 2
    assert "2 problems" in done.err
    assert "facts.metric: found iou under task binary; allowed one of accuracy, f1" in done.err
    assert "facts.noisy_labels: found 0.7; allowed a number < 0.5" in done.err


@pytest.mark.usefixtures("alone")
def test_help_explains_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", "--help"]) == 0
    text = capsys.readouterr().out
    for fact in facts():
        assert f"--{fact.name.replace('_', '-')}" in text
    assert "multitask" in text
