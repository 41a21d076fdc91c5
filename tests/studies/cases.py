"""What the study learns: files and folders that other packages ship, and jobs on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tests.studies import pictures


@dataclass(frozen=True)
class Case:
    """Data of others, and what is to be learnt from them."""

    name: str
    """Of the case, and of the stored data."""
    source: str
    """The file in its package; of images the package."""
    task: str
    losses: Sequence[Any]
    """At least two; the recommended one joins them."""
    unit: str
    """Of the main metric, for the table."""
    target: str = ""
    roles: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    """What the job has beside data, task, loss and seed."""
    prepare: Callable[[Path, Path], pictures.Prepared] | None = None
    """Of images: makes the folder to upload, from packages and into a folder."""
    rewrite: Mapping[str, Any] | None = None
    """How pandas saves a table anew before it is uploaded; as it is if None."""


_TABLE = {
    "model": {"mlp": {"hidden": [64, 64]}},
    "training": {"epochs": 60, "early_stopping": {"patience": 10}},
}
_CLASSES: tuple[Any, ...] = ("cross_entropy", {"focal": {}})
_BINARY: tuple[Any, ...] = ("bce_with_logits", {"focal_binary": {}})

TABLES = (
    Case(
        "penguins", "palmerpenguins/data/penguins-raw.csv", "multiclass", _CLASSES, "",
        target="Species",
        roles={"group": "Individual ID", "ignore": ["Comments", "Sample Number", "studyName"]},
        spec=_TABLE,
    ),
    Case(
        "weather", "vega_datasets/_data/seattle-weather.csv", "multiclass",
        ("cross_entropy", {"cross_entropy": {"weight": "balanced"}}), "",
        target="weather", roles={"time": "date"}, spec=_TABLE,
    ),
    Case(
        "affairs", "statsmodels/datasets/fair/fair.csv", "regression", ("mse", "mae", "huber"),
        "index", target="affairs", spec=_TABLE,
    ),
    Case(
        "election", "statsmodels/datasets/anes96/anes96.csv", "binary", _BINARY, "",
        target="vote", spec=_TABLE,
    ),
    Case(
        "travel", "statsmodels/datasets/modechoice/modechoice.csv", "binary", _BINARY, "",
        target="choice", roles={"group": "individual"}, spec=_TABLE,
    ),
    Case(
        "visits", "statsmodels/datasets/randhie/randhie.csv", "regression",
        ("mse", "mae", "poisson_nll"), "visits", target="mdvis", spec=_TABLE,
    ),
    Case(
        "cars", "statsmodels/gam/tests/results/autos.csv", "regression", ("mse", "huber", "mae"),
        "miles per gallon", target="city_mpg", spec=_TABLE,
        # As a spreadsheet saves it where numbers have decimal commas.
        rewrite={"sep": ";", "decimal": ",", "encoding": "utf-16"},
    ),
    Case(
        "riots", "vega_datasets/_data/la-riots.csv", "multiclass", _CLASSES, "", target="race",
        roles={"ignore": ["first_name", "last_name", "address", "neighborhood"]}, spec=_TABLE,
    ),
)  # fmt: skip

IMAGES = (
    Case(
        "emoji", "emoji-datasource-twitter", "multiclass",
        ("cross_entropy", {"cross_entropy": {"weight": "balanced"}}), "",
        target="label", read={"size": [32, 32]}, prepare=pictures.emoji,
        spec={
            "model": {"convnet": {"channels": [16, 32, 64]}},
            "training": {"epochs": 15, "batch_size": 32, "early_stopping": {"patience": 4}},
        },
    ),
    Case(
        "nuclei", "stardist", "segmentation", ("cross_entropy", "ce_dice"), "",
        prepare=pictures.nuclei, roles={"split": "split"},
        spec={
            "model": {"unet": {"channels": [16, 32]}},
            "optimizer": {"adamw": {"learning_rate": 0.003}},
            "training": {"epochs": 40, "batch_size": 8, "evaluate_every_epochs": 8},
        },
    ),
    Case(
        "trees", "deepforest", "detection",
        (
            {"detection": {"class_loss": "focal", "box_loss": "giou"}},
            {"detection": {"class_loss": "focal", "box_loss": "ciou"}},
        ),
        "",
        prepare=pictures.trees, roles={"split": "split"},
        spec={
            "model": {"detector": {"channels": [32, 64]}},
            "optimizer": {"adamw": {"learning_rate": 0.005}},
            "schedule": {"one_cycle": {}},
            "training": {"epochs": 16, "batch_size": 8, "evaluate_every_epochs": 8},
        },
    ),
)  # fmt: skip


def table_of(case: Case, folder: Path, to: Path) -> tuple[Path, pd.DataFrame]:
    """Return the file of a table to upload, and what a user's own program reads of it."""
    path = folder / case.source
    quote = "'" if path.name.startswith("anes") else '"'
    frame = pd.read_csv(path, sep=None, engine="python", quotechar=quote)
    if case.rewrite is None:
        return path, frame
    rewritten = to / path.name
    frame.to_csv(rewritten, index=False, **case.rewrite)
    return rewritten, frame
