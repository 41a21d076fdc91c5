"""The delivery process of a spool: `python -m talweg.worker.tracking [PARENT_PID]`.

Settings come from TALWEG_* variables. Several may be started for one spool: one works, the
others wait for its end, before they have loaded anything heavy. With a parent's process id it
ends with that process.
"""

import fcntl
import logging
import os
import signal
import sys
from types import FrameType

from talweg.spec.identity.secrets import read_secret
from talweg.spec.local.environment import past_proxies
from talweg.spec.private import make_private_folder
from talweg.worker.confinement.privileges import hide_memory
from talweg.worker.parents import die_with_parent
from talweg.worker.settings import Settings

# Whatever the environment says: a run that is made again makes two. The delivery repeats what
# failed itself, and looks first.
_FIXED_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_ENVIRONMENT = {
    # By default a server that is down blocks a call for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
}
# They come before a token.
_OTHER_CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_AUTH",
)
_NICENESS = 10
# Less than `process.py` allows.
_END_WITHIN = 2.0


def main() -> None:
    """Wait for the spool's lock, then deliver until SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if len(sys.argv) > 1:
        die_with_parent(int(sys.argv[1]))
    hide_memory()
    settings = Settings.from_env()
    make_private_folder(settings.spool_dir)
    lock = os.open(settings.spool_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.nice(_NICENESS)
    os.environ.update(_FIXED_ENVIRONMENT)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if settings.tracking_token_file is not None:
        _show_token(read_secret(settings.tracking_token_file))
    # Of an MLflow that is on this machine.
    os.environ |= past_proxies(os.environ)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s delivery: %(message)s"
    )
    for noisy in ("mlflow", "urllib3", "matplotlib", "torch", "alembic", "git"):
        logging.getLogger(noisy).setLevel(logging.ERROR)

    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    # MLflow reads the environment, set above, when it is imported.
    from talweg.worker.tracking.delivery import Delivery  # noqa: PLC0415

    delivery = Delivery(settings)
    try:
        delivery.run()
    except SystemExit:
        delivery.close(patience=_END_WITHIN)
        # Threads may still wait for MLflow: killed outright it would lose nothing either.
        os._exit(0)


def _show_token(token: str) -> None:
    """Have MLflow's client send a token, whatever the environment says of a user."""
    for name in _OTHER_CREDENTIALS:
        os.environ.pop(name, None)
    os.environ["MLFLOW_TRACKING_TOKEN"] = token


if __name__ == "__main__":
    main()
