"""The pages of MLflow that links lead to: addresses that worker, server and client agree on."""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

TRAINING_VIEW: Final = "workflowType=machine_learning"
"""Leads to the view of training runs, and not to that of language models. MLflow 3 reads it behind
the fragment."""


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
