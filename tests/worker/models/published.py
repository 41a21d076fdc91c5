"""Published architectures, far smaller than any that was published."""

from typing import Any

import pytest

TINY: dict[str, dict[str, Any]] = {
    "resnet": {
        "architecture": "resnet",
        "block": "basic",
        "embedding_size": 4,
        "hidden_sizes": [4, 8],
        "depths": [1, 1],
    },
    "vit": {
        "architecture": "vit",
        "hidden_sizes": [8],
        "depths": [2],
        "heads": 2,
        "patch_size": 4,
    },
    "convnextv2": {
        "architecture": "convnextv2",
        "hidden_sizes": [4, 8],
        "depths": [1, 1],
        "patch_size": 2,
    },
}

every_architecture = pytest.mark.parametrize("name", TINY)
