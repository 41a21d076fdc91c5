"""Sweeps that tests share."""

from typing import Any

from tests.proto.specs import base

from talweg.spec import from_dict
from talweg.spec.sweeps import Plan, fill_sweep
from talweg.v1.sweeps_pb2 import SweepSpec

RATE = "optimizer.adamw.learning_rate"
INTERVAL = {"path": RATE, "log_uniform": {"low": 1e-4, "high": 1e-2}}


def sweep(**fields: Any) -> SweepSpec:
    """Return a sweep over two losses, as a user writes it; `fields` replace its own."""
    given = {"base": base(), "space": [{"path": "loss", "values": ["mse", "mae"]}], **fields}
    return from_dict(given, SweepSpec, path="")


def plan_of(**fields: Any) -> Plan:
    """Return the plan of such a sweep."""
    return Plan(fill_sweep(sweep(**fields)))


def space(*dimensions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return fields of a sweep over some dimensions."""
    return {"space": list(dimensions), **fields}


def values(path: str, *listed: Any) -> dict[str, Any]:
    """Return a dimension of listed values."""
    return {"path": path, "values": list(listed)}
