"""Pictures that models predict for: decoded as uploads are, and named in the predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.worker.artifacts.test_trained import untrained

from talweg.ingest.images import decode
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
    pixels, names = read_images(tmp_path / "new", shape)
    assert names == [file.relative_to(tmp_path / "new").as_posix() for file in files]
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
