"""MLflow's model registry, over its REST API: the plain client comes without MLflow.

The registry belongs to people, who reach MLflow's pages at the same address. So the client asks it
directly: no worker need be there, and no credentials pass through the server.
"""

import base64
import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from talweg.client._address import mlflow_token, stack_of_mlflow
from talweg.client._errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServerError,
    TalwegError,
    Unavailable,
)
from talweg.client._values import RegisteredModel

_TIMEOUT_SECONDS = 30.0
_MOST_BYTES = 16 * 1024 * 1024
_PAGE = 200
_KINDS: Mapping[str, type[TalwegError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "RESOURCE_ALREADY_EXISTS": AlreadyExists,
    "INVALID_PARAMETER_VALUE": InvalidRequest,
    "BAD_REQUEST": InvalidRequest,
    "UNAUTHENTICATED": PermissionDenied,
}
_ALIAS = re.compile(r"[\w-]{1,255}")
_NO_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_READY = "LOGGED_MODEL_READY"
_JOB_TAG = "talweg.job"


class Registry:
    """The registry of an MLflow server."""

    def __init__(self, uri: str) -> None:
        """Ask nothing yet.

        Args:
            uri: The address of the MLflow server.

        Raises:
            InvalidRequest: It is no http or https address.
        """
        address = urlsplit(uri)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InvalidRequest(
                f"the MLflow server must be an http or https URL, but got {uri!r}"
            )
        self._base = uri.rstrip("/")
        self._opener = _opener(address.hostname)
        self._credentials = _credentials(self._base)

    def register(self, name: str, *, run_id: str, job: str, alias: str = "") -> RegisteredModel:
        """Make the model of a run a version of a registered model; done again it is the same.

        Args:
            name: The registered model; made if it is not there.
            run_id: The run.
            job: ``jobs/{id}``, for errors.
            alias: What is to lead to the version, such as ``champion``.

        Raises:
            FailedPrecondition: The run has no model, or none that has arrived whole.
            InvalidRequest: MLflow refuses the name or the alias.
            Unavailable: MLflow does not answer.
            TalwegError: Another error of MLflow.
        """
        if alias:
            # MLflow checks it once the version is there already.
            _check_alias(alias)
        model_id = self._model_of(run_id, job)
        try:
            self._ask("POST", "registered-models/create", {"name": name})
        except AlreadyExists:
            pass
        version = self._version_of(name, model_id) or self._create(name, model_id, run_id)
        if alias:
            body = {"name": name, "alias": alias, "version": version}
            self._ask("POST", "registered-models/alias", body)
        return RegisteredModel(name, version, alias)

    def job_of(self, name: str, which: str) -> str:
        """Return the id of the job that trained a version; empty if no job of Talweg did.

        Args:
            name: The registered model.
            which: An alias, or a version behind a slash, ``/3``.

        Raises:
            NotFound: There is no such model, alias or version.
            InvalidRequest: MLflow refuses the name or the alias.
            Unavailable: MLflow does not answer.
            TalwegError: Another error of MLflow.
        """
        if which.startswith("/"):
            query = {"name": name, "version": which.removeprefix("/")}
            answer = self._ask("GET", "model-versions/get", query)
        else:
            query = {"name": name, "alias": which}
            try:
                answer = self._ask("GET", "registered-models/alias", query)
            except InvalidRequest as error:
                # So it answers for an alias that is not there.
                raise NotFound(str(error), reason=error.reason) from error
        run_id = str(answer["model_version"].get("run_id", ""))
        if not run_id:
            return ""
        run = self._ask("GET", "runs/get", {"run_id": run_id})["run"]
        tags = {str(tag["key"]): str(tag["value"]) for tag in run["data"].get("tags", [])}
        return tags.get(_JOB_TAG, "").removeprefix("jobs/")

    def _model_of(self, run_id: str, job: str) -> str:
        run = self._ask("GET", "runs/get", {"run_id": run_id})["run"]
        models = run.get("outputs", {}).get("model_outputs", [])
        ids = [str(each["model_id"]) for each in models]
        for model_id in reversed(ids):
            model = self._ask("GET", f"logged-models/{quote(model_id, safe='')}", {})["model"]
            if model["info"].get("status") == _READY:
                return model_id
        raise FailedPrecondition(
            f"the run of {job} in MLflow has no model yet: it arrives seconds after the job's end "
            "if outputs.model is true. `talweg status` says what is on its way",
            reason="MODEL_NOT_READY",
        )

    def _version_of(self, name: str, model_id: str) -> str:
        """Return the version that is this model already; empty if none is."""
        query = {"filter": f"name = '{_escaped(name)}'", "max_results": str(_PAGE)}
        while True:
            found = self._ask("GET", "model-versions/search", query)
            for each in found.get("model_versions", []):
                if each.get("source") == _source(model_id):
                    return str(each["version"])
            if not found.get("next_page_token"):
                return ""
            query["page_token"] = found["next_page_token"]

    def _create(self, name: str, model_id: str, run_id: str) -> str:
        body = {
            "name": name,
            "source": _source(model_id),
            "model_id": model_id,
            "run_id": run_id,
        }
        created = self._ask("POST", "model-versions/create", body)
        return str(created["model_version"]["version"])

    def _ask(self, method: str, path: str, content: Mapping[str, str]) -> dict[str, Any]:
        url = f"{self._base}/api/2.0/mlflow/{path}"
        data = None
        if method == "GET":
            url += f"?{urlencode(content)}" if content else ""
        else:
            data = json.dumps(content).encode()
        headers = {"Content-Type": "application/json", **self._credentials}
        request = Request(url, data=data, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                answer: dict[str, Any] = json.loads(response.read(_MOST_BYTES))
                return answer
        except HTTPError as error:
            raise self._refused(error) from error
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(
                f"MLflow does not answer at {self._base}: {reason}. Name another address with "
                "--tracking-uri if this machine reaches it elsewhere"
            ) from error
        except ValueError as error:
            raise ServerError(f"what answers at {self._base} is no MLflow server") from error

    def _refused(self, error: HTTPError) -> TalwegError:
        try:
            answer = json.loads(error.read(_MOST_BYTES))
            code, message = str(answer["error_code"]), str(answer["message"])
        except (ValueError, KeyError, TypeError):
            return ServerError(f"MLflow at {self._base} answered {error.code} {error.reason}")
        return _KINDS.get(code, ServerError)(f"MLflow: {message}", reason=code)


def _check_alias(alias: str) -> None:
    """Refuse what MLflow does not take as an alias.

    Raises:
        InvalidRequest: It says what is allowed.
    """
    if not _ALIAS.fullmatch(alias) or _NO_ALIAS.fullmatch(alias):
        raise InvalidRequest(
            f"alias: found {alias[:80]!r}; allowed 1 to 255 letters, digits, dashes and "
            "underscores, neither 'latest' nor a version such as 'v1'"
        )


def _source(model_id: str) -> str:
    return f"models:/{model_id}"


def _opener(host: str) -> OpenerDirector:
    """Return what opens URLs: without a proxy where the server is this machine."""
    if not _is_loopback(host):
        return build_opener()
    return build_opener(ProxyHandler({}), HTTPHandler, HTTPSHandler)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(base: str) -> dict[str, str]:
    """Return the header for the token of a stack's own MLflow, or what MLflow's client reads."""
    stack = stack_of_mlflow(base)
    token = mlflow_token(stack) if stack is not None else ""
    if token or (token := os.environ.get("MLFLOW_TRACKING_TOKEN", "")):
        return {"Authorization": f"Bearer {token}"}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if not user:
        return {}
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
