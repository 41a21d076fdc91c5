"""Limits on a spec as a whole, and enum numbers that have no name."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from tests.proto.specs import base, messages_below

from talweg.spec import check, complete, fill, from_dict
from talweg.spec.checks.limits import MAX_SPEC_BYTES
from talweg.spec.errors import MAX_VIOLATIONS
from talweg.spec.fields import Field, fields
from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec

ALL = list(messages_below(JobSpec.DESCRIPTOR))
UNKNOWN = 99


def spec(**changes: Any) -> JobSpec:
    return from_dict(base(**changes))


def sums(loss: Loss, *sizes: int) -> None:
    """Make a sum of sums: so many terms on each level."""
    if not sizes:
        loss.mse.SetInParent()
    for _ in range(sizes[0] if sizes else 0):
        sums(loss.sum.terms.add().loss, *sizes[1:])


def with_sums(*sizes: int) -> JobSpec:
    given = spec()
    sums(given.loss, *sizes)
    return given


def with_formulas(number: int, chars: int) -> JobSpec:
    given = spec()
    for _ in range(number):
        given.loss.sum.terms.add().loss.expression.formula = "pred".ljust(chars)
    return given


def of_heads(number: int, terms: int) -> JobSpec:
    given = spec(task={"multitask": {"heads": [{"depth": {}}] * number}})
    for _ in range(number):
        sums(given.loss.uncertainty.losses.add(), terms)
    return given


def of_layers(number: int) -> JobSpec:
    given = spec()
    for _ in range(number):
        given.model.sequential.layers.add().flatten.SetInParent()
    return given


def of_tags(chars: int) -> JobSpec:
    given = spec()
    given.tags["k"] = "x" * chars
    return given


@pytest.mark.parametrize(
    ("given", "field", "found", "allowed"),
    [
        (with_sums(20, 20, 20, 4), "loss", "at least ", "at most 100"),
        (with_sums(20, 5), "loss", "120 losses", "at most 100"),
        (of_heads(20, 5), "loss", "120 losses", "at most 100"),
        (with_formulas(11, 2000), "loss", "22,000 characters", "at most 20,000"),
        (of_layers(501), "", "at least 1,", "at most 1,000"),
        (of_layers(60_000), "", "at least 60,0", "at most 1,000"),
        (of_tags(MAX_SPEC_BYTES), "", "262,", "at most 262,144 bytes"),
    ],
)
def test_a_limit_says_what_was_found_and_what_is_allowed(
    given: JobSpec, field: str, found: str, allowed: str
) -> None:
    filled, (violation,), warnings = complete(given)
    assert filled is given
    assert warnings == []
    assert violation.field == field
    assert violation.found.startswith(found)
    assert violation.allowed == allowed
    assert check(given)[0] == [violation]


@pytest.mark.parametrize(
    "given",
    [
        with_sums(10, 9),
        of_heads(20, 4),
        with_formulas(10, 2000),
        of_layers(200),
        of_tags(MAX_SPEC_BYTES - 10_000),
    ],
)
def test_what_is_at_a_limit_is_checked_by_the_rules(given: JobSpec) -> None:
    filled, violations, _ = complete(given)
    assert filled == fill(given)
    assert not any("in sums and heads" in violation.found for violation in violations)
    assert complete(filled) == (filled, *check(filled))


def calls_in(function: Callable[[], object]) -> int:
    """Count the Python functions that a call runs: work, whatever else the machine does."""
    count = 0

    def called(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def repeated_layers() -> JobSpec:
    given = spec(task="image_translation")
    given.loss.perceptual.layers.extend(["r"] * 80_000)
    return given


def misspelt() -> JobSpec:
    given = spec()
    sums(given.loss, 6, 10)
    for term in given.loss.sum.terms:
        for inner in term.loss.sum.terms:
            formula = inner.loss.expression
            formula.formula = "+".join(f"maximun{number:02}" for number in range(19))
            for number in range(10):
                formula.params[f"maximux{number:02}"] = 1
    return given


def unknown_fields() -> JobSpec:
    return JobSpec.FromString(spec().SerializeToString() + b"\xf8\x07\x01" * 60_000)


def zeros() -> JobSpec:
    given = spec()
    given.model.mlp.hidden.extend([0] * 200_000)
    return given


def negative_weights() -> JobSpec:
    given = spec(task="multiclass", loss="cross_entropy")
    given.loss.cross_entropy.weight.values.extend([-1.0] * 30_000)
    return given


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_sums(20, 20, 20, 4),
        lambda: of_layers(60_000),
        repeated_layers,
        misspelt,
        unknown_fields,
        zeros,
        negative_weights,
    ],
)
def test_the_largest_specs_cost_a_bounded_amount_of_work(make: Callable[[], JobSpec]) -> None:
    given = make()
    complete(spec())  # What is read once a process.
    work = calls_in(lambda: complete(given))
    # An ordinary spec takes 2,000 calls; without limits each of these takes millions, or more.
    assert work < 400_000


def test_very_many_violations_are_cut_off_with_a_word() -> None:
    violations = complete(negative_weights())[1]
    fields_said = [violation.field for violation in violations]
    assert fields_said[0] == "loss.cross_entropy.weight.values[0]"
    assert f"more than {MAX_VIOLATIONS} violations" in [each.found for each in violations]
    assert len(violations) < MAX_VIOLATIONS + 20


def test_reading_stops_after_many_unknown_names() -> None:
    names = {f"epox{number}": 1 for number in range(50_000)}
    work = calls_in(lambda: pytest.raises(ValueError, from_dict, base(training=names)))
    assert work < 400_000


def enums() -> Iterator[tuple[Descriptor, Field]]:
    for message in ALL:
        for about in fields(message).values():
            if about.enum is not None:
                yield message, about


ENUMS = list(enums())


def paths_to(target: Descriptor) -> list[Field]:
    """Give the fields that lead from a spec to a message, the shortest way."""
    waiting: list[tuple[Descriptor, list[Field]]] = [(JobSpec.DESCRIPTOR, [])]
    seen = set[str]()
    for message, path in waiting:
        if message is target:
            return path
        for about in fields(message).values():
            if about.message and not about.is_map and about.message.full_name not in seen:
                seen.add(about.message.full_name)
                waiting.append((about.message, [*path, about]))
    raise AssertionError(target.full_name)


def with_unknown_number(message: Descriptor, about: Field, task: str) -> tuple[JobSpec, str]:
    """Give a spec of a task that reaches the field, with a number that has no name there."""
    given = spec(task=task)
    part: Message = given
    path = ""
    for step in paths_to(message):
        value = getattr(part, step.name)
        path += f".{step.name}[0]" if step.is_list else f".{step.name}"
        part = value.add() if step.is_list else value
        part.SetInParent()
    if about.is_list:
        getattr(part, about.name).append(UNKNOWN)
    else:
        setattr(part, about.name, UNKNOWN)
    end = f".{about.name}[0]" if about.is_list else f".{about.name}"
    return given, (path + end).removeprefix(".")


def test_the_walk_finds_enums_of_all_depths() -> None:
    found = {f"{message.name}.{about.name}" for message, about in ENUMS}
    assert {
        "Training.precision",
        "Segmentation.target",
        "MetricLearning.given",
        "Dice.mode",
        "Uncertainty.task_types",
    } <= found
    assert len(found) > 80


@pytest.mark.parametrize("task", ["regression", "segmentation", "metric_learning", "multitask"])
def test_every_enum_refuses_a_number_without_a_name(task: str) -> None:
    for message, about in ENUMS:
        given, path = with_unknown_number(message, about, task)
        filled, violations, warnings = complete(given)
        assert filled is given
        assert warnings == []
        said = {violation.field: violation for violation in violations}
        assert said[path].found == str(UNKNOWN)
        assert said[path].allowed == about.allowed
        assert about.names[0] in said[path].allowed


def test_an_unknown_number_hides_no_other_violation_of_bounds() -> None:
    given = spec(training={"batch_size": 0})
    given.training.precision = UNKNOWN  # type: ignore[assignment]
    fields_said = [violation.field for violation in complete(given)[1]]
    assert fields_said == ["training.batch_size", "training.precision"]


def test_every_list_has_a_limit() -> None:
    for message in ALL:
        for about in fields(message).values():
            if about.is_list or about.is_map:
                assert about.max_items is not None, f"{message.name}.{about.name}"
