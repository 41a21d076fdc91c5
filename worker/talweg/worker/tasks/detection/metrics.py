"""How good predicted boxes are, by the tools of COCO."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

_RIGHT_FROM = 0.5

Floats = NDArray[np.float64]


def box_metrics(
    true: Sequence[tuple[Floats, NDArray[np.int64]]],
    predicted: Sequence[tuple[Floats, NDArray[np.int64], Floats]],
) -> dict[str, float]:
    """Return map_50 and mean_iou; what the images leave undefined is left out.

    Args:
        true: Of each image the boxes x1, y1, x2, y2 (K, 4) and their classes (K,).
        predicted: Of each image the boxes (M, 4), their classes (M,) and their scores (M,).
    """
    if not any(len(classes) for _, classes in true):
        return {}
    # It prints of each thing that it does.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco([(boxes, classes, None) for boxes, classes in true])
        evaluation = COCOeval(truth, _coco(predicted), "bbox")
        evaluation.params.iouThrs = np.array([_RIGHT_FROM])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max(1, *(len(scores) for _, _, scores in predicted))]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    # -1 where a class has no true box.
    values = {"map_50": float(precision[precision > -1].mean())}
    matched = list(_matched(evaluation))
    if matched:
        values["mean_iou"] = float(np.mean(matched))
    return values


def _coco(images: Sequence[tuple[Floats, NDArray[np.int64], Floats | None]]) -> Any:
    """Return images, with scores or without, as COCO has them."""
    annotations: list[dict[str, Any]] = []
    for image, (boxes, classes, scores) in enumerate(images):
        sides = boxes[:, 2:] - boxes[:, :2]
        for place, label in enumerate(classes.tolist()):
            annotation = {
                # 0 would count as no match.
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": label,
                "bbox": [*boxes[place, :2].tolist(), *sides[place].tolist()],
                "area": float(sides[place].prod()),
                "iscrowd": 0,
            }
            if scores is not None:
                annotation["score"] = float(scores[place])
            annotations.append(annotation)
    labels = sorted({annotation["category_id"] for annotation in annotations})
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": label} for label in labels],
    }
    coco.createIndex()
    return coco


def _matched(evaluation: Any) -> Any:
    """Return the IoU of each predicted box with the true one that it was matched to."""
    for image in filter(None, evaluation.evalImgs):
        overlaps = evaluation.ious[image["image_id"], image["category_id"]]
        for place, true in enumerate(image["dtMatches"][0].tolist()):
            if true:
                yield overlaps[place, image["gtIds"].index(int(true))]
