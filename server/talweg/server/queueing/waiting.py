"""Why a queued job is not running yet, in words."""

from typing import Protocol


class QueueStatus(Protocol):
    """What is known of the broker and the workers."""

    @property
    def broker_answers(self) -> bool:
        """Whether the broker answered when it was last asked."""

    def has_worker(self, queue: str) -> bool | None:
        """Return whether a worker serves a queue; None where that is not known."""


def reason(status: QueueStatus, *, queue: str, place: int, is_busy: bool) -> str:
    """Say why a job waits.

    Args:
        status: What is known of the broker and the workers.
        queue: The job's queue.
        place: How many jobs go before it.
        is_busy: A job of this queue runs, and so the queue has a worker.
    """
    if not status.broker_answers:
        return "the broker is unreachable: workers cannot be notified of the job"
    if not is_busy and status.has_worker(queue) is False:
        option = " on a machine with CUDA" if queue == "cuda" else ""
        return (
            f"no worker is connected for queue {queue!r}: start one with `talweg worker`{option}"
        )
    if place:
        return f"queued behind {place} job{'s' if place > 1 else ''}"
    return "next in the queue: waiting for a free worker"
