"""The Celery app: `talweg.worker.app`, with one task, `talweg.answer`.

A message is no job: it wakes a child, which asks the server for jobs of a queue
(`talweg.spec.broker`). So nothing here hangs on Celery for exactly-once.

The parent imports PyTorch and all that training needs, once, and touches neither a tensor nor
CUDA nor gRPC: after a matrix product, a CUDA query or an open channel a forked child hangs. The
child trains.
"""

import gc
import logging
import mmap
import os
import signal
import threading
from typing import Any

import safetensors.torch  # noqa: F401  as below: once, in the parent
import sklearn.datasets  # noqa: F401  as above
import sklearn.linear_model  # noqa: F401  as above
import sklearn.model_selection  # noqa: F401  as above
import sklearn.neighbors  # noqa: F401  as above
import sklearn.pipeline  # noqa: F401  as above
import torch
from celery import Celery, signals
from celery.worker.control import control_command, inspect_command

from talweg.spec.broker import CAN_PREDICT, KEY_PREFIX, PREDICT, TASK, WHY_UNFIT, PredictArguments
from talweg.spec.local.ready import write_ready_file
from talweg.worker.channels import Channel
from talweg.worker.confinement import privileges
from talweg.worker.execution.announcing import announce, take_back
from talweg.worker.execution.answering import Answering, has_cuda
from talweg.worker.execution.attempt import WorkerContext
from talweg.worker.execution.fitness import why_unfit
from talweg.worker.execution.last_words import LastWords, tell_of_lost
from talweg.worker.logs import lost_child_in_a_line
from talweg.worker.parents import die_with_parent
from talweg.worker.predicting.process import PredictingProcess
from talweg.worker.sandbox.sandbox import Sandbox, lacks
from talweg.worker.settings import Settings

SHUTDOWN_SECONDS = 30
MAX_CHILD_KIB = 4 * 2**20

log = logging.getLogger(__name__)

settings = Settings.from_env()

app = Celery("talweg", broker=settings.broker_url)
app.conf.update(
    task_acks_late=False,
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    task_reject_on_worker_lost=False,
    task_ignore_result=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A broker that refuses, as Redis does with MISCONF while its disk is full, is waited for too.
    broker_channel_error_retry=True,
    worker_soft_shutdown_timeout=SHUTDOWN_SECONDS,
    task_serializer="json",
    accept_content=["json"],
    broker_transport_options={
        "visibility_timeout": 3600,
        "socket_keepalive": True,
        "socket_timeout": 30,
        "health_check_interval": 10,
        "global_keyprefix": KEY_PREFIX,
    },
    worker_concurrency=1,
    # In KiB: a child whose heap one huge job has left behind is replaced after its message.
    worker_max_memory_per_child=MAX_CHILD_KIB,
    worker_hijack_root_logger=True,
    worker_redirect_stdouts=False,
    worker_log_format="%(asctime)s %(levelname)s worker: %(message)s",
    worker_task_log_format="%(asctime)s %(levelname)s worker: %(message)s",
    worker_log_color=False,
    enable_utc=True,
)

# One byte that parent and child share: not 0 once the worker is about to end.
_shutting_down = mmap.mmap(-1, 1)
# Not 0 once the server has been told of this worker's plug-ins.
_announced = mmap.mmap(-1, 1)
_last_words = LastWords()
_parent = os.getpid()
_answering: Answering | None = None
_SHUTS_DOWN = "it is shutting down"


def shutting_down() -> bool:
    """Return whether the worker is about to end. Asked by the child before every step."""
    return _shutting_down[0] != 0


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def answer(queue: str) -> None:
    """Carry out jobs of a queue until there are none.

    Args:
        queue: To take jobs from.
    """
    global _answering
    if _answering is None:
        # Not before the fork: this asks for CUDA and opens a channel.
        _answering = Answering(
            WorkerContext(
                channel=Channel(settings.address),
                spool_dir=settings.spool_dir,
                blobs=settings.blobs,
                worker=node_name(),
                has_cuda=has_cuda(settings.device),
                shutting_down=shutting_down,
                sandbox=Sandbox(settings),
                last_words=_last_words,
            )
        )
    _answering.answer(queue)


