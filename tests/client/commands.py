"""Running the command line in the tests' own process."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.client.worker import Worker

from talweg.v1 import jobs_pb2


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Talweg = Callable[..., Done]


class finishing:  # noqa: N801
    """Finishes the next jobs in a thread, while the command line watches them."""

    def __init__(self, worker: Worker, *states: jobs_pb2.Job.State.ValueType) -> None:
        from threading import Thread

        def work() -> None:
            for state in states:
                worker.claim().finish(state, message="no luck", metrics={"test/mae": 50.0})

        self.thread = Thread(target=work)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.thread.join(120)
        assert not self.thread.is_alive()
