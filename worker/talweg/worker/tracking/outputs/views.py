"""How an experiment's page in MLflow opens: with the charts and columns that matter.

Without it MLflow draws every metric of ten runs by name, the guard's first. MLflow reads a view
from a tag of the experiment where an address names its key; `talweg.spec.tracking` makes these
addresses. The names of fields are those of MLflow's pages.
"""

import json
from typing import Any

from talweg.spec import goal_of, primary_metric
from talweg.spec.tracking import SHARED_VIEW_TAG, view_key
from talweg.v1 import options_pb2
from talweg.v1.spec_pb2 import JobSpec

LOSS_LABEL_TAG = "talweg.loss_label"
"""The tag of a run with its loss and the parameters that are not the usual ones."""
_SECTION = "talweg-results"


def shared_view(spec: JobSpec) -> tuple[str, str]:
    """Return the tag of an experiment that shows jobs of a spec's kind: its key and value.

    It depends on the task and its split alone, so that jobs of one experiment agree.

    Args:
        spec: Filled.
    """
    metric = primary_metric(spec)
    validation = metric.replace("test/", "val/", 1)
    charts = [
        _chart("BAR", [metric]),
        _chart("LINE", [validation]),
        _chart("LINE", ["train/loss_mean", "val/loss"]),
    ]
    shown = list(dict.fromkeys((metric, validation, "val/loss", "train/loss_mean")))
    view = {
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": goal_of(spec, metric) != options_pb2.MAXIMIZE,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": LOSS_LABEL_TAG}],
        },
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in shown),
            "params.`training.seed`",
            "attributes.`Models`",
        ],
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": _SECTION, "name": "results", "display": True, "isReordered": True}
        ],
        "isAccordionReordered": True,
        "runsHiddenMode": "SHOW_ALL",
    }
    return f"{SHARED_VIEW_TAG}{view_key(metric)}", json.dumps(view, separators=(",", ":"))


def _chart(kind: str, metrics: list[str]) -> dict[str, Any]:
    chart = {
        "type": kind,
        "uuid": f"talweg-{kind.lower()}-{'-'.join(metrics)}",
        "metricSectionId": _SECTION,
        "metricKey": metrics[0],
        "displayName": ", ".join(metrics),
        # Else MLflow turns bars of a metric with steps into lines.
        "isGenerated": False,
        "deleted": False,
        "runsCountToCompare": 20,
    }
    return {**chart, "selectedMetricKeys": metrics} if kind == "LINE" else chart
