"""Names of data sets and of their versions."""

import pytest

from talweg.spec.stored import DatasetName, is_dataset_name

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "name", "digest"),
    [
        ("houses", "houses", ""),
        ("datasets/houses", "houses", ""),
        (f"houses@{DIGEST}", "houses", DIGEST),
        ("datasets/a.b-c_1@01234567", "a.b-c_1", "01234567"),
    ],
)
def test_reads(text: str, name: str, digest: str) -> None:
    parsed = DatasetName.parse(text)
    assert parsed == DatasetName(name, digest)
    assert DatasetName.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "", "datasets/", "a b", "../a", "a/b", ".a", "-a", "a@", "a@0123456", "a@" + "0" * 65,
        "a@ABCDEF01", "a" * 101, "datasets/datasets/a", "a\n", "ä",
    ],
)  # fmt: skip
def test_refuses(text: str) -> None:
    assert DatasetName.parse(text) is None
    assert not is_dataset_name(text)
