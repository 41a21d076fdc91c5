"""A valid file for every reader of data sets, and what may be wrong with it."""

import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors.numpy import save
from tests.fuzz.messages import TEXTS, damaged
from tests.server.ingest.parts import arrow, image, npy, npz, parquet, tar
from tests.server.ingest.test_masks_and_boxes import (
    coco,
    halves,
    png,
    with_coco,
    with_masks,
    with_yolo,
)
from tests.server.ingest.test_voc_and_tiff import thing, voc, with_voc
from tests.server.ingest.test_webdataset import samples

NUM_ROWS = 40


@dataclass(frozen=True)
class Sample:
    """A file that a reader takes as it is."""

    name: str
    """What it is called when it is uploaded."""
    content: bytes
    members: Mapping[str, bytes] | None = None
    """What it holds, where it is a folder."""


def all_samples() -> list[Sample]:
    """Return one of each kind."""
    frame, rng = _frame(), np.random.default_rng(1)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    x, y = rng.normal(size=(NUM_ROWS, 3)).astype(np.float32), np.arange(NUM_ROWS) % 2
    weights = {"linear1.weight": x, "linear1.bias": x[0]}
    files = {
        "t.csv": frame.to_csv(index=False).encode(),
        "t.tsv": frame.to_csv(index=False, sep="\t").encode("utf-16"),
        "t.parquet": parquet(table),
        "t.arrow": arrow(table),
        "t.feather": arrow(table, stream=True),
        "t.npy": npy(x),
        "t.npz": npz(x=x, y=y),
        "t.safetensors": save({"x": x, "y": y}),
        "w.safetensors": save(weights),
    }
    plain = [Sample(name, content) for name, content in files.items()]
    return plain + [Sample(f"{name}.tar", tar(f), f) for name, f in _folders(frame).items()]


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "rooms": rng.integers(1, 9, NUM_ROWS),
            "area": rng.normal(80, 20, NUM_ROWS).round(2),
            "town": rng.choice(["Ay", "Bex", "Crans"], NUM_ROWS),
            "built": pd.date_range("1990-01-01", periods=NUM_ROWS, freq="90D").strftime(
                "%Y-%m-%d"
            ),
            "lift": rng.random(NUM_ROWS) < 0.5,
        }
    )


def _folders(frame: pd.DataFrame) -> dict[str, dict[str, bytes]]:
    csv = frame.to_csv(index=False).encode()
    parts = pa.Table.from_pandas(frame, preserve_index=False)
    kinds = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP"}
    objects = voc(thing("dog", 1, 2, 4, 6), thing("cat", 0.5, 0, 8, 3))
    boxes = {"a": "0 .5 .5 .1 .1\n1 .2 .2 .1 .1\n", "b": "0 .5 .5 .1 .1\n"}
    return {
        "classes": {f"{name}/{i}.png": image(seed=i) for name in ("cat", "dog") for i in range(3)},
        "kinds": {
            f"{name}/x.{ending}": image(kind=kind, seed=len(ending))
            for name in ("cat", "dog")
            for ending, kind in kinds.items()
        },
        "tiff": {
            f"{name}/{i}.tiff": image(kind="TIFF", seed=i, compression=compression)
            for name in ("cat", "dog")
            for i, compression in enumerate(("tiff_lzw", "tiff_deflate", "packbits", None))
        },
        "masks": with_masks(png(halves(0, 2)), png(halves(1, 255)), classes="ground\nroad\ncar\n"),
        "coco": with_coco(coco()),
        "yolo": with_yolo(boxes),
        "voc": with_voc({"a": objects, "b": voc()}),
        "samples": samples({"a": b"0", "b": b"1", "c": b"0"}),
        "parts": {"train.csv": csv, "val.csv": csv[: csv.index(b"\n", 500) + 1], "test.csv": csv},
        "parquets": {"train.parquet": parquet(parts), "test.parquet": parquet(parts)},
    }


def broken(sample: Sample, rng: random.Random) -> bytes:
    """Return a file with something wrong with its bytes, or with one of its members."""
    if sample.members is None or rng.random() < 0.4:
        return rng.choice(_DAMAGES)(sample.content, rng)
    members = dict(sample.members)
    for _ in range(rng.choice([1, 1, 2])):
        rng.choice(_CHANGES)(members, rng)
    return tar(members)


