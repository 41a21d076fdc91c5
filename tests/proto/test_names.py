"""Names from outside: one grammar, matched as a whole."""

import re

import pytest
from tests._hostile import ADDRESSES, CHECKPOINTS, DIGESTS, PATHS, SHA256

from talweg.spec import (
    CheckpointName,
    checkpoint_folder,
    drop_control,
    escape_control,
    has_control,
    is_blob_path,
    is_job_id,
    is_model_folder,
    is_sha256,
    is_tracking_id,
    is_web_address,
)
from talweg.v1 import losses_generative_pb2, options_pb2, spec_pb2

STRANGE = [
    "",
    "a\n",
    "\na",
    "a\0",
    "a\x1b",
    "a/b",
    "../a",
    "..",
    "a\\b",
    "'a",
    'a"',
    "a`",
    "a;b",
    "ä",
]


@pytest.mark.parametrize(
    "name",
    [
        CheckpointName("jobs/a", 10, 1),
        CheckpointName("jobs/a-B_9", 0, 4_294_967_295, best=True),
        CheckpointName("jobs/" + "x" * 100, 2**63 - 1, 1, best=True),
    ],
)
def test_a_checkpoints_name_says_what_it_was_made_of(name: CheckpointName) -> None:
    assert CheckpointName.parse(str(name)) == name
    assert str(name).startswith(f"{checkpoint_folder(name.job)}/")
    assert is_blob_path(f"{name}.safetensors")


def test_the_form_of_a_checkpoints_name_is_that_of_stored_files() -> None:
    assert str(CheckpointName("jobs/a", 7, 2)) == "jobs/a/checkpoints/000000000007-2"
    assert str(CheckpointName("jobs/a", 7, 2, best=True)).endswith("/000000000007-2-best")


@pytest.mark.parametrize("wrong", CHECKPOINTS)
def test_what_is_no_checkpoints_name(wrong: str) -> None:
    with pytest.raises(ValueError, match="must be jobs/ID/checkpoints/STEP-ATTEMPT") as error:
        CheckpointName.parse(wrong)
    assert not has_control(str(error.value))


@pytest.mark.parametrize("wrong", PATHS)
def test_what_is_no_blobs_path(wrong: str) -> None:
    assert not is_blob_path(wrong)


@pytest.mark.parametrize("wrong", DIGESTS)
def test_what_is_no_sha256(wrong: str) -> None:
    assert is_sha256(SHA256)
    assert not is_sha256(wrong)


@pytest.mark.parametrize("wrong", ADDRESSES)
def test_what_is_no_address(wrong: str) -> None:
    assert not is_web_address(wrong)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:5000/#/experiments/1/runs/0a",
        "https://user@host/path?x=1#/y",
        "http://[::1]:5000",
        "https://bücher.example/ü",
    ],
)
def test_addresses(address: str) -> None:
    assert is_web_address(address)


@pytest.mark.parametrize("wrong", STRANGE)
def test_ids_hold_nothing_that_ends_a_quote_or_a_path(wrong: str) -> None:
    assert not is_job_id(wrong)
    assert not is_tracking_id(wrong)
    assert not is_model_folder(wrong)


def test_ids() -> None:
    assert is_job_id("2f-A_9")
    assert is_tracking_id("0a1b2c3d")
    assert is_model_folder("unet of May 1.2")


@pytest.mark.parametrize(
    ("field", "good"),
    [
        (spec_pb2.Continuation.DESCRIPTOR.fields_by_name["job"], "jobs/a-B_9"),
        (losses_generative_pb2.JobModel.DESCRIPTOR.fields_by_name["job"], "jobs/a-B_9"),
        (losses_generative_pb2.JobModel.DESCRIPTOR.fields_by_name["sha256"], SHA256),
        (losses_generative_pb2.TrainedModel.DESCRIPTOR.fields_by_name["model"], "unet 1.2"),
    ],
)
def test_specs_take_the_same_names(field: object, good: str) -> None:
    pattern = field.GetOptions().Extensions[options_pb2.text].pattern  # type: ignore[attr-defined]
    assert re.fullmatch(pattern, good)
    for wrong in (*PATHS, *DIGESTS):
        if field.name == "model" and is_model_folder(wrong):  # type: ignore[attr-defined]
            continue
        assert not re.fullmatch(pattern, wrong), wrong


def test_control_characters() -> None:
    every = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
    assert all(has_control(each) for each in every)
    assert [each for each in every if not has_control(each, layout=True)] == ["\t", "\n"]
    assert drop_control(every) == "\t\n"
    assert escape_control("\x1b[31m\tred\n\x9b\0") == "\\x1b[31m\tred\n\\x9b\\x00"
    plain = "ü ± 漢 🙂\u00a0"
    assert not has_control(plain)
    assert drop_control(plain) == escape_control(plain) == plain
