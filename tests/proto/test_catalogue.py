"""The catalogue is complete, says what the options say, and its page is up to date."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tests.proto.specs import OWN_DATA, messages_below

from talweg.spec import datasets, losses, models, optimizers, tasks
from talweg.spec.catalogue.comments import comment
from talweg.spec.catalogue.markdown import render
from talweg.spec.fields import Type, choices, fields, shorthand, title
from talweg.spec.semantics.dataset_facts import dataset_facts
from talweg.spec.semantics.facts import (
    loss_facts,
    model_facts,
    optimizer_facts,
    task_facts,
)
from talweg.spec.semantics.outputs import MODEL_GIVES, kinds_of
from talweg.v1 import options_pb2
from talweg.v1.datasets_pb2 import Dataset
from talweg.v1.losses_pb2 import Loss
from talweg.v1.models_pb2 import Model
from talweg.v1.optimizers_pb2 import Optimizer, Schedule
from talweg.v1.options_pb2 import OutputFacts, TaskKind
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning, Task

ALL = list(messages_below(JobSpec.DESCRIPTOR))
CHOICES = [message for message in ALL if choices(message)]


def members(choice: Descriptor) -> Iterator[tuple[str, Descriptor]]:
    for name in choices(choice):
        message = fields(choice)[name].message
        assert message is not None
        yield name, message


@pytest.mark.parametrize(("name", "message"), list(members(Loss.DESCRIPTOR)))
def test_facts_of_losses(name: str, message: Descriptor) -> None:
    facts = loss_facts(message)
    assert facts.tasks
    assert options_pb2.TASK_KIND_UNSPECIFIED not in facts.tasks
    assert facts.inputs
    assert facts.when
    assert facts.reference
    if facts.prefer:
        assert facts.prefer in choices(Loss.DESCRIPTOR)
        assert facts.prefer != name
    assert not facts.groups or facts.groups in MetricLearning.Given.keys()
    assert not facts.positive_weight or fields(message)[facts.positive_weight].type is Type.NUMBER


@pytest.mark.parametrize(("name", "message"), list(members(Loss.DESCRIPTOR)))
def test_every_loss_by_which_jobs_train_says_what_the_outputs_are(
    name: str, message: Descriptor
) -> None:
    facts = loss_facts(message)
    output, known = facts.output, fields(message)
    assert facts.HasField("output") != bool(facts.only_evaluated)
    if facts.only_evaluated:
        return
    assert kinds_of(output) <= MODEL_GIVES.keys()
    for case in output.cases:
        field = known[case.parameter]
        assert case.value in (field.names if field.type is Type.CHOICE else ("true", "false"))
    if output.quantiles:
        assert known[output.quantiles].type is Type.NUMBER
    if output.kind == OutputFacts.QUANTILES:
        assert known[output.quantiles].is_list
    # Such a loss says by itself how long the vectors are, and what their cosines are scaled by.
    embeds = output.kind == OutputFacts.CLASS_EMBEDDING
    assert embeds == ("embedding_size" in known)
    assert not embeds or "scale" in known


def test_every_kind_of_output_is_told_in_words() -> None:
    assert set(MODEL_GIVES) == set(OutputFacts.Kind.values()) - {OutputFacts.KIND_UNSPECIFIED}


@pytest.mark.parametrize(("name", "message"), list(members(Task.DESCRIPTOR)))
def test_facts_of_tasks(name: str, message: Descriptor) -> None:
    facts = task_facts(message)
    assert TaskKind.Name(facts.kind) == name.upper()
    assert facts.data
    assert facts.output
    assert facts.outputs.WhichOneof("kind")
    assert facts.when
    metrics = [metric.name for metric in facts.metrics]
    # A multitask job has those of its heads.
    assert metrics or name == "multitask"
    assert len(set(metrics)) == len(metrics)
    assert all(metric.goal and metric.meaning for metric in facts.metrics)


def test_every_task_has_a_kind_of_its_own() -> None:
    kinds = {task_facts(message).kind for _, message in members(Task.DESCRIPTOR)}
    assert kinds <= set(TaskKind.values()) - {options_pb2.TASK_KIND_UNSPECIFIED}
    # Others are kinds of losses so far: jobs of these tasks cannot be written yet.
    assert len(kinds) == len(choices(Task.DESCRIPTOR))


@pytest.mark.parametrize(("name", "message"), list(members(Model.DESCRIPTOR)))
def test_facts_of_models(name: str, message: Descriptor) -> None:
    facts = model_facts(message)
    assert facts.input
    assert not (facts.images and facts.vectors)
    assert facts.when
    assert facts.reference


@pytest.mark.parametrize(("name", "message"), list(members(Optimizer.DESCRIPTOR)))
def test_facts_of_optimizers(name: str, message: Descriptor) -> None:
    facts = optimizer_facts(message)
    assert facts.when
    assert facts.reference
    # The default itself must bring no warning.
    default = fields(message)["learning_rate"].default
    assert isinstance(default, float)
    assert 0 < default <= facts.usual_rate_max


@pytest.mark.parametrize(("name", "message"), list(members(Dataset.DESCRIPTOR)))
def test_facts_of_datasets(name: str, message: Descriptor) -> None:
    facts = dataset_facts(message)
    assert facts.tasks
    assert facts.description
    assert facts.reference
    if name in OWN_DATA:
        # All else is known once the data are.
        assert set(facts.tasks) == set(TaskKind.values()) - {TaskKind.TASK_KIND_UNSPECIFIED}
        return
    assert facts.num_samples or "num_samples" in fields(message)
    assert facts.shape or "num_features" in fields(message)
    has_numbers = options_pb2.REGRESSION in facts.tasks
    assert has_numbers or facts.num_classes or "num_classes" in fields(message)


@pytest.mark.parametrize(
    "name", [name for name, message in members(Dataset.DESCRIPTOR)
             if dataset_facts(message).num_samples],
)  # fmt: skip
def test_facts_of_bundled_data_are_true(name: str) -> None:
    from sklearn import datasets as bundled

    facts = dataset_facts(dict(members(Dataset.DESCRIPTOR))[name])
    data = getattr(bundled, f"load_{name}")()
    assert len(data.data) == facts.num_samples
    assert math.prod(facts.shape) == data.data.shape[1]
    numbers = options_pb2.REGRESSION in facts.tasks
    assert facts.num_classes == (0 if numbers else len(data.target_names))


@pytest.mark.parametrize("choice", CHOICES, ids=[choice.name for choice in CHOICES])
def test_every_member_is_explained(choice: Descriptor) -> None:
    assert comment(choice.full_name)
    for name, message in members(choice):
        assert comment(message.full_name), name


@pytest.mark.parametrize("message", ALL, ids=[message.name for message in ALL])
def test_every_field_is_explained(message: Descriptor) -> None:
    for field in fields(message).values():
        held = field.message.full_name if field.message else ""
        around = field.enum.containing_type if field.enum else None
        explained = (
            comment(field.descriptor.full_name)
            or comment(held)
            or (around is not None and comment(around.full_name))
        )
        assert explained, field.descriptor.full_name


def rules(field: FieldDescriptor) -> set[str]:
    options = field.GetOptions()
    known = ("number", "text", "flag", "items", "part")
    return {name for name in known if options.HasExtension(getattr(options_pb2, name))}


@pytest.mark.parametrize("message", ALL, ids=[message.name for message in ALL])
def test_every_rule_suits_its_field(message: Descriptor) -> None:
    allowed = {
        Type.NUMBER: {"number"},
        Type.INTEGER: {"number"},
        Type.TEXT: {"text"},
        Type.FLAG: {"flag"},
        Type.MESSAGE: {"part"},
        Type.CHOICE: set(),
    }
    for field in fields(message).values():
        name = field.descriptor.full_name
        several = field.is_list or field.is_map
        given = rules(field.descriptor)
        assert given <= allowed[field.type] | ({"items"} if several else set()), name
        if field.type is Type.MESSAGE and field.default is not None:
            assert field.message is not None
            assert field.default in choices(field.message), name
        if field.type in (Type.NUMBER, Type.INTEGER) and field.default is not None:
            default: Any = field.default
            for value in default if field.is_list else [default]:
                assert field.bounds.allow(value), name
        if several and field.max_items is not None:
            assert field.min_items <= field.max_items, name
        # A default that a member of a oneof cannot be told from absence would never be seen.
        assert field.has_presence or several, f"{name} must be optional"
    if shorthand(message):
        assert shorthand(message) in fields(message)


def test_losses_by_task() -> None:
    everything = [entry.name for entry in losses()]
    assert everything == list(choices(Loss.DESCRIPTOR))
    binary = [entry.name for entry in losses("binary")]
    assert binary[:3] == ["bce_with_logits", "bce", "focal_binary"]
    assert binary[-3:] == ["sum", "expression", "plugin"]
    assert [entry.name for entry in losses("")] == everything
    expected = "task must be one of regression, .* but got \"binry\"; did you mean 'binary'?"
    with pytest.raises(ValueError, match=expected):
        losses("binry")


def test_an_entry_in_full() -> None:
    entry = next(entry for entry in losses() if entry.name == "huber")
    assert entry.description.startswith("Huber loss: e²/2 up to delta")
    assert entry.facts.when == "Some outliers, while large errors still matter"
    delta, reduction = entry.parameters
    assert (delta.name, delta.type, delta.default, delta.allowed) == (
        "delta",
        "number",
        "1",
        "> 0, <= 1000000000",
    )
    assert delta.description.startswith("Transition from quadratic to linear")
    assert (reduction.type, reduction.default) == ("one of", '"mean"')
    assert reduction.allowed == "mean, sum, none"
    assert reduction.description == "How per-sample losses are reduced to one value."


def test_parameters_of_every_form() -> None:
    by_name = {
        f"{entry.name}.{parameter.name}": parameter
        for entries in (losses(), models(), datasets(), optimizers(), tasks())
        for entry in entries
        for parameter in entry.parameters
    }
    hidden = by_name["mlp.hidden"]
    assert (hidden.type, hidden.default) == ("list of integer", "[64, 64]")
    assert hidden.allowed == ">= 1, <= 65536; 0 to 64 items"
    assert by_name["sum.terms"].type == "list of Term"
    assert by_name["sum.terms"].allowed == "1 to 20 items"
    assert by_name["cross_entropy.weight"].type == "ClassWeights"
    assert by_name["cross_entropy.weight"].default == ""
    assert by_name["poisson_nll.log_input"].type == "boolean"
    assert by_name["poisson_nll.log_input"].default == "true"
    assert by_name["focal.ignore_index"].default == "-100"
    assert by_name["adamw.eps"].default == "1e-08"
    assert by_name["binary.threshold"].allowed == "> 0, < 1"
    assert by_name["expression.formula"].allowed == "at most 2000 characters; required"
    assert by_name["expression.params"].type == "object of number"
    assert by_name["plugin.parameters"].type == "object"
    assert by_name["plugin.parameters"].default == "{}"


def test_tasks_name_their_losses_and_metrics() -> None:
    by_name = {entry.name: entry for entry in tasks()}
    assert list(by_name) == list(choices(Task.DESCRIPTOR))
    assert "huber" in by_name["regression"].losses
    assert "huber" not in by_name["binary"].losses
    assert [metric.name for metric in by_name["regression"].facts.metrics][0] == "mae"


def test_entries_of_the_rest() -> None:
    assert [entry.name for entry in models()] == list(choices(Model.DESCRIPTOR))
    assert [entry.name for entry in datasets()] == list(choices(Dataset.DESCRIPTOR))
    assert [entry.name for entry in optimizers()] == list(choices(Optimizer.DESCRIPTOR))
    digits = next(entry for entry in datasets() if entry.name == "digits")
    assert list(digits.facts.shape) == [1, 8, 8]


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "catalogue.md"
    assert page.read_text(encoding="utf-8") == render(), "run `make proto`"


def test_the_page_tells_everything() -> None:
    page = render()
    headings = set(re.findall(r"^### (?:.*\(`(\w+)`\)|(\w+))$", page, re.MULTILINE))
    headed = {name for pair in headings for name in pair}
    for choice in CHOICES:
        assert headed >= set(choices(choice))
    for message in ALL:
        for name in fields(message):
            assert f"`{name}`" in page or name in headed
    # A part is told of where models have it, with links to what it may be.
    trunk = page.partition('<a id="part-trunk"></a>')[2].partition("###")[2].partition("###")[0]
    assert "[`mlp`](#model-mlp), [`convnet`](#model-convnet), [`resnet`](#model-resnet)" in trunk


@pytest.mark.parametrize(
    "choice",
    [message.DESCRIPTOR for message in (Loss, Task, Model, Optimizer, Schedule)],
    ids=lambda choice: str(choice.name),
)
def test_headings_have_the_standard_terms(choice: Descriptor) -> None:
    terms = [title(message) for _, message in members(choice)]
    assert all(terms)
    assert len(set(terms)) == len(terms)
    page = render()
    for term in ("Object detection (`detection`)", "Early stopping (`EarlyStopping`)"):
        assert f"### {term}\n" in page
