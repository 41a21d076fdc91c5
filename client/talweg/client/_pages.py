"""Lists that the server gives page by page."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from talweg.client._connection import Connection
from talweg.client._transport import Response

if TYPE_CHECKING:
    import grpc

Item = TypeVar("Item")


def paged(
    connection: Connection,
    method: "grpc.UnaryUnaryMultiCallable[Any, Response]",
    request: Any,
    items: Callable[[Response], Sequence[Item]],
    *,
    page_size: int,
    limit: int | None = None,
) -> Iterator[Item]:
    """Yield the items of a list, and ask for a page when the ones before are used up.

    Args:
        connection: To the server.
        method: Of a stub.
        request: What is listed; its page size and token are set here.
        items: Takes the items out of a response.
        page_size: The largest number of items in a response.
        limit: The largest number of items in all; all if None.

    Raises:
        TalwegError: An error of the server.
    """
    remaining = limit
    while remaining is None or remaining > 0:
        request.page_size = page_size if remaining is None else min(page_size, remaining)
        response: Any = connection.call(method, request)
        found = items(response)[:remaining]
        yield from found
        if remaining is not None:
            remaining -= len(found)
        request.page_token = response.next_page_token
        if not request.page_token:
            return
