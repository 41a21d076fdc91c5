"""Starting weights, frozen parameters and rates by parameter: their form, rules and words."""

from typing import Any

import pytest
from tests.proto.specs import base

from talweg.spec import (
    Violation,
    check,
    check_continuation,
    continuation_changes,
    fill,
    from_dict,
    weights_lines,
)
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.weights_pb2 import TakenWeights

Entry = TakenWeights.Entry


def spec(**changes: Any) -> JobSpec:
    return fill(from_dict(base(**changes)))


def violations(**changes: Any) -> list[Violation]:
    return check(spec(**changes))[0]


def test_a_job_file_names_what_a_model_starts_from() -> None:
    assert spec(weights="jobs/a").weights.job == "jobs/a"
    for weights in ("jobs/a", {"stored": "trunk"}, {"stored": "trunk@0123abcd"}):
        assert (
            violations(weights=weights, freeze=["linear1"], learning_rates={"linear2": 0.1}) == []
        )


@pytest.mark.parametrize(
    ("changes", "field", "found", "allowed", "hint"),
    [
        ({"weights": {}}, "weights", "nothing", "one of job, stored, registry", ""),
        ({"weights": {"job": "a"}}, "weights.job", '"a"', "jobs/ID", ""),
        ({"weights": {"stored": "../a"}}, "weights.stored", '"../a"', "NAME or NAME@DIGEST", ""),
        ({"weights": {"registry": "a"}}, "weights.registry", '"a"', "NAME@ALIAS or", ""),
        (
            {"weights": {"job": "jobs/a", "stored": "b"}},
            "weights",
            "job and stored",
            "one of job, stored, registry",
            "",
        ),
        (
            {"weights": {"registry": "houses@champion"}},
            "weights.registry",
            "houses@champion",
            "weights.job or weights.stored",
            "talweg submit",
        ),
        (
            {"weights": "jobs/a", "continued_from": "jobs/b"},
            "weights",
            "beside continued_from",
            "one of them",
            "leave weights out",
        ),
        ({"freeze": ["*"]}, "freeze[0]", "freezes all parameters", "something to train", "layers"),
        ({"freeze": ["a", "**"]}, "freeze[1]", "freezes all", "something to train", ""),
        ({"freeze": [""]}, "freeze[0]", '""', "a pattern of 1 to 200", ""),
        ({"freeze": ["a", "a"]}, "freeze[1]", "twice", "each pattern once", ""),
        ({"freeze": ["a" * 201]}, "freeze[0]", "201 characters", "200", ""),
        ({"freeze": ["a"] * 101}, "freeze", "101 items", "100", ""),
        # An absolute rate is no factor.
        ({"learning_rates": {"a": 1e-4}}, "learning_rates.a", "0.0001", ">= 0.001", ""),
        ({"learning_rates": {"a": 0}}, "learning_rates.a", "0", ">= 0.001", ""),
        ({"learning_rates": {"a": 101}}, "learning_rates.a", "101", "<= 100", ""),
        ({"learning_rates": {"": 1}}, 'learning_rates.""', '""', "a pattern of 1 to 200", ""),
    ],
)
def test_what_is_refused(
    changes: dict[str, Any], field: str, found: str, allowed: str, hint: str
) -> None:
    (violation,) = violations(**changes)
    assert violation.field == field
    assert found in violation.found
    assert allowed in violation.allowed
    assert hint in violation.hint


def test_a_continued_job_may_change_rates_and_not_what_is_frozen() -> None:
    before = spec(weights="jobs/a", freeze=["linear1"], learning_rates={"linear2": 0.1})
    after = spec(
        continued_from="jobs/b",
        freeze=["linear1"],
        learning_rates={"linear2": 0.5},
        training={"epochs": 90},
    )
    assert check_continuation(before, after, Checkpoint(step=9, epoch=60)) == []
    changes = continuation_changes(before, after)
    assert changes["learning_rates.linear2"] == ("0.1", "0.5")
    assert not any(path.startswith("weights") for path in changes)
    after.freeze[:] = ["linear2"]
    (violation,) = check_continuation(before, after, Checkpoint(step=9, epoch=60))
    assert violation.field == "freeze"


def test_what_was_taken_in_words() -> None:
    taken = TakenWeights(source="datasets/trunk@" + "ab" * 32, num_taken=3, num_new=30)
    taken.num_unused = 1
    taken.tensors.add(
        name="head.weight", use=Entry.OTHER_SHAPE, file_shape=[10, 4], model_shape=[3, 4]
    )
    taken.tensors.add(name="head.bias", use=Entry.NOT_IN_FILE, model_shape=[3])
    taken.tensors.add(name="old.scale", use=Entry.NOT_IN_MODEL)
    taken.tensors.add(name="a.weight", use=Entry.TAKEN, file_shape=[2], model_shape=[2])
    assert weights_lines(taken) == [
        "weights of trunk@abababab: 3 of the model's 33 tensors were taken",
        "at random: head.weight (3, 4) ((10, 4) in the file), head.bias (3,) (not in the file) "
        "and 28 more",
        "not in the model: old.scale ()",
    ]
