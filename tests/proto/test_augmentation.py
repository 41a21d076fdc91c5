"""Augmentation that a task, data set or loss cannot have is refused, with what to do."""

from typing import Any

import pytest
from tests.proto.specs import base, checked, classes

from talweg.spec import fill, from_dict, to_dict

CONVNET = {"convnet": {"channels": [4]}}


def augmented(augmentation: Any, **changes: Any) -> dict[str, Any]:
    value = classes(**{"model": CONVNET, **changes})
    return {**value, "training": {"epochs": 2, "augmentation": augmentation}}


def test_terms_have_their_short_forms_and_defaults() -> None:
    spec = fill(from_dict(augmented({"flip": {}, "rotate": 10, "colour": {}, "mixup": 0.4})))
    filled = to_dict(spec)["training"]["augmentation"]
    assert filled["flip"] == {"horizontal": True, "vertical": False, "probability": 0.5}
    assert filled["rotate"] == {"degrees": 10, "probability": 1}
    assert filled["mixup"] == {"alpha": 0.4, "probability": 1}
    assert filled["color"]["hue"] == 0.02
    assert set(filled) == {"flip", "rotate", "color", "mixup"}
    assert "augmentation" not in to_dict(fill(from_dict(classes())))["training"]


@pytest.mark.parametrize(
    "value",
    [
        augmented({"flip": {}, "rotate": {}, "crop": {}, "color": {}, "noise": {}, "cutout": {}}),
        augmented({"mixup": {}, "cutmix": {}}),
        augmented(
            {"mixup": {}},
            loss={"sum": {"terms": [{"loss": "cross_entropy"}, {"loss": "cross_entropy"}]}},
        ),
    ],
)
def test_what_fits_passes(value: dict[str, Any]) -> None:
    assert checked(value)[0] == []


SCENES = {"dataset": "digit_scenes", "loss": "mae", "model": {"unet": {"channels": [4]}}}


@pytest.mark.parametrize(
    ("value", "field", "text"),
    [
        (augmented({}), "", "at least one of"),
        (augmented({"rotate": {"degrees": 200}}), ".rotate.degrees", "<= 180"),
        (augmented({"flip": {"horizontal": False}}), ".flip", "at least one of them"),
        (augmented({"mixup": {}}, loss="focal"), ".mixup", "cross_entropy"),
        (
            augmented(
                {"cutmix": {}},
                loss={"sum": {"terms": [{"loss": "cross_entropy"}, {"loss": "poly1"}]}},
            ),
            ".cutmix",
            "poly1, which takes no soft targets",
        ),
        (augmented({"rotate": 5}, task="image_translation", **SCENES), ".rotate", "corners"),
        (augmented({"mixup": {}}, task="image_translation", **SCENES), ".mixup", "multiclass"),
    ],
)
def test_what_does_not_fit_is_refused(value: dict[str, Any], field: str, text: str) -> None:
    violations = {each.field: str(each) for each in checked(value)[0]}
    assert text in violations.get(f"training.augmentation{field}", ""), violations


def test_tables_have_no_images() -> None:
    value = base()
    value["training"]["augmentation"] = {"flip": {}}
    (violation,) = checked(value)[0]
    assert violation.field == "training.augmentation"
    assert "shape (10,)" in violation.found
