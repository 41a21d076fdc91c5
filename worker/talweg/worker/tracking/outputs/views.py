"""How an experiment's page in MLflow opens: with the charts and columns that matter.

Without it MLflow draws every metric of ten runs by name, the guard's first. MLflow reads a view
from a tag of the experiment where an address names its key; `talweg.spec.tracking` makes these
addresses. The names of fields are those of MLflow's pages.
"""

import json
from typing import Any

from talweg.spec import goal_of, primary_metric
from talweg.spec.tracking import SHARED_VIEW_TAG, sweep_view_key, view_key
from talweg.v1 import options_pb2
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Dimension, Sweep

LOSS_LABEL_TAG = "talweg.loss_label"
"""The tag of a run with its loss and the parameters that are not the usual ones."""
_SECTION = "talweg-results"
# A line for each run: MLflow draws no more by default.
_MOST_LINES = 20


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


def sweep_view(sweep: Sweep, test_metric: str, *, ascending: bool) -> tuple[str, str]:
    """Return the tag of an experiment that shows the runs of a sweep alone: its key and value.

    Args:
        sweep: The sweep.
        test_metric: What is shown beside the objective.
        ascending: Whether low values of the objective are better.
    """
    objective = sweep.spec.objective.metric
    id_ = sweep.name.removeprefix("sweeps/")
    paths = [path for each in sweep.spec.space for path in _paths(each)]
    metrics = list(dict.fromkeys((objective, test_metric)))
    charts = [
        {
            **_chart("PARALLEL", metrics),
            "selectedParams": paths,
            "selectedMetrics": metrics,
            "showAllRuns": True,
        }
    ]
    numbers = [path for each in sweep.spec.space for path in _paths(each) if _is_number(each)]
    for path in numbers[:1]:
        axes = {
            "xaxis": {"key": path, "type": "PARAM"},
            "yaxis": {"key": objective, "type": "METRIC"},
        }
        charts.append({**_chart("SCATTER", [path, objective]), **axes})
    charts.append(_chart("LINE", [objective]))
    view = {
        "searchFilter": f"tags.`talweg.sweep` = '{id_}'",
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": ascending,
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in metrics),
            *(f"params.`{path}`" for path in paths),
            "params.`training.seed`",
        ],
        "compareRunCharts": charts,
        "compareRunSections": [
            {
                "uuid": _SECTION, "name": "sweep", "display": True, "isReordered": True,
                "columns": 2,
            }
        ],
        "isAccordionReordered": True,
        "runsHiddenMode": "SHOW_ALL",
    }  # fmt: skip
    return f"{SHARED_VIEW_TAG}{sweep_view_key(id_)}", json.dumps(view, separators=(",", ":"))


def _paths(dimension: Dimension) -> list[str]:
    """Return what a dimension varies in every job; what its choices vary only some jobs have."""
    return [dimension.path] if dimension.path else [each.path for each in dimension.zip]


def _is_number(dimension: Dimension) -> bool:
    if dimension.values.values:
        return all(each.HasField("number_value") for each in dimension.values.values)
    return (
        dimension.HasField("uniform")
        or dimension.HasField("log_uniform")
        or dimension.HasField("integers")
    )


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
        "runsCountToCompare": _MOST_LINES,
    }
    return {**chart, "selectedMetricKeys": metrics} if kind == "LINE" else chart
