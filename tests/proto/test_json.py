"""Between messages and their JSON form."""

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.proto.specs import base, random_spec, refused

from talweg.spec import SpecError, Violation, from_dict, to_dict
from talweg.v1.jobs_pb2 import Job
from talweg.v1.losses_pb2 import (
    BoxLoss,
    ClassLoss,
    ClassWeights,
    CrossEntropy,
    Detection,
    Distance,
    EffectiveNumberWeights,
    Focal,
    Huber,
    Loss,
    MultiQuantile,
    OnlineTriplet,
    SmoothL1,
    TripletAverage,
    Uncertainty,
)
from talweg.v1.spec_pb2 import JobSpec, Training

# value of the loss, the message it means
FORMS: list[tuple[Any, Loss]] = [
    ("mse", from_dict({"mse": {}}, Loss)),
    ({"huber": {"delta": 2}}, Loss(huber=Huber(delta=2.0))),
    ({"huber": {"delta": None}}, Loss(huber=Huber())),
    ({"huber": {"reduction": "sum"}}, Loss(huber=Huber(reduction=1))),  # type: ignore[arg-type]
    ({"mse": None, "huber": {}}, Loss(huber=Huber())),
    ({"cross_entropy": {"ignore_index": 5.0}}, Loss(cross_entropy=CrossEntropy(ignore_index=5))),
    (
        {"cross_entropy": {"weight": [1, 2]}},
        from_dict({"cross_entropy": {"weight": {"values": [1.0, 2.0]}}}, Loss),
    ),
    ({"cross_entropy": {"weight": "balanced"}},
     from_dict({"cross_entropy": {"weight": {"balanced": {}}}}, Loss)),
    ({"focal": {"alpha": {"effective_number": {"beta": 0.9}}}},
     Loss(focal=Focal(alpha=ClassWeights(
         effective_number=EffectiveNumberWeights(beta=0.9))))),
    ({"online_triplet": {"strategy": "all", "average": "all", "distance": "cosine"}},
     Loss(online_triplet=OnlineTriplet(
         strategy=OnlineTriplet.all, average=TripletAverage.all, distance=Distance.cosine))),
    ({"uncertainty": {"task_types": ["classification", "regression"]}},
     Loss(uncertainty=Uncertainty(
         task_types=[Uncertainty.classification, Uncertainty.regression]))),
    ({"detection": {"class_loss": "cross_entropy", "box_loss": {"smooth_l1": {"beta": 0.1}}}},
     Loss(detection=Detection(
         class_loss=ClassLoss(cross_entropy=CrossEntropy()),
         box_loss=BoxLoss(smooth_l1=SmoothL1(beta=0.1))))),
    ({"multi_quantile": {"quantiles": (0.1, 0.9)}},
     Loss(multi_quantile=MultiQuantile(quantiles=[0.1, 0.9]))),
    ({"sum": {"terms": [{"loss": "mse"}]}},
     from_dict({"sum": {"terms": [{"loss": {"mse": {}}}]}}, Loss)),
    (Loss(huber=Huber(delta=3)), Loss(huber=Huber(delta=3))),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), FORMS, ids=[str(f[0])[:50] for f in FORMS])
def test_forms_of_a_loss(value: Any, expected: Loss) -> None:
    loss = from_dict(value, Loss)
    assert loss == expected
    assert loss.WhichOneof("kind") is not None