@inspect_command(name=WHY_UNFIT)  # type: ignore[untyped-decorator]
def _answer_why_unfit(_state: Any) -> str:
    """Tell the server, which asks while a job waits, why this worker takes none."""
    return why_unfit(settings.spool_dir)


@inspect_command(name=CAN_PREDICT)  # type: ignore[untyped-decorator]
def _answer_can_predict(_state: Any) -> str:
    """Tell the server, for a caller who waits, why this worker cannot predict now."""
    return _SHUTS_DOWN if shutting_down() else _predicting.why_busy()


@control_command(  # type: ignore[untyped-decorator]
    name=PREDICT, args=[("prediction", str), ("token", str), ("seconds", float)]
)
def _predict(_state: Any, prediction: str, token: str, seconds: float) -> str:
    """Start a prediction beside the job that may be running, and say so at once."""
    if shutting_down():
        return _SHUTS_DOWN
    return _predicting.start(PredictArguments(prediction=prediction, token=token, seconds=seconds))


def node_name() -> str:
    """Return the worker's name and its host's."""
    return f"{settings.worker_name}@{os.uname().nodename}"


_predicting = PredictingProcess(node_name())


@signals.after_setup_logger.connect(weak=False)  # type: ignore[untyped-decorator]
def _quiet(**_: Any) -> None:
    # A wake-up message is nobody's news.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("celery.worker.request").addFilter(lost_child_in_a_line)


@signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _before_fork(**_: Any) -> None:
    # Whose memory is hidden can try no namespaces any more.
    _say_what_holds()
    # Code of others runs as this user: what this process and its children know is not its own.
    privileges.hide_memory()
    # What is there now stays: children need not look at it, and share its memory pages.
    gc.collect()
    gc.freeze()


def _say_what_holds() -> None:
    if settings.sandbox == "off":
        log.warning("jobs with plug-ins run without a sandbox: TALWEG_SANDBOX is off")
    elif missing := lacks():
        log.info("the sandbox of jobs with plug-ins lacks here: %s", "; ".join(missing))


@signals.worker_process_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _in_child(**_: Any) -> None:
    die_with_parent(_parent)
    torch.set_num_threads(1)
    if lost := _last_words.take():
        channel = Channel(settings.address)
        # Beside the start, for which Celery waits.
        threading.Thread(target=tell_of_lost, args=(channel, lost), daemon=True).start()
    told_of = {
        "worker": node_name(),
        "queues": settings.queues,
        "shutting_down": shutting_down,
        # What an earlier child has told holds on: names alone would know less.
        "names_first": _announced[0] == 0,
    }
    _announced[0] = 1
    threading.Thread(
        target=announce, args=(Channel(settings.address),), kwargs=told_of, daemon=True
    ).start()


@signals.worker_process_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
def _child_ends(**_: Any) -> None:
    # Another child may come in this one's place.
    if shutting_down():
        take_back(Channel(settings.address), node_name())


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    """Say so, and has every signal that ends the worker raise the shared flag first.

    Celery tells of a shutdown only once it has waited for its tasks, which then have never heard
    of it; and it waits out its whole timeout, even where they have ended meanwhile.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        _raise_flag_before(number)
    write_ready_file(settings.ready_file, address=settings.address)
    log.info("waiting for jobs of %s", ", ".join(settings.queues))


def _raise_flag_before(number: signal.Signals) -> None:
    celerys = signal.getsignal(number)

    def handler(signum: int, frame: Any) -> None:
        if not shutting_down():
            _shutting_down[0] = 1
            _end_by_force_later()
        if callable(celerys):
            celerys(signum, frame)

    signal.signal(number, handler)


def _end_by_force_later() -> None:
    """Whatever still hangs then is not worth waiting for: its lease runs out."""
    timer = threading.Timer(SHUTDOWN_SECONDS, os._exit, [1])
    timer.daemon = True
    timer.start()


__all__ = ["answer", "app", "node_name", "settings", "shutting_down"]
