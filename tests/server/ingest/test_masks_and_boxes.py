"""Folders of images with masks or boxes: what is stored, and what is refused with its place."""

import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.server.ingest.parts import Result, image, ingest, read, tar


def stored(result: Result) -> dict[str, Any]:
    arrays: dict[str, Any] = load_file(result.folder / "data.safetensors")
    return arrays


def png(values: Any, *, palette: bool = False) -> bytes:
    """A PNG of these values, height 6 and width 8 where they are one number."""
    pixels = np.array(values)
    if not pixels.ndim:
        pixels = np.full((6, 8), values)
    picture = Image.fromarray(pixels.astype(np.uint16 if pixels.max() > 255 else np.uint8))
    if palette:
        picture.putpalette(bytes(range(256)) * 3)
        assert picture.mode == "P"
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()


def halves(left: int, right: int) -> np.ndarray[Any, Any]:
    values = np.full((6, 8), right, np.uint8)
    values[:, :4] = left
    return values


def with_masks(*masks: bytes, classes: str = "") -> dict[str, bytes]:
    files = {f"set/images/{n}.jpg": image(kind="JPEG", seed=n) for n in range(len(masks))}
    files |= {f"set/masks/{index}.png": mask for index, mask in enumerate(masks)}
    if classes:
        files["set/classes.txt"] = classes.encode()
    return files


def counts(result: Result, name: str) -> dict[str, int]:
    return {each.value: each.count for each in result.column(name).values}


@pytest.mark.parametrize("palette", [False, True])
def test_masks_become_classes_by_name(tmp_path: Path, palette: bool) -> None:
    files = with_masks(
        png(halves(0, 2), palette=palette),
        png(halves(1, 255), palette=palette),
        classes="ground\nroad\ncar\n",
    )
    result = read(tmp_path, tar(files), "t.tar")
    arrays = stored(result)
    assert result.types == {"image": "INTEGER", "mask": "CATEGORY"}
    assert arrays["mask"].dtype == np.uint8
    np.testing.assert_array_equal(arrays["mask"], [halves(0, 2), halves(1, 255)])
    assert counts(result, "mask") == {"ground": 24, "road": 24, "car": 24}
    assert result.column("mask").ignore_index == 255
    assert any("255 have no class" in text for text in result.info.warnings)
    assert not any("left out" in text for text in result.info.warnings)


def test_masks_of_white_are_of_two_classes_unless_white_is_said_to_be_none(tmp_path: Path) -> None:
    content = tar(with_masks(png(halves(0, 255)), png(0)))
    result = read(tmp_path / "a", content, "t.tar")
    assert counts(result, "mask") == {"background": 72, "class 1": 24}
    assert not result.column("mask").HasField("ignore_index")
    ignoring = read(tmp_path / "b", content, "t.tar", ignore_index=255)
    assert counts(ignoring, "mask") == {"background": 72, "class 1": 0}
    assert ignoring.column("mask").ignore_index == 255
    assert ignoring.info.digest != result.info.digest


def test_another_value_is_ignored_where_that_is_said(tmp_path: Path) -> None:
    content = tar(with_masks(png(halves(0, 1)), png(halves(9, 1))))
    result = read(tmp_path, content, "t.tar", ignore_index=9)
    assert counts(result, "mask") == {"background": 24, "class 1": 48}
    assert result.column("mask").ignore_index == 9


def test_gaps_between_numbers_of_classes_are_told(tmp_path: Path) -> None:
    result = read(tmp_path, tar(with_masks(png(halves(0, 128)))), "t.tar")
    assert len(result.column("mask").values) == 129
    assert any("values 0, 128 alone" in text for text in result.info.warnings)


