"""How this server speaks to the broker: Celery's settings, and Redis beside Celery."""

from typing import Any
from urllib.parse import SplitResult, urlsplit

from celery import Celery
from kombu.connection import Connection

from talweg.server.errors import BadSetting
from talweg.spec.broker import KEY_PREFIX

TIMEOUT_S = 2.0
"""How long Redis may take to answer."""


def redis_url(broker_url: str) -> str:
    """Return the broker's URL in redis-py's form; Celery's differs for Unix sockets.

    Args:
        broker_url: `redis://…`, `rediss://…` or `redis+socket:///PATH`.

    Raises:
        BadSetting: It is none of these.
    """
    parts = urlsplit(broker_url)
    scheme = parts.scheme
    if scheme == "redis+socket":
        url = "unix" + broker_url.removeprefix("redis+socket")
        return url.replace("virtual_host=", "db=")
    if scheme not in ("redis", "rediss"):
        # Not the URL itself, which may hold a password.
        raise BadSetting(
            "TALWEG_BROKER_URL must begin with redis://, rediss:// or redis+socket://, "
            f"but begins with {scheme or 'something else'}"
        )
    if not _is_readable(parts):
        raise BadSetting(
            "TALWEG_BROKER_URL must have a form such as redis://:PASSWORD@127.0.0.1:6379/0, with "
            "numeric port and database, and %2F for / in the password"
        )
    return broker_url


def _is_readable(parts: SplitResult) -> bool:
    try:
        _ = parts.port
    except ValueError:
        return False
    database = parts.path.strip("/")
    return not database or database.isdecimal()


class _ImpatientConnection(Connection):
    """Gives a broker up that is gone.

    By kombu's default what Celery asks of workers is sent again without end. Whoever waits for the
    answer, such as a server that is to end, would wait until the broker is back.
    """

    def ensure(self, *arguments: Any, **options: Any) -> Any:
        return super().ensure(*arguments, **{"max_retries": 0, **options})  # type: ignore[no-untyped-call]


def celery_app(broker_url: str) -> Celery:
    """Make the Celery app by which wake-up messages are sent; it has no tasks of its own.

    Args:
        broker_url: The broker.
    """
    app = Celery("talweg", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_keepalive": True,
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "health_check_interval": 10,
            "global_keyprefix": KEY_PREFIX,
        },
    )
    app.amqp.Connection = _ImpatientConnection
    return app
