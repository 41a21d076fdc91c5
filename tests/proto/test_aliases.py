"""Other names of fields: accepted when a spec is read, and never stored."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from tests.proto.specs import base

from talweg.spec import SpecError, from_dict, override, to_dict
from talweg.spec.fields import Field, Type, choices, fields, oneofs, spellings
from talweg.v1.spec_pb2 import JobSpec


def _aliased() -> Iterator[tuple[list[str], Field, str]]:
    """Yield the path to the message, the field and the alias, for every alias of a job file."""
    yield from _aliased_below(JobSpec.DESCRIPTOR, [], {JobSpec.DESCRIPTOR.full_name})


def _aliased_below(
    message: Descriptor, path: list[str], above: set[str]
) -> Iterator[tuple[list[str], Field, str]]:
    for field in fields(message).values():
        yield from ((path, field, alias) for alias in field.aliases)
        inner = field.message
        if inner is None or field.is_map or field.is_list or inner.full_name in above:
            continue
        yield from _aliased_below(inner, [*path, field.name], {*above, inner.full_name})


ALIASED = list(_aliased())
IDS = [".".join([*path, alias]) for path, _, alias in ALIASED]


def _value(field: Field) -> Any:
    """Return a value that is within the field's bounds."""
    if field.type is Type.FLAG:
        return True
    if field.type is Type.CHOICE:
        return field.names[-1]
    if field.type is Type.MESSAGE:
        return {}
    low, high = field.bounds.ge, field.bounds.le
    value: Any = low if low else high if high else 0.25
    value = int(value) if field.type is Type.INTEGER else value
    return [value] if field.is_list else value


def _nested(path: list[str], value: dict[str, Any]) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_there_are_aliases_in_every_part_of_a_job_file() -> None:
    parts = {path[0] for path, *_ in ALIASED}
    assert parts >= {"task", "model", "optimizer", "schedule", "training", "diagnostics"}


@pytest.mark.parametrize("at", ALIASED, ids=IDS)
def test_an_alias_is_unique_in_its_message(at: tuple[list[str], Field, str]) -> None:
    _, field, alias = at
    message = field.descriptor.containing_type
    names = [n for other in fields(message).values() for n in (other.name, *other.aliases)]
    assert names.count(alias) == 1
    assert spellings(message)[alias] is field


@pytest.mark.parametrize("at", ALIASED, ids=IDS)
def test_an_alias_gives_what_the_fields_own_name_gives(at: tuple[list[str], Field, str]) -> None:
    path, field, alias = at
    value = _value(field)
    by_name = from_dict(_nested(path, {field.name: value}))
    by_alias = from_dict(_nested(path, {alias: value}))
    assert by_alias == by_name
    assert to_dict(by_alias) == to_dict(by_name)
    assert alias not in str(to_dict(by_alias))

    setting = f"{'.'.join([*path, alias])}={_text(value)}"
    assert from_dict(override({}, [setting])) == by_name
    # A setting also takes the place of what the file says under the other name.
    other = from_dict(override(_nested(path, {field.name: value}), [setting]))
    own = f"{'.'.join([*path, field.name])}={_text(value)}"
    assert other == from_dict(override(_nested(path, {alias: value}), [own])) == by_name


@pytest.mark.parametrize("at", ALIASED, ids=IDS)
def test_both_names_at_once_are_refused(at: tuple[list[str], Field, str]) -> None:
    path, field, alias = at
    value = _value(field)
    with pytest.raises(SpecError) as caught:
        from_dict(_nested(path, {field.name: value, alias: value}))
    (violation,) = caught.value.violations
    assert violation.field == ".".join([*path, alias])
    assert violation.found == f"both {field.name} and {alias}"
    assert violation.hint == f"{alias} is another name for {field.name}"


def test_a_member_is_chosen_by_its_alias_alone() -> None:
    spec = from_dict(base(task="object_detection"))
    assert spec.task.WhichOneof("kind") == "detection"
    changed = override(base(task="object_detection"), ["task.object_detection.max_detections=7"])
    assert from_dict(changed).task.detection.most_boxes == 7


def test_a_setting_by_alias_takes_the_place_of_a_rival() -> None:
    file = base(training={"epochs": 60})
    assert override(file, ["training.max_steps=5"])["training"] == {"steps": 5}
    file = base(training={"max_steps": 60})
    assert override(file, ["training.epochs=5"])["training"] == {"epochs": 5}


def test_a_misspelt_alias_has_a_hint() -> None:
    with pytest.raises(SpecError, match="did you mean 'iou_threshold'"):
        from_dict(base(task={"detection": {"iou_treshold": 0.5}}))
    with pytest.raises(SpecError, match="did you mean 'iou_threshold'"):
        override(base(), ["task.detection.iou_treshold=0.5"])


@pytest.mark.parametrize("task", ["classification", {"classification": {}}])
def test_a_name_from_elsewhere_has_a_hint(task: object) -> None:
    with pytest.raises(SpecError, match=r"write multiclass .*, binary .* or multilabel"):
        from_dict(base(task=task))
    with pytest.raises(SpecError, match=r"write multiclass .*, binary .* or multilabel"):
        override(base(), ["task.classification={}"])


def test_members_of_a_choice_are_listed_by_their_own_names() -> None:
    task = fields(JobSpec.DESCRIPTOR)["task"].message
    assert task is not None
    assert "object_detection" not in choices(task)
    assert "object_detection" not in oneofs(task)["kind"]
