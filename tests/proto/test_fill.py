"""Defaults made explicit."""

from typing import Any

import pytest
from google.protobuf.message import Message
from tests.proto.specs import OWN_DATA, base, classes, random_spec

from talweg.spec import (
    check_message,
    complete,
    datasets,
    fill,
    fill_message,
    from_dict,
    to_dict,
)
from talweg.spec.fields import Type, descriptor_of, fields
from talweg.v1.losses_pb2 import Loss, Vae
from talweg.v1.models_pb2 import Model
from talweg.v1.options_pb2 import VAE
from talweg.v1.spec_pb2 import JobSpec


def test_every_default_of_a_job() -> None:
    filled = to_dict(fill(from_dict(base(optimizer=None, training=None, loss="huber"))))
    assert filled == {
        "experiment": "default",
        "priority": 0,
        "task": {"regression": {}},
        "dataset": {"diabetes": {}},
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "stratified": False, "seed": 0},
        "preprocessing": {"standardise_inputs": True, "standardise_targets": True},
        "model": {
            "mlp": {
                "hidden": [64, 64], "nonlinearity": "relu", "dropout": 0.0, "batch_norm": False,
            }
        },
        "loss": {"huber": {"delta": 1.0, "reduction": "mean"}},
        "optimizer": {
            "adamw": {
                "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
                "weight_decay": 0.01,
            }
        },
        "schedule": {"constant": {"warmup_steps": 0}},
        "training": {
            "epochs": 20, "batch_size": 32, "seed": 0, "accumulation": 1,
            "evaluation_batch_size": 256, "evaluate_every_epochs": 1, "guard": {"fail": {}},
            "checkpoints": {"every_seconds": 20, "keep_best": False}, "precision": "fp32",
            "channels_last": False,
            "spikes": {"warn": {"window": 64, "threshold": 8.0, "max_growth": 1e4}},
        },
        "resources": {"device": "auto", "processes": 1},
        "outputs": {"model": True, "plots": True, "checkpoint": True},
    }  # fmt: skip


