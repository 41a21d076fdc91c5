"""URIs of data that the server reads, and the roots that its operator allows.

A URI names a file by its scheme, its bucket and the parts of its path. It lies below a root if it
begins with all parts of the root: /data does not allow /database.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from talweg.spec.characters import without_credentials
from talweg.spec.errors import Violation, one_of, shown

AT = "dataset.uri.uri"
"""Where the URI stands in a spec."""
ROOTS = "TALWEG_DATA_ROOTS"
"""The setting that names the roots."""
_FILE, _S3 = "file", "s3"
_SCHEMES = (_FILE, _S3)
_BUCKET_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
_MOST_BUCKET_CHARS = 255
# The record finds files by their URIs, and PostgreSQL has no index of more than 2,704 bytes.
_MOST_BYTES = 2500
_EXAMPLES = "a URI such as file:///data/houses.csv or s3://bucket/houses.parquet"


@dataclass(frozen=True)
class DataUri:
    """A file, or a root that files lie below."""

    scheme: str
    """file or s3."""
    bucket: str
    """Of s3; empty for files."""
    parts: tuple[str, ...]
    """Of the path, as the file system or the bucket has them; empty only for roots."""

    @property
    def path(self) -> str:
        """What a file system of fsspec calls it: /data/houses.csv, bucket/houses.csv."""
        return "/".join((self.bucket, *self.parts)) or "/"

    @property
    def file_name(self) -> str:
        """The last part of its path."""
        return self.parts[-1] if self.parts else ""

    def holds(self, other: "DataUri") -> bool:
        """Tell whether another lies below this one, as a root, or is this one."""
        return (self.scheme, self.bucket) == (other.scheme, other.bucket) and other.parts[
            : len(self.parts)
        ] == self.parts

    def __str__(self) -> str:
        """Give the URI in its one form, by which it is known again."""
        path = "/".join(self.parts)
        if self.scheme == _FILE:
            return f"file:///{quote(path)}"
        return f"s3://{self.bucket}/{path}"


class BadUriError(ValueError):
    """A text that is no URI of data. Never shows credentials that it may hold."""

    def __init__(self, found: str, allowed: str, hint: str = "") -> None:
        """Say what is wrong.

        Args:
            found: What stands there.
            allowed: What may stand there.
            hint: What to do.
        """
        super().__init__(f"found {found}; allowed {allowed}")
        self.violation = Violation(AT, found, allowed, hint)
        """The same as a violation of a spec."""


def parse_uri(text: str) -> DataUri:
    """Read the URI of a file or of a folder.

    Raises:
        BadUriError: It is none; says why.
    """
    uri = _parsed(text)
    if not uri.parts:
        raise BadUriError(
            f"{_shown(text)}, which names no file and no folder",
            _EXAMPLES,
            "name a file, or a folder of images",
        )
    size = len(str(uri).encode())
    if size > _MOST_BYTES:
        raise BadUriError(
            f"{size:,} bytes, with % for what is not ASCII",
            f"a URI of at most {_MOST_BYTES:,} bytes",
            "give the file, or the folders above it, shorter names",
        )
    return uri


def parse_root(text: str) -> DataUri:
    """Read a root: a folder by its path or its URI, or a bucket with or without a prefix.

    Raises:
        BadUriError: It is none; says why.
    """
    if text.startswith("/"):
        text = f"file://{quote(text)}"
    return _parsed(text)


def parse_roots(text: str) -> tuple[DataUri, ...]:
    """Read roots, divided by commas.

    Raises:
        BadUriError: One of them is none; says why.
    """
    return tuple(parse_root(each.strip()) for each in text.split(",") if each.strip())


def root_of(uri: DataUri, roots: Iterable[DataUri]) -> DataUri:
    """Return the root that a URI lies below.

    Raises:
        BadUriError: It lies below none.
    """
    roots = list(roots)
    for root in roots:
        if root.holds(uri):
            return root
    if not roots:
        raise BadUriError(
            f"{shown(str(uri))}, though this server reads no URIs",
            "none",
            f"have the server's operator set {ROOTS}, such as {ROOTS}=/data,s3://bucket/prefix, "
            "or upload the file: talweg data add FILE",
        )
    raise BadUriError(
        f"{shown(str(uri))}, which lies below none of the server's data roots",
        f"files below {one_of(map(str, roots))}",
        f"move the file there, or have the server's operator add a root to {ROOTS}",
    )


def _parsed(text: str) -> DataUri:
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon or not scheme.isascii() or not scheme.replace("+", "").isalnum():
        hint = "a file of your own machine is dataset: {file: {path: PATH}}"
        raise BadUriError(_shown(text), _EXAMPLES, hint)
    if scheme not in _SCHEMES:
        raise BadUriError(f"the scheme {shown(scheme)}", one_of(_SCHEMES), "copy the file there")
    authority, _, path = rest.partition("/")
    # A secret may hold a slash, so that what is before it need not end in @.
    if "@" in authority or ":" in authority:
        raise BadUriError(
            f"{scheme}://… with credentials or a port in it",
            _EXAMPLES,
            "leave them out: the server reads with credentials of its own; revoke any that you "
            "have sent",
        )
    if "?" in rest or "#" in rest:
        raise BadUriError(
            f"{scheme}://… with a query or a fragment",
            _EXAMPLES,
            "leave out all from ? or # on; in the name of a file write %3F and %23"
            if scheme == _FILE
            else "leave out all from ? or # on",
        )
    if scheme == _FILE:
        path = _decoded(path, text)
    if not path.isprintable() or not authority.isprintable():
        raise BadUriError(f"{_shown(text)}, with control characters", _EXAMPLES)
    parts = path.split("/") if path else []
    if any(part in (".", "..") for part in parts):
        raise BadUriError(
            f"{_shown(text)}, with . or .. in its path", "a path without them", "write it out"
        )
    return _of_files(authority, parts, text) if scheme == _FILE else _of_s3(authority, parts, text)


def _decoded(path: str, text: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise BadUriError(
            f"{_shown(text)}, whose % stand for no UTF-8", "a path in UTF-8", "write % as %25"
        ) from None


def _of_files(authority: str, parts: list[str], text: str) -> DataUri:
    if authority not in ("", "localhost"):
        raise BadUriError(
            f"{_shown(text)}, which names the host {_shown(authority)}",
            "file:///PATH, with three slashes",
            "the path begins at the root of the server's file system",
        )
    return DataUri(_FILE, "", tuple(part for part in parts if part))


def _of_s3(bucket: str, parts: list[str], text: str) -> DataUri:
    if not 0 < len(bucket) <= _MOST_BUCKET_CHARS or not _BUCKET_CHARS.issuperset(bucket):
        raise BadUriError(
            f"{_shown(text)}, with the bucket {_shown(bucket)}",
            "s3://BUCKET/KEY, where BUCKET has letters, digits, dots and dashes",
        )
    if parts and not parts[-1]:
        parts = parts[:-1]
    if not all(parts):
        raise BadUriError(f"{_shown(text)}, with // in its key", "a key without it")
    return DataUri(_S3, bucket, tuple(parts))


def _shown(text: str) -> str:
    return shown(without_credentials(text))
