"""A Celery worker that notes the tickets it takes, for tests: what the broker really delivers."""

import os

from celery import Celery

app = Celery("talweg", broker=os.environ["TALWEG_BROKER_URL"])
app.conf.update(
    accept_content=["json"],
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": "talweg:"},
)


@app.task(name="talweg.answer")  # type: ignore[untyped-decorator]
def answer(queue: str) -> None:
    """Append the queue to the file that the environment names."""
    with open(os.environ["TICKETS"], "a") as file:
        file.write(queue + "\n")
