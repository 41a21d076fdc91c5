"""Rows of the losses of boxes, and of classes and boxes together."""

from typing import Any

import torch
from tests.worker.losses import formulas
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def overlap(a: Any, b: Any) -> tuple[Number, Number]:
    """Intersection and union of two boxes."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height, sum(areas) - width * height


def around(a: Any, b: Any) -> tuple[Number, Number]:
    """Width and height of the box around two."""
    return max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])


def iou_of(a: Any, b: Any) -> Number:
    both, either = overlap(a, b)
    return both / either if either else mp.mpf(0)


def iou(given: Arrays) -> tuple[list[Number], Number]:
    values = [1 - iou_of(a, b) for a, b in zip(given["pred"], given["target"], strict=True)]
    return values, len(values)


def giou(given: Arrays) -> tuple[list[Number], Number]:
    values = []
    for a, b in zip(given["pred"], given["target"], strict=True):
        width, height = around(a, b)
        empty = width * height - overlap(a, b)[1]
        values.append(1 - iou_of(a, b) + empty / (width * height))
    return values, len(values)


def diou_of(a: Any, b: Any) -> Number:
    width, height = around(a, b)
    x, y = ((a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1))
    return 1 - iou_of(a, b) + (x * x + y * y) / (width**2 + height**2)


def diou(given: Arrays) -> tuple[list[Number], Number]:
    values = [diou_of(a, b) for a, b in zip(given["pred"], given["target"], strict=True)]
    return values, len(values)


def proportions(a: Any, b: Any) -> Number:
    angles = [mp.atan((x[2] - x[0]) / (x[3] - x[1])) for x in (a, b)]
    return 4 / mp.pi**2 * (angles[0] - angles[1]) ** 2


def ciou(given: Arrays, held: Arrays) -> tuple[list[Number], Number]:
    values = []
    names = ("pred", "target")
    for a, b, fixed_a, fixed_b in zip(*(x[n] for x in (given, held) for n in names), strict=True):
        v = proportions(fixed_a, fixed_b)
        alpha = v / (1 - iou_of(fixed_a, fixed_b) + v) if v else 0
        values.append(diou_of(a, b) + alpha * proportions(a, b))
    return values, len(values)


def detection(
    given: Arrays,
    class_loss: Any = "focal",
    box_loss: Any = "giou",
    class_weight: float = 1,
    box_weight: float = 1,
) -> tuple[list[Number], Number]:
    kind, params = ("focal", {}) if class_loss == "focal" else next(iter(class_loss.items()))
    pred, target = given["class_logits"], given["target_classes"].flatten()
    rows = pred.transpose(0, *range(2, pred.ndim), 1).reshape(-1, pred.shape[1])
    params = dict(params)
    ignored = params.pop("ignore_index", -100)
    kept = [(z, int(y)) for z, y in zip(rows, target, strict=True) if y != ignored]
    classes = sum(getattr(formulas, kind)(z, y, **params) for z, y in kept) / len(kept)
    pairs = {"pred": given["boxes"], "target": given["target_boxes"]}
    if box_loss in ("iou", "giou", "diou"):
        values, number = globals()[box_loss](pairs)
    else:
        beta = box_loss["smooth_l1"]["beta"]
        both = zip(pairs["pred"].flatten(), pairs["target"].flatten(), strict=True)
        values = [formulas.smooth_l1(p, y, beta) for p, y in both]
        number = len(values)
    return [class_weight * classes + box_weight * sum(values) / number], 1


# ---------------------------------------------------------------- rows

# Apart, overlapping in both orders, one inside the other, of very different sizes.
_PRED = [
    [0.0, 0.0, 2.0, 1.0],
    [1.0, 1.0, 3.0, 4.5],
    [-2.0, 0.5, 1.5, 3.0],
    [0.25, 0.25, 0.75, 0.5],
    [5.0, 5.0, 5.001, 5.003],
]
_TARGET = [
    [3.0, 2.0, 4.0, 5.0],
    [0.0, 2.0, 2.5, 3.0],
    [-1.0, 1.0, 2.0, 4.0],
    [0.0, 0.0, 1.0, 1.0],
    [0.0, 1.0, 6.0, 7.0],
]
_BOXES = {"pred": _PRED, "target": _TARGET}
_SCENE = {
    "class_logits": [[0.3, -1.2, 2.5], [-0.4, 4.0, -3.0], [0.1, 0.2, 0.3], [5.0, -2.0, 1.0]],
    "target_classes": [2, 0, 1, 0],
    "boxes": _PRED,
    "target_boxes": _TARGET,
}
_MAPS = {
    **_SCENE,
    "class_logits": [[[0.3, -1.0], [1.2, 0.4], [-0.6, 2.0]]],
    "target_classes": [[0, 2]],
}
_ALL = ("pred", "target")

NAMED: list[Named] = [
    Named("iou", _BOXES, iou, learned=_ALL),
    Named("giou", _BOXES, giou, learned=_ALL),
    Named("diou", _BOXES, diou, learned=_ALL),
    Named("ciou", _BOXES, ciou, learned=_ALL, detached=True),
    *(
        Named("detection", given, detection, params, ("class_logits", "boxes"))
        for given in (_SCENE, _MAPS)
        for params in (
            {},
            {"class_weight": 0.3, "box_weight": 2.0},
            {"class_loss": {"focal": {"gamma": 1.5}}, "box_loss": "iou"},
            {
                "class_loss": {"cross_entropy": {"label_smoothing": 0.2}},
                "box_loss": {"smooth_l1": {"beta": 0.3}},
            },
            {"class_loss": {"cross_entropy": {"ignore_index": 2}}, "box_loss": "diou"},
        )
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_KINDS = ("iou", "giou", "diou", "ciou")
_FLAT = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0],
        [1.0, 1.0, 1.0, 3.0],
        [0.0, 0.0, 2.0, 0.0],
        [-1e4, -1e4, 1e4, 1e4],
        [0.0, 0.0, 0.001, 0.001],
        [1e4, 1e4, 1e4, 1e4],
    ]
)
_FAR = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [0.0, 0.0, 0.0]])

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        (loss, {}, {"pred": _FLAT, "target": target})
        for loss in _KINDS
        for target in (_FLAT, _FLAT.flip(0), _FLAT.roll(1, 0))
    ),
    *(
        (
            "detection",
            {"class_loss": kind, "box_loss": box},
            {
                "class_logits": _FAR,
                "target_classes": torch.tensor([0, 1, 2]),
                "boxes": _FLAT,
                "target_boxes": _FLAT.flip(0),
            },
        )
        for kind in ("focal", "cross_entropy")
        for box in (*_KINDS, "smooth_l1", "mae")
    ),
]

_NONE = torch.empty(0, 4)
_UNIT = torch.tensor([[0.0, 0.0, 1.0, 1.0], [-2.0, 3.0, 5.0, 4.0], [0.0, 0.0, 1e-3, 1e-3]])

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    **{loss: (loss, {"pred": _NONE, "target": _NONE}) for loss in _KINDS},
    "detection": (
        "detection",
        {
            "class_logits": torch.empty(0, 3),
            "target_classes": torch.empty(0).long(),
            "boxes": _NONE,
            "target_boxes": _NONE,
        },
    ),
    "detection of nothing that counts": (
        {"detection": {"class_loss": "cross_entropy"}},
        {
            "class_logits": torch.randn(2, 3),
            "target_classes": torch.tensor([-100, -100]),
            "boxes": _NONE,
            "target_boxes": _NONE,
        },
    ),
}

# ---------------------------------------------------------------- refusals

_INDICES = torch.tensor([0, 1, 2])


def _scene(**changed: Tensor) -> dict[str, Tensor]:
    scene = {
        "class_logits": torch.rand(3, 4),
        "target_classes": _INDICES,
        "boxes": _UNIT,
        "target_boxes": _UNIT,
    }
    return {**scene, **changed}


SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (
            loss,
            {"pred": torch.rand(3, 5), "target": _UNIT},
            r"pred must be boxes of shape \(N, 4\), but got shape \(3, 5\)",
        )
        for loss in _KINDS
    ),
    *(
        (loss, {"pred": _UNIT[0], "target": _UNIT[0]}, r"shape \(N, 4\), but got shape \(4,\)")
        for loss in _KINDS
    ),
    *(
        (
            loss,
            {"pred": _UNIT, "target": _UNIT[:1]},
            r"target must have the shape of pred, \(3, 4\), but got \(1, 4\)",
        )
        for loss in _KINDS
    ),
    (
        "detection",
        _scene(boxes=_UNIT[:, :3]),
        r"boxes must be boxes of shape \(N, 4\), but got shape \(3, 3\)",
    ),
    (
        "detection",
        _scene(target_boxes=_UNIT[:2]),
        r"target_boxes must have the shape of boxes, \(3, 4\), but got \(2, 4\)",
    ),
    (
        "detection",
        _scene(target_classes=_INDICES[:2]),
        r"target_classes must have .*, \(3,\), but got \(2,\)",
    ),
    (
        "detection",
        _scene(class_logits=torch.rand(3)),
        r"class_logits must have at least 2 dimensions \(N, C, …\), but got shape \(3,\)",
    ),
    (
        "detection",
        _scene(target_classes=torch.eye(3, 4).long()),
        r"target_classes must be class indices of shape \(3,\), .* as one-hot rows have",
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {"pred": _UNIT, "target": _UNIT.long()}, "target must be floating point, but got")
        for loss in _KINDS
    ),
    (
        "detection",
        _scene(target_classes=torch.rand(3)),
        "target_classes must hold integers, but got torch.float32",
    ),
    ("detection", _scene(boxes=_UNIT.int()), "boxes must be floating point, but got torch.int32"),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("giou", {"boxes": _UNIT, "target": _UNIT}, "missing pred; unknown boxes"),
    ("detection", {"pred": _UNIT, "target": _UNIT}, "missing class_logits, target_classes, boxes"),
]

_SWAPPED = torch.tensor([[0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 2.5, 1.0]])
_UPSIDE = torch.tensor([[0.0, 2.0, 1.0, 1.5]])
VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (
            loss,
            {"pred": _SWAPPED, "target": _UNIT[:2]},
            "pred must have x2 >= x1, but got x1 = 3 and x2 = 2.5 in box 1",
        )
        for loss in _KINDS
    ),
    *(
        (
            loss,
            {"pred": _UNIT[:1], "target": _UPSIDE},
            "target must have y2 >= y1, but got y1 = 2 and y2 = 1.5 in box 0",
        )
        for loss in _KINDS
    ),
    *(
        (loss, {"pred": _UNIT * torch.nan, "target": _UNIT}, "pred must have x2 >= x1, but got")
        for loss in _KINDS
    ),
    (
        "detection",
        _scene(boxes=_SWAPPED, target_boxes=_UNIT[:2]),
        "boxes must have x2 >= x1, but got x1 = 3",
    ),
    (
        "detection",
        _scene(target_classes=torch.tensor([0, 4, 1])),
        "target_classes must be a class index from 0 to 3 .*, but got 4",
    ),
]