def test_masks_are_resized_without_new_values(tmp_path: Path) -> None:
    files = with_masks(png(halves(0, 2)), png(np.full((12, 16), 2)))
    files["set/images/1.jpg"] = image(12, 16, kind="JPEG")
    result = read(tmp_path, tar(files), "t.tar", size=[3, 5])
    arrays = stored(result)
    assert arrays["image"].shape == (2, 3, 3, 5)
    assert arrays["mask"].shape == (2, 3, 5)
    assert set(np.unique(arrays["mask"])) == {0, 2}


@pytest.mark.parametrize("form", ["{part}/{kind}/{name}", "{kind}/{part}/{name}"])
def test_parts_of_the_data_become_a_column(tmp_path: Path, form: str) -> None:
    files = {}
    for part in ("train", "val"):
        files[form.format(part=part, kind="images", name="1.png")] = image()
        files[form.format(part=part, kind="masks", name="1.png")] = png(halves(0, 1))
    result = read(tmp_path, tar(files), "t.tar")
    assert counts(result, "split") == {"train": 1, "validation": 1}


def coco(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "info": {"year": 2020},
        "images": [
            {"id": 7, "file_name": "a.png", "height": 6, "width": 8},
            {"id": 3, "file_name": "b.png"},
            {"id": 5, "file_name": "c.png"},
        ],
        "annotations": [
            {"image_id": 5, "category_id": 90, "bbox": [1, 2, 3, 4]},
            {"image_id": 7, "category_id": 2, "bbox": [0.5, 0, 7.5, 6.2]},
            {"image_id": 5, "category_id": 2, "bbox": [0, 0, 2, 1], "iscrowd": 0},
            {"image_id": 5, "category_id": 2, "bbox": [0, 0, 8, 6], "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    return content | changes


def with_coco(content: Any) -> dict[str, bytes]:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    images = {f"images/{name}.png": image(seed=ord(name)) for name in "abc"}
    return {**images, "annotations.json": text}


def test_boxes_of_coco(tmp_path: Path) -> None:
    result = read(tmp_path, tar(with_coco(coco())), "t.tar")
    arrays = stored(result)
    assert result.types == {
        "image": "INTEGER", "boxes": "NUMBER", "classes": "CATEGORY", "count": "INTEGER",
    }  # fmt: skip
    assert arrays["boxes"].dtype == np.float32
    assert arrays["count"].tolist() == [1, 0, 2]
    assert arrays["boxes"][0].tolist() == [[0.5, 0, 8, 6], [0, 0, 0, 0]]
    assert arrays["boxes"][2].tolist() == [[1, 2, 4, 6], [0, 0, 2, 1]]
    # In the order of their numbers.
    assert counts(result, "classes") == {"background": 0, "cat": 2, "dog": 1}
    assert arrays["classes"].tolist() == [[1, 0], [0, 0], [2, 1]]
    assert any("1 boxes of crowds" in text for text in result.info.warnings)
    assert any("1 boxes stood out" in text for text in result.info.warnings)


def test_boxes_of_coco_by_part_and_scaled(tmp_path: Path) -> None:
    files = {}
    for part, height in (("train", 6), ("valid", 12)):
        files[f"{part}/x.png"] = image(height, 2 * height)
        content = {
            "images": [{"id": 0, "file_name": "x.png"}],
            "annotations": [{"image_id": 0, "category_id": 1, "bbox": [6, 0, 3, height]}],
            "categories": [{"id": 1, "name": "tree"}],
        }
        files[f"{part}/_annotations.coco.json"] = json.dumps(content).encode()
    result = read(tmp_path, tar(files), "t.tar", size=[3, 12])
    assert stored(result)["boxes"][:, 0].tolist() == [[6, 0, 9, 3], [3, 0, 4.5, 3]]
    assert counts(result, "split") == {"train": 1, "validation": 1}


def with_yolo(labels: Mapping[str, str], classes: str = "cat\ndog\n") -> dict[str, bytes]:
    files = {f"images/{name}.png": image(seed=ord(name)) for name in "abc"}
    files |= {f"labels/{name}.txt": text.encode() for name, text in labels.items()}
    return files | ({"classes.txt": classes.encode()} if classes else {})


def test_boxes_of_yolo(tmp_path: Path) -> None:
    labels = {"a": "1 0.5 0.5 0.25 0.5\n\n0 0.125 0.5 0.25 1\n", "b": ""}
    result = read(tmp_path, tar(with_yolo(labels)), "t.tar")
    arrays = stored(result)
    assert arrays["count"].tolist() == [2, 0, 0]
    assert arrays["boxes"][0].tolist() == [[3, 1.5, 5, 4.5], [0, 0, 2, 6]]
    assert arrays["classes"][0].tolist() == [2, 1]
    assert counts(result, "classes") == {"background": 0, "cat": 1, "dog": 1}
    assert any("1 images have no file in labels/" in text for text in result.info.warnings)


def test_boxes_of_yolo_without_names(tmp_path: Path) -> None:
    labels = {"a": "2 0.5 0.5 0.25 0.5", "b": "0 .5 .5 .1 .1", "c": ""}
    files = with_yolo(labels, classes="")
    result = read(tmp_path, tar(files), "t.tar")
    assert counts(result, "classes") == {
        "background": 0, "class 0": 1, "class 1": 0, "class 2": 1,
    }  # fmt: skip


class Case(NamedTuple):
    """A broken folder."""

    files: dict[str, bytes]
    place: str
    found: str
    options: dict[str, Any] = {}


ONE = png(halves(0, 1))
BOX = {"image_id": 7, "category_id": 2, "bbox": [1, 1, 2, 2]}


def of_coco(**changes: Any) -> dict[str, bytes]:
    return with_coco(coco(**changes))


def of_box(**changes: Any) -> dict[str, bytes]:
    return of_coco(annotations=[BOX | changes])


def of_image(**changes: Any) -> dict[str, bytes]:
    images = coco()["images"]
    return of_coco(images=[images[0] | changes, *images[1:]], annotations=[BOX])


def of_line(line: str) -> dict[str, bytes]:
    return with_yolo({"a": "0 .5 .5 .1 .1", "b": f"0 .5 .5 .1 .1\n{line}\n"})


JSON = '"annotations.json"'
FIRST = f"{JSON}, annotations[0]"
LINE = '"labels/b.txt", line 2'
CASES = [
    # Masks.
    Case(with_masks(ONE, png(np.ones((6, 9)))), '"masks/1.png"', "a mask of 6×9"),
    Case(with_masks(ONE, png(3), classes="a\nb\nc"), '"masks/1.png"', "the value 3"),
    Case(with_masks(ONE, png(halves(7, 8)), classes="a\nb\nc"), '"masks/1.png"', "values 7, 8"),
    Case(with_masks(ONE, png(4), classes="a\nb"), '"masks/1.png"', "4", {"ignore_index": 9}),
    Case(with_masks(png(255), png(255)), "masks", "the value 255 alone"),
    Case(with_masks(ONE, image()), '"masks/1.png"', "channels of colours (RGB)"),
    Case(with_masks(ONE, png(300)), '"masks/1.png"', "values from 300 to 300"),
    Case(with_masks(ONE, image(mode="L", kind="JPEG")), '"masks/1.png"', "does not decode"),
    Case(with_masks(ONE, ONE[:50]), '"masks/1.png"', "does not decode"),
    Case({**with_masks(ONE), "set/images/x.png": image()}, '"images/x.png"', "without a mask"),
    Case({**with_masks(ONE), "set/masks/x.png": ONE}, '"masks/x.png"', "without an image"),
    Case({**with_masks(ONE), "set/x.png": image()}, '"x.png"', "outside images/"),
    Case({**with_masks(ONE), "set/images/0.png": image()}, '"images/0.png"', "a further image"),
    Case({**with_masks(ONE), "set/images/0.jpg": b"no"}, '"images/0.jpg"', "does not decode"),
    Case(with_masks(ONE, classes="a\na"), '"classes.txt", line 2', '"a", as in line 1'),
    Case(with_masks(ONE, classes="a\n\nb"), '"classes.txt", line 2', "an empty line"),
    Case({**with_masks(ONE), "set/classes.txt": b"\xff\xfe"}, '"classes.txt"', "no utf-8"),
    Case({**with_masks(ONE), "set/classes.txt": b" "}, '"classes.txt"', "no name"),
    Case({**with_masks(ONE), "set/annotations.json": b"{}"}, "t.tar", "and boxes of COCO"),
    # COCO.
    Case(with_coco(b"{"), JSON, "no JSON"),
    Case(with_coco(b"[" * 100_000), JSON, "no JSON"),
    Case(with_coco(b"\xff"), JSON, "no JSON"),
    Case(with_coco([1]), JSON, "no COCO: a list"),
    Case(with_coco({"images": []}), JSON, "no COCO: no list annotations, categories"),
    Case(of_coco(annotations={}), JSON, "no list annotations"),
    Case(of_coco(annotations=[3]), FIRST, "no object"),
    Case(of_coco(categories=[]), JSON, "no category"),
    Case(of_coco(categories=[{"id": "x", "name": "a"}]), f"{JSON}, categories[0]", "the id"),
    Case(of_coco(categories=[{"id": 1}]), f"{JSON}, categories[0]", "the name nothing"),
    Case(of_coco(categories=[{"id": 1, "name": "a"}] * 2), f"{JSON}, categories[1]", "once more"),
    Case(of_coco(annotations=[]), "boxes", "no box in any image"),
    Case(of_box(image_id=99), FIRST, 'the image_id "99"'),
    Case(of_box(image_id=[1]), FIRST, "the image_id"),
    Case(of_box(category_id=99), FIRST, 'the category_id "99"'),
    Case(of_box(category_id=None), FIRST, "the category_id nothing"),
    Case(of_box(bbox=[1, 2, 3]), FIRST, "the bbox"),
    Case(of_box(bbox=[1, 2, 3, "4"]), FIRST, "the bbox"),
    Case(of_box(bbox=[1, 2, 3, True]), FIRST, "the bbox"),
    Case(of_box(bbox=[1, 2, 3, 10**400]), FIRST, "the bbox"),
    Case(of_box(bbox=None), FIRST, "the bbox nothing"),
    Case(of_box(bbox=[1, 2, float("nan"), 4]), FIRST, "nan"),
    Case(of_box(bbox=[1, 2, 3, float("inf")]), FIRST, "inf"),
    Case(of_box(bbox=[1, 2, -3, 4]), FIRST, "width -3"),
    Case(of_box(bbox=[1, 2, 3, 0]), FIRST, "height 0"),
    Case(of_box(bbox=[-4, 0, 5, 5]), FIRST, "outside its image"),
    Case(of_box(bbox=[4, 0, 5, 5]), FIRST, "(4, 0) to (9, 5) pixels, outside"),
    Case(of_box(bbox=[1, 1, 1e-9, 5]), FIRST, "a box of 1e-09×5 pixels"),
    Case(of_image(file_name="z.png"), f"{JSON}, images[0]", "z.png"),
    Case(of_image(file_name="b.png"), f"{JSON}, images[1]", "once more"),
    Case(of_image(file_name=None), f"{JSON}, images[0]", "the file_name nothing"),
    Case(of_image(file_name="../../etc/passwd"), f"{JSON}, images[0]", "passwd"),
    Case(of_image(id=3), f"{JSON}, images[1]", "the id 3 once more"),
    Case(of_image(id=[1]), f"{JSON}, images[0]", "the id"),
    Case(of_image(width=6, height=8), f"{JSON}, images[0]", 'height "8" and width "6"'),
    Case(of_coco(images=coco()["images"][:2], annotations=[BOX]), '"images/c.png"', "not list"),
    # YOLO.
    Case(of_line("0 .5 .5 .1"), LINE, "4 numbers"),
    Case(of_line("0 .5 .5 .1 .1 .9"), LINE, "6 numbers"),
    Case(of_line("0 .1 .1 .2 .1 .2 .2 .1 .2"), LINE, "9 numbers"),
    Case(of_line("cat .5 .5 .1 .1"), LINE, "no numbers"),
    Case(of_line("0 nan .5 .1 .1"), LINE, "no numbers"),
    Case(of_line("2 .5 .5 .1 .1"), LINE, 'the class "2"'),
    Case(of_line("-1 .5 .5 .1 .1"), LINE, 'the class "-1"'),
    Case(of_line("0.5 .5 .5 .1 .1"), LINE, 'the class "0.5"'),
    Case(of_line("0 .5 .5 -.1 .1"), LINE, "the box"),
    Case(of_line("0 .5 .5 0 .1"), LINE, "width 0"),
    Case(of_line("0 400 300 50 50"), LINE, "the box"),
    Case(of_line("0 .9 .5 .5 .1"), LINE, "outside its image"),
    Case(with_yolo({"z": "0 .5 .5 .1 .1"}), '"labels/z.txt"', "without an image"),
    Case(with_yolo({"a": ""}), "boxes", "no box in any image"),
    Case({**with_yolo({}), "labels/a.txt": b"\xff"}, '"labels/a.txt"', "no utf-8"),
    Case({**of_line(""), "images/a.png": b"x"}, '"images/a.png"', "does not decode"),
    Case({**of_line(""), "images/a.png": image(9, 9)}, "images", "2 sizes"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.place} {case.found}"[:60])
def test_a_broken_folder_is_refused_with_its_place(tmp_path: Path, case: Case) -> None:
    result = ingest(tmp_path, tar(case.files), "t.tar", **case.options)
    texts = [(each.place, each.found) for each in result.problems]
    assert any(case.place in place and case.found in found for place, found in texts), texts
    for problem in result.problems:
        assert problem.allowed
        assert len(problem.found) < 1000


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    files = with_masks(ONE, png(np.ones((5, 5))), image(), classes="a")
    files |= {"set/images/x.png": image(), "set/images/2.jpg": b"no"}
    result = ingest(tmp_path, tar(files), "t.tar")
    assert {each.place for each in result.problems} == {
        '"images/x.png"', '"images/2.jpg"', '"masks/1.png"', '"masks/2.png"', '"masks/0.png"',
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_many_problems_are_bounded(tmp_path: Path, kind: str) -> None:
    if kind == "coco":
        files = of_coco(annotations=[BOX | {"bbox": [1, 1, -1, 1]}] * 100_000)
    else:
        files = with_yolo({"a": "0 .5 .5 .1\n" * 100_000})
    result = ingest(tmp_path, tar(files), "t.tar")
    assert len(result.problems) == 50
    assert "further problems" in result.problems[-1].found


def test_an_ignored_value_that_is_a_class_has_no_pixels(tmp_path: Path) -> None:
    files = with_masks(png(halves(0, 1)), png(halves(1, 1)), classes="void\nroad\n")
    result = read(tmp_path, tar(files), "t.tar", ignore_index=0)
    assert counts(result, "mask") == {"void": 0, "road": 72}
    assert result.info.options.ignore_index == 0


def test_gray_values_of_four_bits_are_what_the_file_says(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes([0x01, 0x23] * 2) for _ in range(6))

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    mask = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 4, 0, 0, 0, 0))
    mask += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    result = read(tmp_path, tar(with_masks(mask)), "t.tar")
    np.testing.assert_array_equal(stored(result)["mask"][0, 0], [0, 1, 2, 3] * 2)


def test_a_class_called_background_keeps_its_name(tmp_path: Path) -> None:
    files = with_yolo({"a": "0 0.5 0.5 0.5 0.5\n"}, classes="background\n")
    result = read(tmp_path, tar(files), "t.tar")
    assert [each.value for each in result.column("classes").values] == ["no object", "background"]
