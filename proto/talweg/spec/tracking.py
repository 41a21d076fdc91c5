"""The pages of MLflow that links lead to: addresses that worker, server and client agree on."""

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

TRAINING_VIEW: Final = "workflowType=machine_learning"
"""Leads to the view of training runs, and not to that of language models. MLflow 3 reads it behind
the fragment."""
SHARED_VIEW_TAG: Final = "mlflow.sharedViewState."
"""With a key behind it, the tag of an experiment that holds a view of its runs."""
_CHARTS: Final = "compareRunsMode=CHART"


def run_page(base: str, *, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page; empty where the tracking server has no pages.

    Args:
        base: The address of the tracking server, such as http://127.0.0.1:5000.
        experiment_id: The run's experiment.
        run_id: The run.
    """
    scheme, netloc, path, _, _ = urlsplit(base)
    if scheme not in ("http", "https"):
        return ""
    # Whoever reads the record need not know by which name and password results come.
    host = netloc.rpartition("@")[2]
    page = f"/experiments/{experiment_id}/runs/{run_id}?{TRAINING_VIEW}"
    return urlunsplit((scheme, host, f"{path.rstrip('/')}/", "", page))


def view_key(metric: str) -> str:
    """Return the key of an experiment's shared view for jobs that are judged by a metric.

    MLflow finds the view in the experiment's tag of this name behind `SHARED_VIEW_TAG`.
    """
    return f"talweg-{metric.replace('/', '-')}"


def sweep_view_key(sweep: str) -> str:
    """Return the key of an experiment's shared view for the runs of a sweep, by its id."""
    return f"talweg-sweep-{sweep}"


def view_page(base: str, *, experiment_id: str, key: str) -> str:
    """Return the address of an experiment's charts, as the delivery has laid them out.

    Args:
        base: The address of the tracking server's pages.
        experiment_id: The experiment.
        key: Of `view_key` or `sweep_view_key`.
    """
    view = f"viewStateShareKey={quote(key, safe='')}"
    return f"{base}/#/experiments/{quote(experiment_id)}/runs?{view}&{_CHARTS}&{TRAINING_VIEW}"


def runs_page(
    base: str,
    *,
    experiment_ids: Sequence[str],
    run_ids: Sequence[str],
    metric: str,
    ascending: bool,
) -> str:
    """Return the address of the charts of some runs, the best first.

    MLflow ignores a shared view where the address has a filter, and draws all metrics by name.

    Args:
        base: The address of the tracking server's pages.
        experiment_ids: Where the runs are.
        run_ids: The runs.
        metric: By which they are ordered.
        ascending: Whether low values come first.
    """
    listed = ",".join(f"'{run_id}'" for run_id in run_ids)
    fields = {
        "searchFilter": f"attributes.run_id IN ({listed})",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": "true" if ascending else "false",
    }
    page = f"experiments/{quote(experiment_ids[0])}/runs"
    if len(experiment_ids) > 1:
        page = "compare-experiments/s"
        fields["experiments"] = json.dumps(list(experiment_ids), separators=(",", ":"))
    query = urlencode(fields, quote_via=quote, safe="")
    return f"{base}/#/{page}?{query}&{_CHARTS}&{TRAINING_VIEW}"
