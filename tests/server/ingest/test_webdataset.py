"""Samples of WebDataset, as they are stored, and what is refused with its member."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.server.ingest.parts import Result, image, ingest, read, tar


def stored(result: Result) -> dict[str, Any]:
    arrays: dict[str, Any] = load_file(result.folder / "data.safetensors")
    return arrays


def mask(*values: int) -> bytes:
    sink = io.BytesIO()
    pixels = np.resize(np.array(values, np.uint8), (6, 8))
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def samples(labels: Mapping[str, bytes], ending: str = "cls") -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for index, (key, label) in enumerate(labels.items()):
        files[f"{key}.png"] = image(seed=index)
        files[f"{key}.{ending}"] = label
    return files


def problems(folder: Path, files: Mapping[str, bytes], *members: Any, **options: Any) -> str:
    """Read what must be refused; return each place with what was found."""
    result = ingest(folder, tar(files, *members), "x.tar", **options)
    assert result.problems
    return "\n".join(f"{p.place}: {p.found}; {p.allowed}. {p.hint}" for p in result.problems)


def test_samples_are_stored_as_a_folder_of_classes_is(tmp_path: Path) -> None:
    pictures = [image(seed=index) for index in range(4)]
    labels = ["cat", "dog", "cat", "dog"]
    files = {f"{index}.png": picture for index, picture in enumerate(pictures)}
    files |= {f"{index}.cls": f"{label}\n".encode() for index, label in enumerate(labels)}
    result = read(tmp_path / "samples", tar(files), "x.tar")
    folder = {f"{label}/{i}.png": pictures[i] for i, label in enumerate(labels)}
    other = read(tmp_path / "folder", tar(folder), "y.tar")
    assert result.types == other.types == {"image": "INTEGER", "label": "CATEGORY"}
    assert result.column("label").values == other.column("label").values
    # The folder is in the order of its classes.
    order = [0, 2, 1, 3]
    np.testing.assert_array_equal(stored(result)["image"][order], stored(other)["image"])
    np.testing.assert_array_equal(stored(result)["label"][order], stored(other)["label"])


@pytest.mark.parametrize(
    ("ending", "labels", "kind", "values"),
    [
        ("cls", [b"3", b"0", b"3"], "INTEGER", [3, 0, 3]),
        ("txt", [b"1.5", b"2", b"-3e2"], "NUMBER", [1.5, 2, -300]),
        ("txt", ["ü".encode(), b"a b", "ü".encode()], "CATEGORY", [1, 0, 1]),
        ("json", [b'"b"', b'"a"', b'"b"'], "CATEGORY", [1, 0, 1]),
        ("json", [b"7", b"7", b"1"], "INTEGER", [7, 7, 1]),
        ("json", [b"true", b"false", b"true"], "BOOLEAN", [1, 0, 1]),
    ],
)
def test_labels(
    tmp_path: Path, ending: str, labels: list[bytes], kind: str, values: list[float]
) -> None:
    files = samples({f"s/{index:04}": label for index, label in enumerate(labels)}, ending)
    result = read(tmp_path, tar(files), "x.tar")
    assert result.types == {"image": "INTEGER", "label": kind}
    assert list(stored(result)["label"]) == values


def test_objects_become_columns(tmp_path: Path) -> None:
    rows = [{"age": 3, "kind": "a"}, {"kind": "b", "age": 5}]
    files = samples({f"{i}": json.dumps(row).encode() for i, row in enumerate(rows)}, "json")
    result = read(tmp_path, tar(files), "x.tar")
    assert result.types == {"image": "INTEGER", "age": "INTEGER", "kind": "CATEGORY"}
    assert list(stored(result)["age"]) == [3, 5]


@pytest.mark.parametrize("ending", ["seg.png", "mask.png", "png"])
def test_masks_stand_beside_images(tmp_path: Path, ending: str) -> None:
    files = {f"{i}.jpg": image(kind="JPEG", seed=i) for i in range(2)}
    files |= {f"{i}.{ending}": mask(0, 1 + i) for i in range(2)}
    files["classes.txt"] = b"sky\nroad\ncar\n"
    result = read(tmp_path / "a", tar(files), "x.tar")
    assert stored(result)["mask"].shape == (2, 6, 8)
    assert stored(result)["mask"].max() == 2
    assert [v.value for v in result.column("mask").values] == ["sky", "road", "car"]
    both = read(tmp_path / "b", tar({**files, "0.cls": b"a", "1.cls": b"b"}), "x.tar")
    assert set(both.types) == {"image", "mask", "label"}
    assert list(stored(both)["label"]) == [0, 1]


def test_parts_become_a_column(tmp_path: Path) -> None:
    keys = ["train/1", "train/2", "val/1", "test/1"]
    files = samples({key: b"ab"[i % 2 : i % 2 + 1] for i, key in enumerate(keys)})
    result = read(tmp_path, tar(files), "x.tar")
    values = {v.value: v.count for v in result.column("split").values}
    assert values == {"train": 2, "validation": 1, "test": 1}


def test_texts_beside_images_in_folders_of_classes_are_none(tmp_path: Path) -> None:
    files = samples({"cat/1": b"a cat", "dog/1": b"a dog"}, "txt")
    result = read(tmp_path / "a", tar(files), "x.tar")
    assert [v.value for v in result.column("label").values] == ["cat", "dog"]
    said = read(tmp_path / "b", tar(files), "x.tar", format="webdataset")
    assert [v.value for v in said.column("label").values] == ["a cat", "a dog"]
    assert said.info.digest != result.info.digest
    plain = samples({"1": b"x", "2": b"y"}, "txt")
    assert read(tmp_path / "c", tar(plain), "x.tar", format="images").types == {"image": "INTEGER"}


GOOD = samples({"0001": b"a", "0002": b"b"})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"0003.png": image()}, '"0003.png": a sample without a label; a file of the same name'),
        ({"0003.cls": b"a"}, '"0003.cls": a sample without an image; an image beside it'),
        ({"0003.npy": b"x"}, '"0003.npy": the ending ".npy"; .png, .jpg'),
        ({"0003": b"x"}, '"0003": no ending'),
        ({"0001.jpg": image(kind="JPEG"), "0001.webp": image(kind="WEBP")}, "3 images; one a"),
        ({"0001.txt": b"b"}, '"0001.cls" and "0001.txt": 2 labels; one a sample'),
        ({"0001.cls": b""}, '"0001.cls": no label'),
        ({"0001.cls": b"a\nb"}, '"0001.cls": several lines'),
        ({"0001.cls": b"\xff\xfe"}, '"0001.cls": text that is no utf-8'),
        ({"0001.cls": b"a" * 70_000}, '"0001.cls": 70,000 bytes; at most 65,536'),
        ({"0001.png": b"no image"}, '"0001.png": an image that does not decode'),
        ({"0003.seg.png": mask(0), "0003.png": image(), "0003.cls": b"a"}, "without a mask"),
    ],
)
def test_what_is_wrong_names_the_member(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    assert said in problems(tmp_path, {**GOOD, **files})


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (b"{", "no JSON"),
        (b"NaN", "no JSON (NaN is no number)"),
        (b"1e999", "no finite number"),
        (b"[" * 5000, "no JSON"),
        (b'{"a": 1, "a": 2}', "a name twice"),
        (b'{"a": [1, 2]}', 'a list as "a"'),
        (b'{"a": null}', 'null as "a"'),
        (b'{"a": " "}', 'an empty text as "a"'),
        (b'{"a": "b\\nc"}', 'several lines or control characters as "a"; a text of one line'),
        (b'"b\\nc"', "several lines or control characters as"),
        (b'{"image": 1}', 'the name "image"'),
        (b"{}", "an object of 0 values"),
        (b'{"other": 1}', 'values of "other"; those of "label", as "0001.json" has'),
    ],
)
def test_json_that_is_no_label(tmp_path: Path, label: bytes, said: str) -> None:
    files = samples({"0001": b"1", "0002": label}, "json")
    told = problems(tmp_path, files)
    assert told.startswith('"0002.json": ')
    assert said in told


def test_notes_beside_images_are_passed_over_where_images_are_asked_for(tmp_path: Path) -> None:
    files = samples({"0001": b"two\nlines", "0002": b"of a\nnote"}, "txt")
    told = problems(tmp_path / "detected", files)
    assert '"0001.txt": several lines' in told
    assert "say format: images" in told
    assert read(tmp_path, tar(files), "x.tar", format="images").types == {"image": "INTEGER"}


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (member("../0003.cls", tarfile.REGTYPE), '"../0003.cls": a path that leads out'),
        (member("/0003.cls", tarfile.REGTYPE), '"/0003.cls": a path that leads out'),
        (member("0003.png", tarfile.SYMTYPE, "/etc/passwd"), '"0003.png": a symbolic link'),
        (member("0003.png", tarfile.LNKTYPE, "0001.png"), '"0003.png": a hard link'),
        (member("0003.png", tarfile.CHRTYPE), '"0003.png": a device'),
        (member("0003.png", tarfile.FIFOTYPE), '"0003.png": a device, a pipe'),
        (member("0001.cls", tarfile.REGTYPE), '"0001.cls": 2 files of one name'),
    ],
)
def test_members_that_are_no_files_of_the_folder(
    tmp_path: Path, info: tarfile.TarInfo, said: str
) -> None:
    assert said in problems(tmp_path, GOOD, info)


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    sink = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(sink, "PNG")
    assert '"0001.png": more than 100,000,000 pixels' in problems(
        tmp_path, {**GOOD, "0001.png": sink.getvalue()}
    )


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    result = ingest(tmp_path, b"\x1f\x8b" + bytes(100), "x.tar")
    assert "a gzip file" in result.problems[0].found


def test_samples_without_any_image_say_where_it_is_missing(tmp_path: Path) -> None:
    said = problems(tmp_path, {"train.cls": b"1"}, format="webdataset")
    assert said.startswith("samples: no image")
