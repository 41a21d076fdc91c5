"""Names and forms that MLflow takes."""

import re
from collections.abc import Mapping
from typing import Any

from talweg.spec import to_dict
from talweg.v1.spec_pb2 import JobSpec

_NOT_ALLOWED = re.compile(r"[^\w\-. /:]", re.ASCII)
_MAX_KEY_LENGTH = 250


def params(fields: Mapping[str, str]) -> dict[str, str]:
    """A spec's fields as parameters: names that MLflow refuses (of tags) with _ in them."""
    return {_NOT_ALLOWED.sub("_", name)[:_MAX_KEY_LENGTH]: value for name, value in fields.items()}


def data_source(spec: JobSpec) -> dict[str, Any]:
    """What makes the data what it is: data set, split and preprocessing."""
    whole = to_dict(spec)
    return {part: whole[part] for part in ("dataset", "split", "preprocessing") if part in whole}
