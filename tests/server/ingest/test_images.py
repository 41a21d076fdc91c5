"""Folders of images, as they are stored."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.server.ingest.parts import Result, image, read, tar


def stored(result: Result) -> dict[str, Any]:
    arrays: dict[str, Any] = load_file(result.folder / "data.safetensors")
    return arrays


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    files = {
        "pets/dog/1.png": image(seed=1),
        "pets/cat/2.png": image(seed=2),
        "pets/cat/1.png": image(seed=3),
        "pets/cat/.DS_Store": b"x",
        "pets/readme.txt": b"x",
    }
    result = read(tmp_path, tar(files), "t.tar")
    arrays = stored(result)
    assert arrays["image"].shape == (3, 3, 6, 8)
    assert arrays["image"].dtype == np.uint8
    assert list(arrays["label"]) == [0, 0, 1]
    assert [(v.value, v.count) for v in result.column("label").values] == [("cat", 2), ("dog", 1)]
    first = np.asarray(Image.open(io.BytesIO(files["pets/cat/1.png"]))).transpose(2, 0, 1)
    np.testing.assert_array_equal(arrays["image"][0], first)
    assert Image.open(io.BytesIO(result.info.pictures[0])).size == (8, 6)
    assert list(result.info.options.size) == [6, 8]


@pytest.mark.parametrize(
    ("labels", "kind"), [(["a", "b", "a"], "CATEGORY"), (["1.5", "2", "3"], "NUMBER")]
)
def test_labels_stand_in_a_table(tmp_path: Path, labels: list[str], kind: str) -> None:
    rows = [f"img/{index}.png;{label}" for index, label in enumerate(labels)]
    files = {f"img/{index}.png": image(seed=index) for index in range(3)}
    files["labels.csv"] = "\n".join(["file;label", *rows]).encode()
    result = read(tmp_path, tar(files), "t.tar")
    assert result.types == {"image": "INTEGER", "label": kind}


def test_folders_of_parts_become_a_column(tmp_path: Path) -> None:
    names = ["train/a/1", "train/b/1", "val/a/1", "test/b/1"]
    files = {f"{name}.png": image(seed=index) for index, name in enumerate(names)}
    result = read(tmp_path, tar(files), "t.tar")
    split, label = result.column("split"), result.column("label")
    assert {v.value: v.count for v in split.values} == {"train": 2, "validation": 1, "test": 1}
    assert {v.value: v.count for v in label.values} == {"a": 2, "b": 2}


def test_sizes_are_made_alike_where_that_is_said(tmp_path: Path) -> None:
    files = {"a/1.png": image(6, 8), "b/1.png": image(12, 16)}
    result = read(tmp_path, tar(files), "t.tar", size=[4, 5])
    assert stored(result)["image"].shape == (2, 3, 4, 5)
    assert any("resized to 4×5" in text for text in result.info.warnings)


def test_channels_differ(tmp_path: Path) -> None:
    files = {"a/1.png": image(mode="L"), "b/1.png": image(mode="RGBA")}
    result = read(tmp_path / "a", tar(files), "t.tar")
    assert stored(result)["image"].shape[1] == 3
    assert any("brought to colour" in text for text in result.info.warnings)
    grey = read(tmp_path / "b", tar(files), "t.tar", channels=1)
    assert stored(grey)["image"].shape[1] == 1
    alone = read(tmp_path / "c", tar({"a/1.png": files["a/1.png"]}), "t.tar")
    assert stored(alone)["image"].shape[1] == 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_formats(tmp_path: Path, kind: str) -> None:
    content = tar({f"a/1.{kind.lower()}": image(kind=kind)})
    assert stored(read(tmp_path, content, "t.tar"))["image"].shape == (1, 3, 6, 8)


def test_the_camera_s_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, :2] = 255
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", exif=exif)
    array = stored(read(tmp_path, tar({"a/1.png": sink.getvalue()}), "t.tar"))["image"][0]
    assert array.shape == (3, 8, 6)
    # What was on the left is at the top.
    assert (array[:, :2] == 255).all()
    assert not array[:, 2:].any()


def test_the_first_picture_of_a_gif_and_sixteen_bits(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    sink = io.BytesIO()
    frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:])
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 4), 512, np.uint16)).save(deep, "PNG")
    files = {"a/1.gif": sink.getvalue(), "a/2.png": deep.getvalue()}
    array = stored(read(tmp_path, tar(files), "t.tar", channels=1))["image"]
    assert (array[0] == 10).all()
    assert (array[1] == 2).all()
