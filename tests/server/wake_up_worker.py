"""A Celery worker for tests that writes down the wake-up messages that the broker delivers."""

import os

from celery import Celery

from talweg.spec.broker import KEY_PREFIX, TASK

app = Celery("talweg", broker=os.environ["TALWEG_BROKER_URL"])
app.conf.update(
    accept_content=["json"],
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": KEY_PREFIX},
)


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def answer(queue: str) -> None:
    """Append the queue to the file that the environment names."""
    with open(os.environ["WAKE_UPS"], "a") as file:
        file.write(queue + "\n")
