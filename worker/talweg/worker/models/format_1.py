"""Descriptions of models in format 1, which said in one word how outputs become predictions."""

from collections.abc import Mapping
from typing import Any

_ACTIVATIONS = ("sigmoid", "softmax")
_OF_PROBABILITIES = "_of_probabilities"


def converted(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description of format 1 in format 2; see `talweg.worker.models.saved`.

    Format 1 had, in place of `prediction`:

        answer      none, exp, sigmoid, softmax; mean_and_sd; ranks or conditional_ranks, either
                    with _of_probabilities behind it; boxes; again or again_by_sigmoid; samples
        scale       what cosines to the classes' vectors are multiplied by, or absent
        boxes       score_threshold, overlap and most, or absent
        targets     besides names: mean, sd and per_target
        heads       answer, boxes and targets of each
    """
    task, inputs = description["task"], dict(description["inputs"])
    units = {name: inputs[name] for name in ("mean", "sd") if name in inputs}
    if task == "gan":
        # Noise goes in, and the statistics are those of what comes out.
        inputs = {"names": inputs["names"]}
    shape = description["input_shape"]
    heads = description.get("heads", [])
    if heads:
        of_heads = [
            {"name": head["name"], "prediction": _prediction(head, "", {}, shape)}
            for head in heads
        ]
        prediction: dict[str, Any] = {"kind": "heads", "heads": of_heads}
    else:
        prediction = _prediction(description, task, units, shape)
    copied = ("model", "input_shape", "num_outputs", "shared")
    shapes = ("name", "num_outputs", "of_pixels", "of_boxes")
    return {
        "format": 2,
        "task": task,
        **{name: description[name] for name in copied if name in description},
        "inputs": inputs,
        "targets": {"names": description["targets"]["names"]},
        **(
            {"heads": [{k: head[k] for k in shapes if k in head} for head in heads]}
            if heads
            else {}
        ),
        "prediction": prediction,
    }


def _prediction(
    of: Mapping[str, Any], task: str, units: Mapping[str, Any], shape: list[int]
) -> dict[str, Any]:
    """Convert the answer of a model, or of a head, whose task is not told."""
    answer, targets = of["answer"], of["targets"]
    if answer == "boxes":
        boxes = of["boxes"]
        return {
            "kind": "boxes",
            "score_threshold": boxes["score_threshold"],
            "overlap": boxes["overlap"],
            "most_boxes": boxes["most"],
            "sides": shape[1:],
        }
    if answer == "samples":
        return {"kind": "samples", **units}
    if answer.startswith("again"):
        activation = "sigmoid" if answer == "again_by_sigmoid" else "none"
        return {"kind": "reconstruction", "activation": activation, **units}
    if "ranks" in answer:
        activation = "none" if answer.endswith(_OF_PROBABILITIES) else "sigmoid"
        conditional = answer.startswith("conditional")
        return {"kind": "ranks", "activation": activation, "conditional": conditional}
    of_targets = {name: targets[name] for name in ("mean", "sd") if name in targets}
    if answer == "mean_and_sd":
        return {"kind": "mean_and_sd", **of_targets}
    if task in ("metric_learning", "self_supervised"):
        return {"kind": "embeddings"}
    if task == "image_translation":
        return {"kind": "image"}
    if task in ("binary", "multilabel", "multiclass"):
        scale = {"cosine_scale": of["scale"]} if "scale" in of else {}
        return {"kind": "probabilities", "activation": answer, **scale}
    if answer in _ACTIVATIONS:
        return {"kind": "pixel_probabilities", "activation": answer}
    return {
        "kind": "numbers",
        "exponential": answer == "exp",
        "outputs_per_target": targets.get("per_target", 1),
        **of_targets,
    }
