"""What the service knows, from the descriptors."""

from collections.abc import Sequence

from talweg import spec
from talweg.server.errors import InvalidRequest
from talweg.v1.catalog_pb2 import LossEntry


def losses(task: str) -> Sequence[LossEntry]:
    """Lists losses.

    Args:
        task: Only those that fit this task; all where empty.

    Raises:
        InvalidRequest: There is no such task.
    """
    try:
        return spec.losses(task or None)
    except ValueError as exc:
        raise InvalidRequest.of("task", str(exc).removeprefix("task ")) from exc
