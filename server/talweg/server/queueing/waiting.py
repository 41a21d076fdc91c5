"""Why a queued job is not running yet, in words."""

import math
from dataclasses import dataclass
from typing import Protocol


class QueueStatus(Protocol):
    """What is known of the broker and the workers."""

    @property
    def broker_answers(self) -> bool:
        """Whether the broker answered when it was last asked."""

    def has_worker(self, queue: str) -> bool | None:
        """Return whether a worker serves a queue; None where that is not known."""

    def why_unfit(self, queue: str) -> str:
        """Say why all workers of a queue take no jobs; empty where one does, or is not known."""


@dataclass(frozen=True)
class Setback:
    """That workers in trouble gave a job back, or died of it."""

    times: int
    """How often since its last new checkpoint."""
    worker: str
    """The last of them."""
    message: str
    """What was said of it."""
    seconds: float
    """Until it may be claimed again; <= 0 now."""


def reason(
    status: QueueStatus,
    *,
    queue: str,
    place: int,
    is_busy: bool,
    setback: Setback | None = None,
    quota: str = "",
) -> str:
    """Say why a job waits.

    Args:
        status: What is known of the broker and the workers.
        queue: The job's queue.
        place: How many jobs go before it.
        is_busy: A job of this queue runs, and so the queue has a worker.
        setback: What has become of its last attempts; None where that was nothing unusual.
        quota: Why its project runs no more; empty where it may.
    """
    if quota:
        return quota
    if setback is not None:
        attempts = "1 attempt" if setback.times == 1 else f"{setback.times} attempts"
        why = f"{attempts} failed, the last on {setback.worker}: {setback.message.rstrip('.')}"
        if setback.seconds > 0:
            return f"{why}. It is retried in {math.ceil(setback.seconds)} s"
        now = reason(status, queue=queue, place=place, is_busy=is_busy)
        return f"{now} ({why})"
    if not status.broker_answers:
        return "the broker is unreachable: workers cannot be notified of the job"
    if not is_busy and status.has_worker(queue) is False:
        option = " on a machine with CUDA" if queue == "cuda" else ""
        return (
            f"no worker is connected for queue {queue!r}: start one with `talweg worker`{option}"
        )
    if not is_busy and (why := status.why_unfit(queue)):
        return f"no worker of queue {queue!r} takes jobs now: {why}"
    if place:
        return f"queued behind {place} job{'s' if place > 1 else ''}"
    return "next in the queue: waiting for a free worker"
