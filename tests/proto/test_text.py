"""Job files."""

import json
from typing import Any

import pytest
import yaml
from tests.proto.specs import base, random_spec

from talweg.spec import SpecError, fill, from_dict, parse, read, to_yaml

JOB = """\
task: regression
dataset: diabetes
model: {mlp: {hidden: [64, 64]}}
loss: {huber: {delta: 1.0}}
optimizer: {adamw: {learning_rate: 3e-3}}
training: {epochs: 60, batch_size: 32, seed: 0}
"""


def test_yaml_and_json_mean_the_same() -> None:
    assert parse(JOB) == parse(json.dumps(base())) == parse(json.dumps(base(), indent="\t"))


# text, the value that it means
PLAIN: list[tuple[str, Any]] = [
    ("1e-3", 1e-3),
    ("1E5", 1e5),
    ("-2e+3", -2e3),
    ("1.", 1.0),
    (".5", 0.5),
    ("0x1F", 31),
    ("0o17", 15),
    ("010", 10),
    ("1_000", "1_000"),
    ("12:30", "12:30"),
    ("2024-01-01", "2024-01-01"),
    ("yes", "yes"),
    ("off", "off"),
    ("true", True),
    ("~", None),
    ("''", ""),
    ("'1e-3'", "1e-3"),
    ("[1, a]", [1, "a"]),
    ("{a: {b: }}", {"a": {"b": None}}),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), PLAIN)
def test_plain_values(text: str, expected: Any) -> None:
    value = read(text, source="x")
    assert value == expected
    assert type(value) is type(expected)


# text, field, part of what was found
BROKEN = [
    ("a: b: c", "job.yaml:1:5", "mapping values are not allowed"),
    ("task: regression\nloss: [1", "job.yaml:2:9", "expected ',' or ']'"),
    ("a: @x", "job.yaml:1:4", "character '@' that cannot start"),
    ("a: 1\nb: 2\na: 3", "job.yaml:3:1", "the name 'a' twice"),
    ("x: {a: 1, a: 1}", "job.yaml:1:11", "the name 'a' twice"),
    ('{"a": 1, "a": 2}', "job.yaml", 'the name "a" twice'),
    ('{"a": {"b": 1, "b": 1}}', "job.yaml", 'the name "b" twice'),
    ('{"a": [1, 2}', "job.yaml:1:12", "expected ',' or ']'"),
    ("a: &x [1]\nb: *x", "job.yaml:2:4", "an alias"),
    ("a: &x {b: 1}\n<<: *x", "job.yaml:2:5", "an alias"),
    ("[" * 100, "job.yaml:1:51", "more than 50 levels"),
    ("training: {seed: " + "9" * 5000 + "}", "job.yaml:1:18", "an integer of 5,000 characters"),
    ('{"training": {"seed": ' + "9" * 5000 + "}}", "job.yaml:1:23", "an integer of 5,000"),
    ("[" + "1," * 200_000 + "]", "job.yaml:1:", "more than 100,000 names and values"),
    ('{"a":' * 100_000, "job.yaml", ""),
    ("? [1]\n: 2", "job.yaml:1:3", "a name that is a list"),
    ("!!python/object/apply:os.system [exit]", "job.yaml:1:1", "constructor for the tag"),
    ("a: !!timestamp 2024-01-01", "job.yaml:1:4", "constructor for the tag"),
    ("a: !!binary aGk=", "job.yaml:1:4", "constructor for the tag"),
    ("a: !mine x", "job.yaml:1:4", "constructor for the tag"),
    ("a: !!int x", "job.yaml", "invalid literal"),
    ("a: !!bool maybe", "job.yaml", "maybe"),
    ("a: " + "9" * 5000, "job.yaml", ""),
    ("a: 1\nb: \x00", "job.yaml:2:4", "a character that YAML does not allow"),
    ("a: 1\n---\nb: 2", "job.yaml:2:1", "another document"),
    ("a:\n\t- b", "job.yaml:2:1", "a tab"),
    ("x" * (1024 * 1024 + 1), "job.yaml", "1048577 bytes"),
]


@pytest.mark.parametrize(("text", "field", "found"), BROKEN, ids=[b[0][:30] for b in BROKEN])
def test_broken_text(text: str, field: str, found: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, source="job.yaml")
    (violation,) = caught.value.violations
    assert violation.field.startswith(field)
    assert found in violation.found
    # The description itself begins with "found".
    assert not violation.found.startswith(("found", "but"))
    assert violation.allowed


def test_a_bomb_of_aliases_is_refused_before_it_expands() -> None:
    """Expanded it would be of 9 to the power of 30 items, which no machine holds."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(SpecError, match="an alias"):
        parse("\n".join(lines))


def test_a_member_without_a_value_is_absent() -> None:
    assert parse("loss: {mse: }").loss.WhichOneof("kind") is None


def test_an_empty_file_is_no_spec() -> None:
    with pytest.raises(SpecError, match="found nothing; allowed an object"):
        parse("# nothing")


@pytest.mark.parametrize("seed", range(200))
def test_written_files_are_read_back(seed: int) -> None:
    spec = random_spec(seed)
    assert parse(to_yaml(spec)) == spec


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_other_readers_of_yaml_read_the_same(seed: int) -> None:
    spec = random_spec(seed)
    assert from_dict(yaml.safe_load(to_yaml(spec))) == spec


def test_a_file_of_a_filled_spec_is_easy_to_read() -> None:
    text = to_yaml(fill(parse(JOB)))
    assert "loss:\n  huber: {delta: 1.0, reduction: mean}\n" in text
    assert "training:\n  epochs: 60\n  batch_size: 32\n  seed: 0\n" in text
    assert "  guard:\n    fail: {}\n" in text
    assert text.index("task:") < text.index("loss:") < text.index("training:")
