"""What MLflow shows of a run: parameters, tags, names, and a description."""

from typing import Any

import pytest

from talweg.spec import fill, from_dict
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.environment import environment
from talweg.worker.tracking.outputs.labels import (
    cut,
    description,
    job_tags,
    model_name,
    model_params,
    parameters,
)


def job(**fields: Any) -> JobSpec:
    return fill(
        from_dict(
            {
                "task": "regression",
                "dataset": "diabetes",
                "model": "mlp",
                "loss": {"huber": {"delta": 2}},
                **fields,
            }
        )
    )


def test_a_cut_is_marked() -> None:
    assert cut("123456", 6) == "123456"
    assert cut("1234567", 6) == "12345…"


def test_parameters_leave_out_what_says_nothing() -> None:
    params = parameters(job(tags={"team": "blue"}))
    assert params["loss.huber.delta"] == "2"
    assert not any("reduction" in name or name.startswith("tags.") for name in params)
    summed = parameters(job(loss={"huber": {"reduction": "sum"}}))
    assert summed["loss.huber.reduction"] == "sum"


def test_patterns_are_no_names_of_parameters() -> None:
    params = parameters(job(freeze=["conv*"], learning_rates={"linear?": 2, "[ab]*": 0.1}))
    assert params["freeze"] == "[conv*]"
    assert params["learning_rates"] == "[ab]*: 0.1, linear?: 2"
    assert not any(set(name) & set("*?[]") for name in params)


def test_tags_that_mlflow_would_refuse_or_that_are_others_stay_out() -> None:
    tags = {
        "team": "blue",
        "a/b": "x",
        "a//b": "x",
        "../a": "x",
        "mlflow.user": "x",
        "talweg.job": "x",
    }
    assert job_tags(job(tags=tags)) == {"team": "blue", "a/b": "x"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [("lr 0.5: 50%", "lr 0-5- 50"), ("a/b", "a-b"), ("...", "model"), ("x" * 300, "x" * 200)],
)
def test_a_models_name_is_one_that_mlflow_takes(given: str, expected: str) -> None:
    assert model_name(job(display_name=given)) == expected


def test_a_models_parameters_tell_it_from_others() -> None:
    params = model_params(job(training={"seed": 7}))
    assert params == {
        "task": "regression",
        "dataset": "diabetes",
        "model": "mlp",
        "loss": "huber delta=2",
        "seed": "7",
    }


def test_a_description_has_result_baseline_and_warnings() -> None:
    results = {"test/mae": (9, 0, 44.2741), "trivial/mae": (0, 0, 64.1)}
    text = description(job(), results, ["odd *data*", "odd *data*"], "")
    assert "test/mae **44.274** (trivial predictor: 64.1)" in text
    assert text.count("odd") == 1
    assert r"- odd \*data\*" in text


def test_nothing_in_a_description_is_markup() -> None:
    text = description(
        job(), {}, ["[x](javascript:alert(1))", "<img src=x>"], "FAILED: `rm`\n# no"
    )
    assert r"\[x\]" in text
    assert "<" not in text.replace(r"\<", "")
    assert "\n#" not in text


def test_the_environment_names_versions_and_the_device() -> None:
    facts = environment("cpu")
    assert {"version", "torch", "python", "device"} <= facts.keys()
    assert "cuda" not in facts
    assert all(facts.values())


def test_stored_data_are_named_with_their_version() -> None:
    digest = "1a2b3c4d" * 8
    stored = {"name": "datasets/houses@1a2b3c4d", "target": "price", "digest": digest}
    spec = job(dataset={"stored": {**stored, "facts": {"num_samples": 9, "shape": [3]}}})
    params = parameters(spec)
    assert params["dataset"] == "houses@1a2b3c4d"
    assert params["dataset.stored.target"] == "price"
    assert not any(
        name.startswith(("dataset.stored.facts", "dataset.stored.d")) for name in params
    )
    assert model_params(spec)["dataset"] == "houses@1a2b3c4d"
    assert "on houses@1a2b3c4d: mlp" in description(spec, {}, [], "")
