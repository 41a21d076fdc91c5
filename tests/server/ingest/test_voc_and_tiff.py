"""Boxes of Pascal VOC, and TIFF: what is stored, and what is refused with its place."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.server.ingest.parts import image, ingest, read, tar
from tests.server.ingest.test_masks_and_boxes import counts, halves, png, stored


def with_voc(annotations: Mapping[str, str], *, names: str = "ab") -> dict[str, bytes]:
    files = {f"JPEGImages/{name}.png": image(seed=ord(name)) for name in names}
    return files | {f"Annotations/{n}.xml": text.encode() for n, text in annotations.items()}


def voc(*objects: str, size: str = "<width>8</width><height>6</height><depth>3</depth>") -> str:
    return f"<annotation><size>{size}</size>{''.join(objects)}</annotation>"


def thing(name: str, *corners: object) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=False)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    part = "<part><name>leg</name><bndbox><xmin>-9</xmin></bndbox></part>"
    return f"<object>{part}<name>{name}</name><bndbox>{box}</bndbox></object>"


def test_boxes_of_pascal_voc(tmp_path: Path) -> None:
    annotations = {"a": voc(thing("dog", 1, 2, 4, 6), thing("cat", 0.5, 0, 8, 3)), "b": voc()}
    result = read(tmp_path, tar(with_voc(annotations)), "t.tar")
    arrays = stored(result)
    assert arrays["count"].tolist() == [2, 0]
    assert arrays["boxes"][0].tolist() == [[1, 2, 4, 6], [0.5, 0, 8, 3]]
    assert counts(result, "classes") == {"background": 0, "cat": 1, "dog": 1}
    assert arrays["classes"].tolist() == [[2, 1], [0, 0]]
    # Beside the images, in parts, and with the classes in another order.
    files = {f"{part}/x.png": image() for part in ("train", "val")}
    files |= {f"{part}/x.xml": voc(thing("dog", 1, 1, 3, 3)).encode() for part in ("train", "val")}
    (tmp_path / "parts").mkdir()
    result = read(
        tmp_path / "parts", tar(files | {"classes.txt": b"dog\ncat\n"}), "t.tar", size=[12, 8]
    )
    assert stored(result)["boxes"][:, 0].tolist() == [[1, 2, 3, 6]] * 2
    assert counts(result, "classes") == {"background": 0, "dog": 2, "cat": 0}
    assert counts(result, "split") == {"train": 1, "validation": 1}


def test_lists_of_pascal_voc_tell_the_parts(tmp_path: Path) -> None:
    """Of two years, each with its own lists and with names that the other has too."""
    files = {}
    for year, names in (("VOC2007", "abcd"), ("VOC2012", "ab")):
        for name in names:
            files[f"{year}/JPEGImages/{name}.png"] = image(seed=ord(name))
            files[f"{year}/Annotations/{name}.xml"] = voc(thing("dog", 1, 1, 3, 3)).encode()
        files[f"{year}/SegmentationClass/a.png"] = png(halves(0, 1))
        files[f"{year}/ImageSets/Main/trainval.txt"] = b"a\nb\n"
        files[f"{year}/ImageSets/Main/dog_train.txt"] = b"a  1\nb -1\n"
    files["VOC2007/ImageSets/Main/train.txt"] = b"a\r\n\r\n"
    files["VOC2007/ImageSets/Main/val.txt"] = b"b\n"
    files["VOC2007/ImageSets/Main/test.txt"] = b"c\n"
    files["VOC2012/ImageSets/Main/train.txt"] = b"b\na\n"
    result = read(tmp_path, tar(files), "t.tar")
    assert counts(result, "split") == {"train": 3, "validation": 1, "test": 1}
    assert len(stored(result)["image"]) == 5
    (note,) = [text for text in result.info.warnings if "no list" in text]
    assert note.endswith('"VOC2007/JPEGImages/d.png"')
    # With the list of both alone, its images are for training.
    (tmp_path / "both").mkdir()
    files = with_voc({"a": voc(thing("dog", 1, 1, 3, 3)), "b": voc()})
    files |= {"ImageSets/trainval.txt": b"b"}
    result = read(tmp_path / "both", tar(files | {"ImageSets/test.txt": b"a"}), "t.tar")
    assert counts(result, "split") == {"train": 1, "test": 1}


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        ({"train": b"a\nb\nx\ny"}, '2 names without an image: "x", "y"'),
        ({"train": b"a\nb", "val": b"b"}, '1 images of another part: "b"'),
        ({"val": b"\xff\xfe"}, "no utf-8"),
    ],
)
def test_wrong_lists_of_pascal_voc_are_named(
    tmp_path: Path, lists: Mapping[str, bytes], told: str
) -> None:
    files = with_voc({"a": voc(), "b": voc()})
    files |= {f"ImageSets/Main/{name}.txt": text for name, text in lists.items()}
    refused = ingest(tmp_path, tar(files), "t.tar").problems
    assert f'"ImageSets/Main/{list(lists)[-1]}.txt"' in str(refused)
    assert told in str(refused)


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 or str()};" * 10}">' for n in range(1, 9))
    + "]><annotation><folder>&a8;</folder></annotation>"
)
FILE = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation>&f;</annotation>'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "a document type or an entity"),
        (FILE, "a document type or an entity"),
        ('<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>', "document type"),
        ("<annotation>&nbsp;</annotation>", "no XML (undefined entity"),
        ("<annotation>" * 40, "more than 32 deep"),
        ("<annotation>", "no XML (no element found"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "no XML (unknown encoding"),
        ("", "no XML (no element found"),
        ("<svg/>", 'the root element "svg"'),
        (voc(thing("dog", 1, 2, 4)), "a bndbox without ymax"),
        (voc(thing("dog", 1, "x", 4, "nan")), 'ymin "x", ymax "nan"'),
        (voc(thing("", 1, 2, 4, 6)), 'the name ""'),
        (voc(thing("d\tog", 1, 2, 4, 6)), "at most 200 printable characters"),
        (voc(thing("dog", 4, 2, 1, 6)), "width -3"),
        (voc(thing("dog", 1, 2, 9, 6)), "object 1"),
        (voc(size="<width>9</width><height>6</height>"), 'height "6" and width "9"'),
    ],
)
def test_hostile_and_broken_files_of_voc_are_named(tmp_path: Path, text: str, told: str) -> None:
    refused = ingest(tmp_path, tar(with_voc({"a": text, "b": voc()})), "t.tar").problems
    assert '"Annotations/a.xml"' in str(refused)
    assert told in str(refused)


def test_images_and_files_of_voc_without_the_other_are_named(tmp_path: Path) -> None:
    refused = ingest(tmp_path, tar(with_voc({"a": voc(), "c": voc()})), "t.tar").problems
    assert "JPEGImages/b.png" in str(refused)
    assert "Annotations/c.xml" in str(refused)


def tiff(values: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.asarray(values)).save(sink, "TIFF", **options)
    return sink.getvalue()


def test_pictures_and_masks_in_tiff(tmp_path: Path) -> None:
    deep = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
    second = [Image.fromarray(np.zeros((6, 8), np.uint16))]
    files = {
        "images/1.tif": tiff(deep, save_all=True, append_images=second),
        "images/2.TIFF": tiff(deep // 256 * 256, compression="tiff_lzw"),
        "masks/1.tif": tiff(halves(0, 1)),
        "masks/2.png": png(halves(1, 2)),
    }
    result = read(tmp_path, tar(files), "t.tar")
    arrays = stored(result)
    assert arrays["image"][0, 0].tolist() == (deep // 256).tolist()
    assert arrays["image"][1].tolist() == arrays["image"][0].tolist()
    assert counts(result, "mask") == {"background": 24, "class 1": 48, "class 2": 24}
    assert not any("16 bits" in text for text in result.info.warnings)


def test_dark_images_of_16_bits_and_those_of_32(tmp_path: Path) -> None:
    dark = np.arange(48, dtype=np.uint16).reshape(6, 8) * 20
    result = read(tmp_path, tar({"1.tif": tiff(dark)}), "t.tar")
    assert any("4 of 256 levels are left in 1 images" in text for text in result.info.warnings)
    for kind in ("float32", "int32"):
        (tmp_path / kind).mkdir()
        content = tar({"1.tif": tiff(dark.astype(kind))})
        refused = ingest(tmp_path / kind, content, "t.tar").problems
        assert "32 or signed 16 bits a pixel" in str(refused)
