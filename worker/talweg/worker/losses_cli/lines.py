"""Losses over lines of JSON: what `talweg loss check` reads and prints.

JSON has no NaN and no infinity: they are written as the texts "nan", "inf" and "-inf", and read so
too, in the inputs' numbers.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from talweg.spec import SpecError
from talweg.worker.losses import evaluate

DTYPES: Mapping[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int64": torch.int64,
    "bool": torch.bool,
}
"""The types that a line can ask for; those of its floating point numbers are the first four."""

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_KEYS = ("loss", "inputs", "grad", "dtype")
_TEXTS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# Deeper than any loss's inputs, and far from Python's own limit.
_MOST_DIMENSIONS = 16


@dataclass(frozen=True)
class Answer:
    """What came of one line."""

    text: str
    """One line of JSON."""
    failed: bool
    """It tells an error."""


def answers(lines: Iterable[bytes]) -> Iterator[Answer]:
    """Compute the loss of each line; empty lines count, but have no answer.

    Args:
        lines: One JSON object each, in UTF-8.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        failed = False
        try:
            result = _computed(line)
        except (ValueError, RuntimeError) as exc:
            failed = True
            result = {"error": _words(exc)}
        text = json.dumps({"line": number, **result}, allow_nan=False)
        yield Answer(text, failed)


def _computed(line: bytes) -> dict[str, Any]:
    request = _request(line)
    wants_gradient = request.get("grad", False)
    if not isinstance(wants_gradient, bool):
        raise ValueError(f"grad must be true or false, but got {json.dumps(wants_gradient)}")
    inputs = _tensors(request.get("inputs"), request.get("dtype", "float32"))
    if wants_gradient:
        for tensor in inputs.values():
            tensor.requires_grad_(tensor.is_floating_point())
    loss: Any = request.get("loss")  # Of any type, and refused there.
    value = evaluate(loss, inputs)
    result = {"value": _plain(value)}
    if wants_gradient:
        result["grad"] = {name: _plain(slope) for name, slope in _gradients(value, inputs)}
    return result


def _request(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"the line is not JSON: {exc}") from exc
    if not isinstance(request, dict):
        raise ValueError(f"a line must be an object with {', '.join(_KEYS)}")
    unknown = [name for name in request if name not in _KEYS]
    if unknown:
        raise ValueError(f"a line has {', '.join(_KEYS)}, but got {', '.join(unknown)}")
    return request


def _tensors(inputs: object, dtype: object) -> dict[str, Tensor]:
    if not isinstance(inputs, dict):
        raise ValueError("inputs must be an object of numbers by name, such as pred and target")
    default = "float32"
    own: dict[str, Any] = {}
    if isinstance(dtype, dict):
        own = dtype
        unknown = [name for name in own if name not in inputs]
        if unknown:
            raise ValueError(f"dtype must name inputs, but got {', '.join(unknown)}")
    elif dtype in _FLOATS:
        default = str(dtype)
    else:
        raise ValueError(
            f"dtype must be one of {', '.join(_FLOATS)} or an object of types by input, "
            f"but got {json.dumps(dtype)}"
        )
    tensors = {}
    for name, numbers in inputs.items():
        if name in own and not (isinstance(own[name], str) and own[name] in DTYPES):
            raise ValueError(
                f"dtype of {name} must be one of {', '.join(DTYPES)}, "
                f"but got {json.dumps(own[name])}"
            )
        tensors[name] = _tensor(name, numbers, own.get(name), default)
    return tensors


def _tensor(name: str, numbers: object, dtype: str | None, default: str) -> Tensor:
    leaves: list[Any] = []
    shape = _shape(name, numbers, leaves)
    if dtype is None:
        whole = leaves and all(isinstance(leaf, int) for leaf in leaves)
        flags = leaves and all(isinstance(leaf, bool) for leaf in leaves)
        dtype = "bool" if flags else "int64" if whole else default
    try:
        return torch.tensor(leaves, dtype=DTYPES[dtype]).reshape(shape)
    except (OverflowError, RuntimeError, TypeError, ValueError) as exc:
        raise ValueError(f"{name} must hold numbers of {dtype}: {exc}") from exc


def _shape(name: str, value: object, leaves: list[Any], depth: int = 0) -> tuple[int, ...]:
    """Give the shape of nested lists, and collect their numbers."""
    if isinstance(value, list):
        if depth == _MOST_DIMENSIONS:
            raise ValueError(f"{name} must have at most {_MOST_DIMENSIONS} dimensions")
        shapes = list(dict.fromkeys(_shape(name, item, leaves, depth + 1) for item in value))
        if len(shapes) > 1:
            raise ValueError(
                f"{name} must hold lists of one shape, but got {', '.join(map(str, shapes))}"
            )
        return (len(value), *(shapes[0] if shapes else ()))
    if isinstance(value, str) and value in _TEXTS:
        value = _TEXTS[value]
    if not isinstance(value, (int, float)):
        raise ValueError(
            f"{name} must hold numbers in lists of one shape, but got {json.dumps(value)[:80]}"
        )
    leaves.append(value)
    return ()


def _gradients(value: Tensor, inputs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give the gradient of a loss, of an unreduced one of its sum, by each floating input."""
    wanted = {name: tensor for name, tensor in inputs.items() if tensor.requires_grad}
    if not wanted or not value.requires_grad:
        yield from ((name, torch.zeros_like(tensor)) for name, tensor in wanted.items())
        return
    slopes = torch.autograd.grad(value.sum(), list(wanted.values()), allow_unused=True)
    for (name, tensor), slope in zip(wanted.items(), slopes, strict=True):
        yield name, torch.zeros_like(tensor) if slope is None else slope


def _plain(tensor: Tensor) -> Any:
    """Give nested lists, or a number, as JSON can hold it."""
    return _writable(tensor.detach().tolist())


def _writable(value: Any) -> Any:
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def _words(exc: Exception) -> str:
    if isinstance(exc, SpecError):
        return "; ".join(map(str, exc.violations))
    text = str(exc)
    if "floating point, but got torch.int64" in text:
        text += "; whole numbers are int64: write 1.0 for 1, or name the input's dtype"
    return text