def options(rng: random.Random) -> dict[str, Any]:
    """Draw what is said of how a file is read; mostly nothing."""
    if rng.random() < 0.7:
        return {}
    drawn = {
        "format": rng.choice(["csv", "parquet", "arrow", "numpy", "safetensors", "images",
                              "weights", "webdataset", "detect"]),
        "delimiter": rng.choice([",", ";", "\t", "|", "x", '"', "\n"]),
        "encoding": rng.choice(["utf-8", "utf-16", "latin-1", "klingon", "idna", "zlib"]),
        "missing": [rng.choice(TEXTS)[:100], "1"],
        "categories": [rng.choice(["rooms", "area", "none"])],
        "texts": [rng.choice(["town", "built", "none"])],
        "size": rng.choice([[3, 5], [4096, 1], [7]]),
        "channels": rng.choice([1, 2, 3, 4]),
        "quote": rng.choice(["'", '"']),
        "ignore_index": rng.choice([0, 1, 255]),
    }  # fmt: skip
    return {name: drawn[name] for name in rng.sample(list(drawn), rng.choice([1, 1, 2, 4]))}


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) or 1)]


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) or 1)
    return data[:start] + bytes(len(data[start : start + 64])) + data[start + 64 :]


def _large_number(data: bytes, rng: random.Random) -> bytes:
    """Put in a size or an offset that leads far away."""
    start = rng.randrange(len(data) or 1)
    number = rng.choice([b"\xff" * 4, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0\0\0\x80",
                         (2**40).to_bytes(8, "little"), b"\xff\xff\xff\x7f"])  # fmt: skip
    return data[:start] + number + data[start + len(number) :]


def _doubled(data: bytes, rng: random.Random) -> bytes:
    return data + data


def _lines_shuffled(data: bytes, rng: random.Random) -> bytes:
    lines = io.BytesIO(data).readlines()
    rng.shuffle(lines)
    return b"".join(lines)


def _odd_text(data: bytes, rng: random.Random) -> bytes:
    """Put a text of somebody hostile in the place of a field."""
    text = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
    cells = data.split(b",")
    cells[rng.randrange(len(cells))] = text
    return b",".join(cells)


def _nothing(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"", b"\0", rng.randbytes(300)])


_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    damaged, damaged, _cut, _zeroed, _large_number, _doubled, _lines_shuffled, _odd_text, _nothing,
)  # fmt: skip


def _member_damaged(members: dict[str, bytes], rng: random.Random) -> None:
    name = rng.choice(list(members))
    members[name] = rng.choice(_DAMAGES)(members[name], rng)


def _json_changed(members: dict[str, bytes], rng: random.Random) -> None:
    """Change a value of an annotation; the text stays JSON."""
    name = next((each for each in members if each.endswith(".json")), None)
    if name is None:
        return _member_damaged(members, rng)
    try:
        content: Any = json.loads(members[name])
    except ValueError:
        return None
    holder: Any = content
    while isinstance(holder, dict | list) and holder:
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.2:
            holder[key] = rng.choice(
                [None, True, -1, 0, 2**70, 1e308, float("nan"), "", "x", [], {}, [[1]], {"id": 1},
                 *TEXTS[:20]]
            )  # fmt: skip
            break
        holder = holder[key]
    members[name] = json.dumps(content).encode()
    return None


def _member_gone(members: dict[str, bytes], rng: random.Random) -> None:
    if len(members) > 1:
        del members[rng.choice(list(members))]


def _member_renamed(members: dict[str, bytes], rng: random.Random) -> None:
    name = rng.choice(list(members))
    content = members.pop(name)
    other = rng.choice([*TEXTS, *members, "a/b/c/d.png", "classes.txt", "labels.txt", "x.xml"])
    # tar has no member without a name, nor with a zero byte in it.
    members[other.replace("\0", "").encode("utf-8", "replace").decode() or "x"] = content


def _member_swapped(members: dict[str, bytes], rng: random.Random) -> None:
    one, other = rng.choice(list(members)), rng.choice(list(members))
    members[one], members[other] = members[other], members[one]


def _member_added(members: dict[str, bytes], rng: random.Random) -> None:
    name = rng.choice(["extra.txt", ".DS_Store", "classes.txt", "images/z.png", "masks/z.png",
                       "annotations.json", "Annotations/z.xml", "labels/z.txt", "z/z.png",
                       "train.csv", "../z.png", "/z.png"])  # fmt: skip
    members[name] = rng.choice([b"", b"a\nb\n", image(), b"{}", b"<annotation/>", b"a,b\n1,2\n"])


_CHANGES: tuple[Callable[[dict[str, bytes], random.Random], None], ...] = (
    _member_damaged, _member_damaged, _member_damaged, _json_changed, _member_gone,
    _member_renamed, _member_swapped, _member_added,
)  # fmt: skip
