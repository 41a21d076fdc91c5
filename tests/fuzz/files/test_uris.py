"""Whatever a URI names, the server reads a file below its root or says why it does not."""

import os
import random
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.fuzz.messages import TEXTS, damaged
from tests.fuzz.seeds import SEED, chance, fixed_seed, new_seed, num_cases

from talweg.ingest.fetching.fetch import fetch
from talweg.spec.stored.uris import BadUriError, parse_root, parse_uri

_SECRET = b"nobody may read this"
_MOST = 1000


def made(folder: Path) -> Path:
    """Make a root with files, folders, and what leads out of it; return the root."""
    root = folder / "allowed"
    (root / "photos/cat").mkdir(parents=True)
    (root / "houses.csv").write_bytes(b"a,b\n1,2\n")
    (root / "my data.csv").write_bytes(b"a,b\n1,2\n")
    (root / "photos/cat/1.png").write_bytes(b"x")
    (root / "empty").write_bytes(b"")
    (root / "large").write_bytes(bytes(_MOST + 1))
    (folder / "secret").write_bytes(_SECRET)
    (folder / "allowed_not").mkdir()
    (folder / "allowed_not/secret").write_bytes(_SECRET)
    (root / "link").symlink_to(folder / "secret")
    (root / "up").symlink_to("..")
    (root / "circle").symlink_to("circle")
    os.mkfifo(root / "pipe")
    return root


_NAMES = (
    "houses.csv", "my data.csv", "photos", "photos/cat", "photos/cat/1.png", "link", "link/x",
    "up/secret", "up/allowed/houses.csv", "circle", "pipe", "empty", "large", "../secret",
    "../allowed_not/secret", "..", ".", "", "none", "photos/../houses.csv", "houses.csv/",
    "houses.csv/x", "./houses.csv", "%2e%2e/secret", "..%2fsecret",
)  # fmt: skip
_SCHEMES = (
    "file:", "FILE://", "file://localhost", "s3://", "", "http://", "file://u:p@", "memory://",
    "simplecache::file://", "zip://x::file://",
)  # fmt: skip


def drawn(root: Path, rng: random.Random) -> str:
    """Draw a text for a URI."""
    name = rng.choice(_NAMES if rng.random() < 0.8 else TEXTS)
    path = f"{root}/{name}" if rng.random() < 0.9 else f"{root}_not/{name}"
    path = path if rng.random() < 0.3 else quote(path, errors="replace")
    scheme = "file://" if rng.random() < 0.7 else rng.choice(_SCHEMES)
    uri = scheme + path + rng.choice([*[""] * 8, "?x=1", "#x", "\n", " "])
    if rng.random() < 0.2:
        uri = damaged(uri.encode("utf-8", "replace"), rng).decode("utf-8", "replace")
    return uri


def outcome(uri: str, root: Path, target: Path) -> str:
    """Read what a URI names, as the server does, and tell what came of it."""
    try:
        parsed = parse_uri(uri)
    except BadUriError as exc:
        return "no URI" if exc.violation.description else "not explained"
    allowed = parse_root(root.as_uri())
    if not allowed.holds(parsed):
        return "outside"
    # What stands in the record is read again as the same.
    assert parse_uri(str(parsed)) == parsed
    answer = fetch(str(parsed), root.as_uri(), target, max_bytes=_MOST)
    if problem := answer.get("problem"):
        assert problem["found"]
        assert problem["allowed"]
        return "refused"
    content = target.read_bytes()
    assert _SECRET not in content
    assert len(content) <= answer["num_bytes"] + 20 * 1024
    return "read"


def run(folder: Path, seed: int, cases: int) -> None:
    root, outcomes = made(folder), Counter[str]()
    for case in range(cases):
        uri = drawn(root, chance(seed, case))
        target = folder / "copy"
        target.unlink(missing_ok=True)
        try:
            outcomes[outcome(uri, root, target)] += 1
        except Exception as exc:
            raise AssertionError(f"{SEED}={seed}: case {case}, {uri!r}") from exc
    print(dict(outcomes))
    assert not outcomes["not explained"]
    # Fewer tell nothing of their shares.
    assert (
        cases < 200
        or min(outcomes[each] for each in ("no URI", "outside", "refused", "read")) > cases / 50
    )


def test_some_odd_uris(tmp_path: Path) -> None:
    run(tmp_path, fixed_seed(), 300)


@pytest.mark.faults
def test_thousands_of_odd_uris(tmp_path: Path) -> None:
    seed = new_seed()
    print(f"{SEED}={seed}")
    run(tmp_path, seed, num_cases(3_000))
