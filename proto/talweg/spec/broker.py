"""What server and worker agree on at the broker: names, and what a message says.

A message wakes a worker, which then asks the server for jobs of a queue. It
carries no job, so one that is lost, doubled or late does no harm.
"""

from typing import Final, TypedDict

KEY_PREFIX: Final = "talweg:"
"""Before every key, Celery's too, so that Talweg can share a Redis with others."""

TASK: Final = "talweg.answer"
"""The name of the one Celery task. Its one argument is QUEUE_ARGUMENT."""

QUEUE_ARGUMENT: Final = "queue"
"""The keyword argument of the task: the queue to take jobs from."""

WHY_UNFIT: Final = "talweg_why_unfit"
"""The name of the remote control command that a worker answers by why it takes no jobs, in words;
by an empty text where it takes them."""

CAN_PREDICT: Final = "talweg_can_predict"
"""The name of the remote control command that a worker answers by why it cannot predict now, in
words; by an empty text where it can."""

PREDICT: Final = "talweg_predict"
"""The name of the remote control command that has a worker predict, which it answers as
CAN_PREDICT. Its arguments are those of `PredictArguments`; the rows are asked of the server."""


class PredictArguments(TypedDict):
    """The arguments of PREDICT."""

    prediction: str
    """Its id."""
    token: str
    """Its secret."""
    seconds: float
    """How long it may take."""


DEFAULT_QUEUE: Final = "default"
"""The queue of jobs that run on any device."""

CUDA_QUEUE: Final = "cuda"
"""The queue of jobs that need a CUDA device."""
