"""Pictures that models predict for: decoded as uploads are, and named in the predictions."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.worker.artifacts.test_trained import untrained

from talweg.ingest.images import decode
from talweg.worker.artifacts import image_files
from talweg.worker.artifacts.image_files import read_images
from talweg.worker.artifacts.trained import TrainedModel

ORIENTATION = 0x0112


@pytest.fixture
def digits(tmp_path: Path) -> TrainedModel:
    folder = tmp_path / "model"
    folder.mkdir()
    spec = {"task": "multiclass", "dataset": "digits", "loss": "cross_entropy"}
    return untrained(folder, **spec, model={"convnet": {"channels": [4]}})


def pictures(folder: Path) -> list[Path]:
    """Write pictures of many kinds: modes, sizes, 16 bits, transparency, one on its side."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    grey = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (8, 8), dtype=np.uint16))
    few = colour.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    (folder / "deeper").mkdir(parents=True)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    colour.save(folder / "colour.png")
    grey.save(folder / "grey.png")
    deep.save(folder / "deep.png")
    deep.save(folder / "deep.tif")
    colour.save(folder / "packed.TIFF", compression="tiff_lzw")
    few.save(folder / "few.png", transparency=1)
    colour.convert("RGBA").save(folder / "deeper/clear.webp", lossless=True)
    colour.save(folder / "turned.jpg", exif=turned)
    return sorted(file for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (4, 8, 8)])
def test_pictures_are_decoded_as_uploads_are(shape: tuple[int, int, int], tmp_path: Path) -> None:
    files = pictures(tmp_path / "new")
    found = read_images(tmp_path / "new", shape)
    pixels = found.pixels
    assert found.names == [file.relative_to(tmp_path / "new").as_posix() for file in files]
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[shape[0]]
    for file, read in zip(files, pixels, strict=True):
        np.testing.assert_array_equal(read, decode._pixels(file.read_bytes(), mode, *shape[1:]))


def test_a_folder_is_predicted_as_its_pixels_are(digits: TrainedModel, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    folder = tmp_path / "new"
    folder.mkdir()
    for name, picture in zip("abc", values, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    predicted = digits.predict(folder)
    assert list(predicted.index) == ["a.png", "b.png", "c.png"]
    columns = [f"probability_{name}" for name in digits.classes]
    wanted = digits.predict(values[:, None].astype(np.float32) / 255)
    np.testing.assert_array_equal(predicted[columns].to_numpy(), wanted)
    assert digits.predict_file(folder, tmp_path / "out.csv") == 3
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written["file"]) == ["a.png", "b.png", "c.png"]
    assert list(written["prediction"].astype(str)) == list(predicted["prediction"])
    assert digits.predict_file(folder / "b.png", tmp_path / "one.csv") == 1
    assert pd.read_csv(tmp_path / "one.csv")["file"].tolist() == ["b.png"]


def test_what_is_no_picture_is_named(digits: TrainedModel, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"holds no pictures: they end in \.png"):
        digits.predict(folder)
    pictures(folder / "some")
    (folder / "cut.png").write_bytes((folder / "some/colour.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"cut\.png does not decode.*text\.jpg does not decode"):
        digits.predict(folder)
    table = tmp_path / "table"
    table.mkdir()
    wine = untrained(table, task="multiclass", dataset="wine", loss="cross_entropy")
    with pytest.raises(ValueError, match=r"takes no pictures, but inputs of the shape \(13\)"):
        wine.predict(folder)


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def png(width: int, height: int, seed: int = 0) -> bytes:
    sink = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def scenes(folder: Path, **fields: Any) -> TrainedModel:
    folder.mkdir()
    return untrained(folder, dataset={"digit_scenes": {"num_samples": 20}}, **fields)


def test_an_archive_is_read_like_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "new.zip"
    files = {"b/2.png": png(8, 8), "a.png": png(4, 6), "__MACOSX/a.png": b"", "b/.c.png": b"",
             "note.txt": b"x"}  # fmt: skip
    path.write_bytes(zipped(files))
    found = read_images(path, (1, 8, 8))
    assert (found.names, found.sizes) == (["a.png", "b/2.png"], [(6, 4), (8, 8)])
    np.testing.assert_array_equal(found.pixels[0], decode._pixels(files["a.png"], "L", 8, 8))
    for name, content in files.items():
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / name).write_bytes(content)
    of_folder = read_images(tmp_path / "new", (1, 8, 8))
    assert (of_folder.names, of_folder.sizes) == (found.names, found.sizes)


def test_hostile_archives_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_MOST_UNPACKED", 100_000)
    path = tmp_path / "new.zip"
    whole = zipped({"a.png": png(8, 8)})
    cases = {
        "../a.png leads out": zipped({"../a.png": png(8, 8)}),
        "/etc/a.png leads out": zipped({"/etc/a.png": png(8, 8)}),
        "more than 100,000 bytes, unpacked": zipped({"a.png": bytes(10_000_000)}),
        "cannot be read as zip": whole[:60],
        "cut.png does not decode": zipped({"a.png": png(8, 8), "cut.png": png(8, 8)[:40]}),
        "holds no pictures": zipped({"a.txt": b""}),
    }
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("a.png", png(8, 8))
    cases["a.png does not decode (Bad CRC-32"] = stored.getvalue().replace(b"IDAT", b"IDOT")
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a.png", png(8, 8))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", png(8, 8))
    cases["holds a.png more than once"] = twice.getvalue()
    for told, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"new\.zip") as refused:
            read_images(path, (1, 8, 8))
        assert told in str(refused.value)


