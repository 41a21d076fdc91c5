"""The keyword arguments of `Client.recommend`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from talweg.client._errors import to_message
from talweg.v1.recommendations_pb2 import ProblemFacts


class FactArguments(TypedDict, total=False):
    """The fields of `ProblemFacts` in their JSON form; `talweg recommend --help` explains them."""

    outliers: float
    heavy_tailed: bool
    targets: Literal["numbers", "counts", "amounts"]
    noise_varies: bool
    error_bars: bool
    quantiles: Sequence[float]
    over_cost: float
    smooth: bool
    imbalance: float
    miss_cost: float
    easy_samples: bool
    noisy_labels: float
    calibrated: bool
    metric: Literal[
        "mae", "rmse", "accuracy", "f1", "f1_macro", "auroc", "iou", "dice", "psnr", "ssim"
    ]
    num_classes: int
    embeddings: bool
    teacher: bool
    unaligned: bool
    foreground: float
    small_objects: bool
    masks: Literal["multiclass", "binary", "multilabel"]
    empty_images: bool
    elongated: bool
    known: Literal["labels", "pairs", "triplets", "order"]
    batch_size: int
    two_kinds: bool
    queue: bool
    predictor: bool
    critic: Literal["free", "gradient_penalty", "clipped", "spectral_norm"]
    inputs: Literal["values", "fractions"]
    disentangled: bool
    code_ignored: bool
    grainy: bool
    task_types: Sequence[Literal["regression", "classification"]]
    first_losses: Sequence[float]
    speeds_differ: bool
    look_alike: bool


def to_facts(base: ProblemFacts | None, more: Mapping[str, Any]) -> ProblemFacts:
    """Override a message of facts by facts in JSON form.

    Raises:
        InvalidRequest: Names are unknown or values have a wrong type.
    """
    facts = ProblemFacts()
    if base is not None:
        facts.CopyFrom(base)
    if not more:
        return facts
    overrides = to_message(more, ProblemFacts, path="facts")
    for field, _ in overrides.ListFields():
        facts.ClearField(field.name)  # type: ignore[arg-type]
    facts.MergeFrom(overrides)
    return facts