# message, its JSON form, what fill makes of it
PARTS: list[tuple[type[Message], Any, Any]] = [
    (Loss, "mse", {"mse": {"reduction": "mean"}}),
    (
        Loss,
        {"sum": {"terms": [{"loss": "huber"}, {"loss": "mse", "weight": 0}]}},
        {
            "sum": {
                "terms": [
                    {"loss": {"huber": {"delta": 1.0, "reduction": "mean"}}, "weight": 1.0},
                    {"loss": {"mse": {"reduction": "mean"}}, "weight": 0.0},
                ]
            }
        },
    ),
    # What absence means 'none' for stays absent.
    (Loss, "focal", {"focal": {"gamma": 2.0, "ignore_index": -100, "reduction": "mean"}}),
    (Loss, "bce_with_logits", {"bce_with_logits": {"reduction": "mean"}}),
    (
        Loss,
        "asymmetric_multilabel",
        {
            "asymmetric_multilabel": {
                "gamma_neg": 4.0, "gamma_pos": 1.0, "clip": 0.05, "reduction": "mean",
            }
        },
    ),
    (
        Model,
        {"sequential": {"layers": ["linear", "max_pool2d", "relu"]}},
        {
            "sequential": {
                "layers": [
                    {"linear": {"bias": True}}, {"max_pool2d": {"kernel_size": 2}}, {"relu": {}},
                ]
            }
        },
    ),
    (Loss, {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("message_type", "value", "expected"), PARTS)
def test_parts(message_type: type[Message], value: Any, expected: Any) -> None:
    assert to_dict(fill_message(from_dict(value, message_type))) == expected


# spec, stratified, standardise_targets
BY_TASK: list[tuple[dict[str, Any], bool, bool]] = [
    (base(), False, True),
    (base(loss="poisson_nll"), False, False),
    (base(loss={"sum": {"terms": [{"loss": "mse"}, {"loss": "poisson_nll"}]}}), False, False),
    (base(preprocessing={"standardise_targets": False}), False, False),
    (base(split={"stratified": True}), True, True),
    (classes(), True, False),
    (classes(split={"stratified": False}), False, False),
    (base(task="binary", dataset="breast_cancer", loss="bce_with_logits"), True, False),
    (base(task="multilabel", dataset="synthetic_multilabel", loss="focal_binary"), False, False),
    (base(task="ordinal", loss="coral"), False, False),
]


@pytest.mark.parametrize(("value", "stratified", "standardised"), BY_TASK)
def test_defaults_by_task(value: dict[str, Any], stratified: bool, standardised: bool) -> None:
    filled = fill(from_dict(value))
    assert filled.split.HasField("stratified")
    assert filled.preprocessing.HasField("standardise_targets")
    assert filled.split.stratified == stratified
    assert filled.preprocessing.standardise_targets == standardised


@pytest.mark.parametrize("training", [{"steps": 7}, {"epochs": 3}])
def test_a_length_that_is_given_stays(training: dict[str, int]) -> None:
    filled = to_dict(fill(from_dict(base(training=training))))["training"]
    assert {k: v for k, v in filled.items() if k in ("steps", "epochs")} == training


def test_an_empty_spec_is_filled_as_far_as_it_goes() -> None:
    filled = fill(JobSpec())
    assert filled.optimizer.WhichOneof("kind") == "adamw"
    assert not filled.HasField("loss")
    assert not filled.split.HasField("stratified")


def test_an_empty_choice_takes_the_default_too() -> None:
    assert fill(from_dict({"optimizer": {}})).optimizer.WhichOneof("kind") == "adamw"


@pytest.mark.parametrize("seed", range(200))
def test_filling_keeps_what_is_given_and_leaves_nothing_open(seed: int) -> None:
    spec = random_spec(seed)
    before = spec.SerializeToString(deterministic=True)
    filled = fill(spec)
    assert spec.SerializeToString(deterministic=True) == before
    assert fill(filled) == filled
    _assert_kept(spec, filled)
    _assert_complete(filled)


def _assert_kept(given: Message, filled: Message) -> None:
    for descriptor, value in given.ListFields():
        other = getattr(filled, descriptor.name)
        field = fields(descriptor_of(given))[descriptor.name]
        if field.type is not Type.MESSAGE:
            assert value == other
        elif field.is_list:
            assert len(value) == len(other)
            for item, filled_item in zip(value, other, strict=True):
                _assert_kept(item, filled_item)
        else:
            _assert_kept(value, other)


def _assert_complete(message: Message) -> None:
    for field in fields(descriptor_of(message)).values():
        has_default = field.default is not None or field.fill
        if has_default and not field.oneof and not field.is_list:
            assert message.HasField(field.name), field.descriptor.full_name
        if has_default and field.is_list:
            assert getattr(message, field.name), field.descriptor.full_name
    for descriptor, value in message.ListFields():
        field = fields(descriptor_of(message))[descriptor.name]
        if field.type is Type.MESSAGE:
            for item in value if field.is_list else [value]:
                _assert_complete(item)


@pytest.mark.parametrize("seed", range(0, 200, 4))
def test_defaults_are_within_their_bounds(seed: int) -> None:
    assert check_message(fill(random_spec(seed)), path="") == []


@pytest.mark.parametrize(
    "dataset", [e.name for e in datasets() if VAE in e.facts.tasks and e.name not in OWN_DATA]
)
@pytest.mark.parametrize("loss", ["vae", {"sum": {"terms": [{"loss": {"vae": {"beta": 4}}}]}}])
def test_samples_are_reconstructed_as_the_data_allow(dataset: str, loss: Any) -> None:
    parts = {"task": "vae", "dataset": dataset, "model": "autoencoder"}
    filled, violations, _ = complete(from_dict({**parts, "loss": loss}))
    message = filled.loss.vae if loss == "vae" else filled.loss.sum.terms[0].loss.vae
    assert Vae.Recon.Name(message.recon) == ("bce_logits" if dataset == "digits" else "gaussian")
    assert not violations
    assert fill(filled) == filled
    given = fill(from_dict({**parts, "loss": {"vae": {"recon": "mse"}}}))
    assert given.loss.vae.recon == Vae.mse


def test_every_data_set_of_samples_says_whether_they_are_in_the_unit_range() -> None:
    for entry in datasets():
        if VAE in entry.facts.tasks and entry.name not in OWN_DATA:
            assert entry.facts.HasField("in_unit_range"), entry.name
