"""What people see of a run in MLflow beside its metrics: parameters, tags, and a description."""

import posixpath
import re
from collections.abc import Iterable, Mapping

from talweg.spec import display_name, flatten, kind, label, primary_metric
from talweg.spec.stored import dataset_label
from talweg.v1.spec_pb2 import JobSpec

NOTE_TAG = "mlflow.note.content"
"""The tag that MLflow shows as a run's description, in Markdown."""
_ELLIPSIS = "…"
# What MLflow takes as the name of a tag.
_TAG_KEY = re.compile(r"[\w\-./ :]{1,250}")
_RESERVED = ("mlflow.", "talweg.")
# What MLflow takes in the name of a model.
_NOT_IN_MODEL_NAMES = re.compile(r"""[/:.%"'\x00-\x1f\x7f-\x9f]+""")
_MOST_OF_NAME = 200
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|])")
_MOST_WARNINGS = 10
# What `houses@1a2b3c4d` says, and what the server found out about it.
_TOLD_BY_THE_LABEL = ("dataset.stored.name", "dataset.stored.digest", "dataset.stored.facts")

MAX_PARAM_LENGTH, MAX_TAG_LENGTH = 6000, 5000
"""What MLflow takes of a value."""
Results = Mapping[str, tuple[int, int, float]]
"""The last values of metrics with step and time in milliseconds, by name."""


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters; an ellipsis says where it was cut."""
    return text if len(text) <= most else text[: most - 1] + _ELLIPSIS


def parameters(spec: JobSpec) -> dict[str, str]:
    """Return a job's settings as parameters: no tags, and no reduction that is the usual one.

    Of a replay only its own: the others are another run's.
    """
    params = flatten(spec)
    if spec.HasField("replay"):
        return {path: text for path, text in params.items() if path.startswith("replay.")}
    if spec.dataset.HasField("stored"):
        params["dataset"] = dataset_label(spec.dataset)
    if spec.learning_rates:
        # MLflow takes no patterns in names.
        rates = sorted(spec.learning_rates.items())
        params = {
            path: text for path, text in params.items() if not path.startswith("learning_rates.")
        }
        params["learning_rates"] = ", ".join(f"{name}: {rate:g}" for name, rate in rates)
    return {
        name: value
        for name, value in params.items()
        if not name.startswith(("tags.", *_TOLD_BY_THE_LABEL))
        and not (name.rpartition(".")[2] == "reduction" and value == "mean")
    }


def job_tags(spec: JobSpec) -> dict[str, str]:
    """Return a job's own tags, without those whose names MLflow or the delivery would not take."""
    return {
        key: value
        for key, value in spec.tags.items()
        if _TAG_KEY.fullmatch(key)
        and posixpath.normpath(key) == key
        and not key.startswith(("/", "..", *_RESERVED))
    }


def model_name(spec: JobSpec) -> str:
    """Return what a job's logged model is called, after the job."""
    name = _NOT_IN_MODEL_NAMES.sub("-", display_name(spec)).strip("- ")
    return name[:_MOST_OF_NAME] or "model"


def model_params(spec: JobSpec) -> dict[str, str]:
    """Return the settings by which logged models are told apart in a list."""
    named = {
        "task": kind(spec.task)[0],
        "dataset": dataset_label(spec.dataset),
        "model": kind(spec.model)[0],
        "loss": label(spec.loss),
        "seed": str(spec.training.seed),
    }
    return {name: value for name, value in named.items() if value}


def is_result(metric: str) -> bool:
    """Return whether a metric is one of the figures that a job is judged by."""
    return metric.startswith(("test/", "trivial/"))


def description(spec: JobSpec, results: Results, warnings: Iterable[str], message: str) -> str:
    """Return a run's description in Markdown: what ran, what came of it, and what to heed.

    Args:
        spec: Filled.
        results: The values of metrics for which `is_result` holds.
        warnings: In words.
        message: How the job ended, in words; empty where it succeeded.
    """
    parts = [
        f"**{plain(kind(spec.task)[0])}** on {plain(dataset_label(spec.dataset))}: "
        f"{plain(kind(spec.model)[0])}, loss {plain(label(spec.loss))}"
    ]
    metric = primary_metric(spec)
    if metric in results:
        value = f"{results[metric][2]:.5g}"
        trivial = results.get(metric.replace("test/", "trivial/", 1))
        beside = f" (trivial predictor: {trivial[2]:.5g})" if trivial is not None else ""
        parts.append(f"{plain(metric)} **{value}**{beside}")
    if message:
        parts.append(plain(message))
    told = list(dict.fromkeys(warnings))
    if told:
        lines = [f"- {plain(each)}" for each in told[:_MOST_WARNINGS]]
        if len(told) > _MOST_WARNINGS:
            lines.append(f"- and {len(told) - _MOST_WARNINGS} more")
        parts.append("Warnings:\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def plain(text: str) -> str:
    """Return a text from anywhere as Markdown that shows it as it is."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
