"""URIs of data: what they name, what they may lie below, and what is refused."""

from typing import Any

import pytest
from tests.proto.specs import base, checked

from talweg.spec.stored.uris import (
    BadUriError,
    DataUri,
    parse_root,
    parse_roots,
    parse_uri,
    root_of,
)


def broken(uri: str, **fields: Any) -> dict[str, str]:
    violations, _ = checked(base(dataset={"uri": {"uri": uri, **fields}}))
    return {each.field: each.description for each in violations}


@pytest.mark.parametrize(
    ("text", "path", "form"),
    [
        ("file:///data/houses.csv", "/data/houses.csv", "file:///data/houses.csv"),
        ("FILE://localhost//data/a%20b%25.csv", "/data/a b%.csv", "file:///data/a%20b%25.csv"),
        ("file:///data/a b.csv", "/data/a b.csv", "file:///data/a%20b.csv"),
        ("s3://bucket/a%20b.csv", "bucket/a%20b.csv", "s3://bucket/a%20b.csv"),
    ],
)
def test_a_uri_has_one_form(text: str, path: str, form: str) -> None:
    uri = parse_uri(text)
    assert (uri.path, str(uri)) == (path, form)
    assert parse_uri(form) == uri
    assert broken(text) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/data/houses.csv", "a file of your own machine"),
        ("houses.csv", "a file of your own machine"),
        ("https://user:secret@host/houses.csv", "the scheme"),
        ("memory://houses.csv", "the scheme"),
        ("simplecache::file:///etc/passwd", "a file of your own machine"),
        ("file://host/houses.csv", "names the host"),
        ("file:///data/../secret.csv", "with . or .. in its path"),
        ("file:///data/%2E%2e/secret.csv", "with . or .. in its path"),
        ("file:///data/./houses.csv", "with . or .. in its path"),
        ("file:///data%00.csv", "with control characters"),
        ("file:///data/%ff.csv", "stand for no UTF-8"),
        ("file:///", "names no file"),
        ("s3://bucket", "names no file"),
        ("s3://bucket/../other/x.csv", "with . or .. in its path"),
        ("s3://bucket/a//b.csv", "with // in its key"),
        ("s3:///x.csv", "with the bucket"),
        ("s3://bücket/x.csv", "with the bucket"),
        ("s3://key:secret@bucket/x.csv", "with credentials"),
        ("s3://key:sec/ret@bucket/x.csv", "with credentials"),
        ("s3://bucket/x.csv?X-Amz-Signature=secret", "with a query"),
        ("file:///data/x.csv#secret", "with a query or a fragment"),
        ("s3://bucket?X-Amz-Signature=secret", "with a query"),
        # What is mistyped holds them too.
        (" s3://key:secret@bucket/x.csv", "@bucket/x.csv"),
        ("s3:/key:secret@bucket/x.csv", "a file of your own machine"),
        ("s3:///key:secret@bucket/x.csv", "with the bucket"),
        ("s3://key%3Asecret%40bucket/x.csv", "with the bucket"),
        ("file://key%3Asecret%40host/x.csv", "names the host"),
        ("s3://key:secret@bucket/x.csv\n", "without control characters"),
        ("s3://bucket/x.csv?X-Amz-Signature=secret\n", "without control characters"),
        ("s3://bucket/" + "x" * 2500, "at most 2500 characters"),
        ("file:///" + "é" * 1000, "6,008 bytes"),
    ],
)
def test_what_is_no_uri_of_data_is_refused_and_no_secret_repeated(text: str, found: str) -> None:
    violations = broken(text)
    assert list(violations) == ["dataset.uri.uri"]
    assert found in violations["dataset.uri.uri"]
    assert "allowed" in violations["dataset.uri.uri"]
    if "secret" in text and "secret.csv" not in text:
        assert "secret" not in violations["dataset.uri.uri"]


def test_a_chain_of_file_systems_is_one_name() -> None:
    # Fsspec reads :: as "of"; here it is a part of a key.
    assert parse_uri("s3://bucket/a::file:///etc/passwd".replace(":///", ":/")).parts == (
        "a::file:", "etc", "passwd",
    )  # fmt: skip


def test_other_rules_hold_beside_it() -> None:
    spec = base(dataset={"uri": {"uri": "file:///data/x.csv", "name": "a/b"}})
    spec["training"]["batch_size"] = 0
    violations, _ = checked(spec)
    assert {each.field for each in violations} == {"dataset.uri.name", "training.batch_size"}
    assert list(broken("")) == ["dataset.uri.uri"]


@pytest.mark.parametrize(
    ("root", "inside", "outside"),
    [
        ("/data", "file:///data/a/b.csv", "file:///database/b.csv"),
        ("/data/", "file:///data/b.csv", "file:///data.csv"),
        ("file:///a%20b", "file:///a b/x.csv", "file:///a%2520b/x.csv"),
        ("/", "file:///x.csv", "s3://bucket/x.csv"),
        ("s3://bucket", "s3://bucket/x.csv", "s3://bucket2/x.csv"),
        ("s3://bucket/pre", "s3://bucket/pre/x.csv", "s3://bucket/prefix/x.csv"),
    ],
)
def test_a_root_holds_what_begins_with_all_its_parts(root: str, inside: str, outside: str) -> None:
    roots = parse_roots(f"s3://other, {root},")
    assert root_of(parse_uri(inside), roots) == parse_root(root)
    with pytest.raises(BadUriError, match="below none of the server's data roots") as caught:
        root_of(parse_uri(outside), roots)
    assert str(parse_root(root)) in caught.value.violation.allowed
    assert parse_root(root).holds(parse_root(root))


def test_without_roots_the_setting_is_named() -> None:
    assert parse_roots(" , ") == ()
    with pytest.raises(BadUriError) as caught:
        root_of(DataUri("file", "", ("x.csv",)), ())
    assert "TALWEG_DATA_ROOTS=" in caught.value.violation.hint