def test_boxes_are_in_the_pictures_own_pixels(tmp_path: Path) -> None:
    model = scenes(
        tmp_path / "model",
        task={"detection": {"score_threshold": 1e-6, "most_boxes": 5}},
        model={"detector": {"channels": [4]}},
        loss="detection",
    )
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "wide.png").write_bytes(png(128, 32, 1))
    (folder / "same.png").write_bytes(png(64, 64, 2))
    found = model.predict(folder)
    assert list(found.columns) == ["prediction", "score", "x1", "y1", "x2", "y2"]
    raw = model.predict(read_images(folder, model.input_shape).pixels.astype(np.float32) / 255)
    for index, (name, scale) in enumerate({"same.png": (1, 1), "wide.png": (2, 0.5)}.items()):
        boxes = raw[index][raw[index][:, 4] > 0]
        assert len(boxes)
        own = found.loc[[name]]
        wanted = boxes[:, :4] * np.array(scale * 2)
        np.testing.assert_allclose(own[["x1", "y1", "x2", "y2"]], wanted, rtol=1e-5)
        assert list(own["prediction"]) == [model.classes[int(each)] for each in boxes[:, 5]]
    assert set(found["prediction"]) <= set("0123456789")
    assert model.predict_file(folder, tmp_path / "out.csv") == len(found)
    assert list(pd.read_csv(tmp_path / "out.csv")["file"]) == list(found.index)


@pytest.mark.parametrize("target", ["classes", "foreground"])
def test_masks_are_in_the_pictures_own_pixels(tmp_path: Path, target: str) -> None:
    loss = "cross_entropy" if target == "classes" else "bce_with_logits"
    model = scenes(
        tmp_path / "model",
        task={"segmentation": {"target": target}},
        model={"unet": {"channels": [4]}},
        loss=loss,
    )
    folder = tmp_path / "new"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/wide.png").write_bytes(png(128, 32, 1))
    (folder / "same.png").write_bytes(png(64, 64, 2))
    masks = model.predict(folder)
    assert {name: mask.shape for name, mask in masks.items()} == {
        "deep/wide.png": (32, 128), "same.png": (64, 64),
    }  # fmt: skip
    raw = model.predict(read_images(folder, model.input_shape).pixels.astype(np.float32) / 255)
    values = raw[:, 0] >= 0.5 if target == "foreground" else raw.argmax(axis=1)
    np.testing.assert_array_equal(masks["same.png"], values[1])
    # The middle of each pixel of a wide picture, of which half are left out.
    np.testing.assert_array_equal(masks["deep/wide.png"][:, ::2], values[0][1::2])
    assert model.predict_file(folder, tmp_path / "out.zip") == 2
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = archive.read("classes.txt").decode().split()
        assert names == list(model.classes)
        assert names[0] == "background"
        written = Image.open(io.BytesIO(archive.read("masks/deep/wide.png")))
    np.testing.assert_array_equal(np.asarray(written), masks["deep/wide.png"])
    assert model.predict_file(folder, tmp_path / "out.npz") == 2
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["same.png"], masks["same.png"])
    with pytest.raises(ValueError, match=r"masks of pictures are written to \.zip or \.npz"):
        model.predict_file(folder, tmp_path / "out.csv")