# change of a spec, field, found, part of allowed, hint
MISTAKES: list[tuple[dict[Any, Any], str, str, str, str]] = [
    ({"loss": "hubr"}, "loss", '"hubr"', "one of huber, … (", "did you mean 'huber'?"),
    ({"loss": {"hubr": {}}}, "loss.hubr", '"hubr"', "`talweg losses` lists",
     "did you mean 'huber'?"),
    ({"loss": {"HUBER": {}}}, "loss.HUBER", '"HUBER"', "one of huber, …", "did you mean 'huber'?"),
    ({"loss": {"huber": {"delat": 1}}}, "loss.huber.delat", '"delat"', "one of delta, reduction",
     "did you mean 'delta'?"),
    ({"loss": {"huber": {"delta": "1"}}}, "loss.huber.delta", '"1"', "a number > 0",
     "write it without quotes"),
    ({"loss": {"huber": {"delta": "one"}}}, "loss.huber.delta", '"one"', "a number > 0", ""),
    ({"loss": {"huber": {"delta": True}}}, "loss.huber.delta", "true", "a number > 0", ""),
    ({"loss": {"huber": {"delta": float("nan")}}}, "loss.huber.delta", "nan", "a number > 0",
     "numbers must be finite"),
    ({"loss": {"huber": {"delta": float("inf")}}}, "loss.huber.delta", "inf", "a number > 0",
     "numbers must be finite"),
    ({"loss": {"huber": {"delta": 10**400}}}, "loss.huber.delta", "an integer of 1329 bits",
     "a number > 0", ""),
    ({"loss": {"huber": {"delta": [1]}}}, "loss.huber.delta", "a list of 1", "a number > 0", ""),
    ({"loss": {"huber": {"reduction": "avg"}}}, "loss.huber.reduction", '"avg"',
     "one of mean, sum, none", ""),
    ({"loss": {"huber": {"reduction": "Mean"}}}, "loss.huber.reduction", '"Mean"',
     "one of mean, sum, none", "did you mean 'mean'?"),
    ({"loss": {"huber": {"reduction": 1}}}, "loss.huber.reduction", "1", "one of mean", ""),
    ({"loss": {"huber": 2}}, "loss.huber", "2", "an object (delta, reduction)", ""),
    ({"loss": {"mse": {}, "mae": {}}}, "loss.mae", "both mse and mae", "only one of mse", ""),
    ({"loss": {"type": "huber"}}, "loss.type", '"type"', "one of mse",
     "use the member's name as the field: {huber: {…}}"),
    ({"loss": {"delta": 1}}, "loss.delta", '"delta"', "one of mse", "did you mean huber.delta?"),
    ({"loss": {"cross_entropy": {"weight": [1, "2"]}}}, "loss.cross_entropy.weight.values[1]",
     '"2"', "a number >= 0", "write it without quotes"),
    ({"loss": {"sum": {"terms": [{"loss": "mse"}, {"los": "mse"}]}}}, "loss.sum.terms[1].los",
     '"los"', "one of loss, weight", "did you mean 'loss'?"),
    ({"loss": {"sum": {"terms": [None]}}}, "loss.sum.terms[0]", "nothing", "an object", ""),
    ({"loss": {"sum": {"terms": {"loss": "mse"}}}}, "loss.sum.terms", "an object of 1 fields",
     "a list", "enclose it in [ ]"),
    ({"epochs": 5}, "epochs", '"epochs"', "one of display_name", "did you mean training.epochs?"),
    ({"traning": {}}, "traning", '"traning"', "one of display_name", "did you mean 'training'?"),
    ({5: 1}, "5", "5", "one of display_name", ""),
    ({"training": {"epochs": 1, "steps": 2}}, "training.steps", "both epochs and steps",
     "only one of epochs, steps", ""),
    ({"training": {"batch_size": 1.5}}, "training.batch_size", "1.5", "an integer >= 1", ""),
    ({"training": {"batch_size": False}}, "training.batch_size", "false", "an integer", ""),
    ({"training": {"seed": -1}}, "training.seed", "-1", "an integer >= 0, <= 4294967295", ""),
    ({"training": {"seed": 2**32}}, "training.seed", "4294967296", "<= 4294967295", ""),
    ({"training": {"seed": float("inf")}}, "training.seed", "inf", "an integer",
     "numbers must be finite"),
    ({"training": {"seed": float("nan")}}, "training.seed", "nan", "an integer",
     "numbers must be finite"),
    ({"priority": 2**31}, "priority", "2147483648", "an integer >= -1000, <= 1000", ""),
    ({"split": {"stratified": "yes"}}, "split.stratified", '"yes"', "true or false", "write true"),
    ({"split": {"stratified": 1}}, "split.stratified", "1", "true or false", ""),
    ({"split": [0.6, 0.2]}, "split", "a list of 2", "an object (train, validation", ""),
    ({"model": {"mlp": {"hidden": 64}}}, "model.mlp.hidden", "64", "a list, each an integer >= 1",
     "enclose it in [ ]"),
    ({"model": {"mlp": {"hidden": [64, "x"]}}}, "model.mlp.hidden[1]", '"x"', "an integer", ""),
    ({"model": {"mlp": {"hidden": [64, None]}}}, "model.mlp.hidden[1]", "nothing", "an integer",
     ""),
    ({"model": {"mlp": {"hidden": []}}}, "model.mlp.hidden", "an empty list", "at least 1 item",
     "leave it out for [64, 64]"),
    ({"model": {"sequential": {"layers": [{"conv2d": {"strid": 2}}]}}},
     "model.sequential.layers[0].conv2d.strid", '"strid"', "one of out_channels",
     "did you mean 'stride'?"),
    ({"tags": {"run": 5}}, "tags.run", "5", "text of at most 200 characters", "put it in quotes"),
    ({"tags": {5: "a"}}, "tags", "5", "text as a name", "put it in quotes"),
    ({"tags": ["a"]}, "tags", "a list of 1", "an object, each value text", ""),
    ({"display_name": "\ud800"}, "display_name", '"\ud800"', "text", ""),
    ({"resources": {"device": "\ud800"}}, "resources.device", '"\ud800"', "one of auto", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field", "found", "allowed", "hint"),
    MISTAKES,
    ids=[str(m[0])[:60] for m in MISTAKES],
)
def test_each_mistake_is_explained(
    change: dict[Any, Any], field: str, found: str, allowed: str, hint: str
) -> None:
    (violation,) = refused({**base(), **change})
    assert (violation.field, violation.found) == (field, found)
    assert allowed in violation.allowed
    assert violation.hint == hint


def test_misspelt_names_do_not_hide_bounds() -> None:
    spec = {
        "loss": {"huber": {"delta": -1}},
        "model": {"mlp": {"hiddn": [8]}},
        "optimizer": {"sgd": {"learning_rate": 0}},
        "task": "regresion",
    }
    with pytest.raises(SpecError) as refused:
        from_dict(spec)
    assert {violation.field for violation in refused.value.violations} == {
        "loss.huber.delta",
        "model.mlp.hiddn",
        "optimizer.sgd.learning_rate",
        "task",
    }


def test_all_mistakes_at_once() -> None:
    violations = refused(
        {
            "task": "regresion",
            "loss": {"huber": {"delta": "x", "reduction": "y"}},
            "model": {"mlp": {"hidden": [1, "2", 3, "4"]}},
            "unknown": 1,
        }
    )
    assert [v.field for v in violations] == [
        "task", "loss.huber.delta", "loss.huber.reduction", "model.mlp.hidden[1]",
        "model.mlp.hidden[3]", "unknown",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [None, 5, [], "mse"])
def test_what_is_no_object(value: object) -> None:
    (violation,) = refused(value)
    assert violation.field == ""
    assert "an object (display_name" in violation.allowed


def test_bottomless_values_end() -> None:
    bottomless: dict[str, Any] = {}
    bottomless["sum"] = {"terms": [{"loss": bottomless}]}
    (violation,) = refused(base(loss=bottomless))
    assert violation.allowed == "at most 50 levels"


def test_found_is_short() -> None:
    (violation,) = refused(base(loss={"huber": {"delta": "x" * 10_000}}))
    assert len(violation.found) <= 80


def test_error_lists_every_violation_on_a_line() -> None:
    with pytest.raises(SpecError) as caught:
        from_dict({"task": "regresion", "loss": {"huber": {"delta": "x"}}})
    lines = str(caught.value).splitlines()
    assert lines[0].startswith('task: found "regresion"; allowed one of regression, binary')
    assert lines[1] == 'loss.huber.delta: found "x"; allowed a number > 0, <= 1000000000.'


@pytest.mark.parametrize(
    "violation",
    [
        Violation("a.b", "-1", "a number > 0", ""),
        Violation("a.b", '"x; allowed y. z"', "one of a, b", "did you mean 'a'?"),
        Violation("", "1.5", "a number <= 0.5", "so 0.5. or less"),
        Violation("a", "", "", "something else"),
    ],
)
def test_description_is_read_back(violation: Violation) -> None:
    description = violation.description if violation.found else violation.hint
    assert Violation.from_description(violation.field, description) == violation


@pytest.mark.parametrize("seed", range(200))
def test_json_form_is_lossless(seed: int) -> None:
    spec = random_spec(seed)
    value = to_dict(spec)
    assert from_dict(value) == spec
    assert from_dict(json.loads(json.dumps(value))) == spec


def test_only_what_is_set_is_written() -> None:
    assert to_dict(from_dict(base())) == {
        "task": {"regression": {}},
        "dataset": {"diabetes": {}},
        "model": {"mlp": {"hidden": [64, 64]}},
        "loss": {"huber": {"delta": 1.0}},
        "optimizer": {"adamw": {"learning_rate": 0.003}},
        "training": {"epochs": 60, "batch_size": 32, "seed": 0},
    }


def test_zero_and_false_are_written_where_they_are_set() -> None:
    value = {"training": {"seed": 0}, "outputs": {"model": False}, "resources": {"device": "auto"}}
    assert to_dict(from_dict(value)) == value


def test_numpy_numbers_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    training = from_dict({"epochs": np.int64(5), "clip_norm": np.float32(0.5)}, Training)
    assert (training.epochs, training.clip_norm) == (5, 0.5)
    assert refused({"training": {"epochs": np.True_}})


def test_messages_of_the_service_have_a_json_form() -> None:
    job = Job(name="jobs/a", state=Job.SUCCEEDED, spec=from_dict(base()), attempt=2)
    job.create_time.CopyFrom(Timestamp(seconds=1_700_000_000))
    value = to_dict(job)
    assert value["state"] == "SUCCEEDED"
    assert value["create_time"] == "2023-11-14T22:13:20Z"
    assert from_dict(json.loads(json.dumps(value)), Job) == job
    with pytest.raises(SpecError, match='create_time: found "yesterday"; allowed a timestamp'):
        from_dict({"create_time": "yesterday"}, Job)


def test_path_stands_before_fields() -> None:
    with pytest.raises(SpecError, match=r"^loss\.huber\.delta: "):
        from_dict({"huber": {"delta": "x"}}, Loss, path="loss")


def test_absent_is_not_default() -> None:
    spec = from_dict({"loss": {"huber": {}}})
    assert not spec.loss.huber.HasField("delta")
    assert spec == JobSpec(loss=Loss(huber=Huber()))
