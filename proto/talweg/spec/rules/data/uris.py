"""Rules about data that the server reads from a URI."""

from collections.abc import Iterator

from talweg.spec.errors import Violation
from talweg.spec.semantics.context import SpecContext
from talweg.spec.stored.uris import AT, BadUriError, parse_uri


def uri_rules(case: SpecContext) -> Iterator[Violation]:
    """Check that a URI can be one of data; whether it may be read, the server knows."""
    if case.spec.dataset.WhichOneof("kind") == "uri" and case.sound(AT):
        try:
            parse_uri(case.spec.dataset.uri.uri)
        except BadUriError as exc:
            yield exc.violation
