"""The subcommand `talweg worker`."""

import os
import warnings

import click

from talweg.spec.local.environment import past_proxies
from talweg.worker.settings import DEVICES, OFFLINE, Settings


@click.command()
@click.option("--name", help="The worker's name in lists and logs.  [TALWEG_WORKER_NAME]")
@click.option("--queues", help="Queues, joined by commas.  [TALWEG_QUEUES]")
@click.option("--device", type=click.Choice(DEVICES), help="[TALWEG_DEVICE]")
def worker(name: str | None, queues: str | None, device: str | None) -> None:
    """Run a worker until SIGTERM or Ctrl-C, with the delivery of its results to MLflow.

    On a signal it gives its job back to the queue. Further settings are TALWEG_* variables; see
    docs/settings.md.
    """
    options = {"WORKER_NAME": name, "QUEUES": queues, "DEVICE": device}
    # The environment, since the delivery process and Celery's app read it too.
    os.environ |= {f"TALWEG_{key}": value for key, value in options.items() if value}
    try:
        settings = Settings.from_env()
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if settings.sandbox == "require":
        _require_sandbox()
    os.environ["TALWEG_SPOOL_DIR"] = str(settings.spool_dir)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ |= OFFLINE | past_proxies(os.environ)
    # With it SIGTERM would have Celery wait for half a minute, whether or not a job runs.
    os.environ.pop("REMAP_SIGTERM", None)
    raise SystemExit(_run(settings))


def _require_sandbox() -> None:
    # PyTorch takes seconds, as below.
    from talweg.worker.sandbox.sandbox import lacks  # noqa: PLC0415 - imports torch

    if missing := lacks():
        raise click.ClickException(
            "TALWEG_SANDBOX is require, but this system cannot give jobs with plug-ins all of it: "
            f"{'; '.join(missing)}. Set TALWEG_SANDBOX=auto to do without"
        )


def _run(settings: Settings) -> int:
    # PyTorch takes seconds, and `talweg worker --help` need not wait for it.
    from celery import signals  # noqa: PLC0415 - slow
    from celery.utils.nodenames import default_nodename, host_format  # noqa: PLC0415 - slow

    from talweg.worker.app import app  # noqa: PLC0415 - imports torch, and reads the environment
    from talweg.worker.tracking.process import DeliveryProcess  # noqa: PLC0415 - as the app

    # Nothing is pickled, and containers often know no other user.
    warnings.filterwarnings("ignore", module="celery.platforms")
    delivery = DeliveryProcess()
    # Not sooner: it would compete with this process for the processor.
    signals.worker_ready.connect(lambda **_: delivery.start(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: delivery.end_soon(), weak=False)
    try:
        celery_worker = app.Worker(
            hostname=host_format(default_nodename(f"{settings.worker_name}@%h")),
            queues=list(settings.queues),
            pool_cls="prefork",
            concurrency=1,
            loglevel=settings.log_level,
            quiet=True,
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
        )
        celery_worker.start()
        return int(celery_worker.exitcode or 0)
    finally:
        delivery.stop()
