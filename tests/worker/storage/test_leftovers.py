"""What is removed of a job that has ended, and what never is."""

from pathlib import Path

from talweg.blobs import Blobs
from talweg.worker.storage.leftovers import remove_leftovers

DIGEST = "0123456789abcdef" * 4
NAMED = "jobs/a/checkpoints/000000000020-1"
STAYS = [
    f"{NAMED}.json",
    f"{NAMED}.safetensors",
    "jobs/a/checkpoints/notes.json",
    "jobs/a/checkpoints/.notes.part",
    f"jobs/a/model/{DIGEST}.safetensors",
    "jobs/b/checkpoints/000000000030-1.json",
    "jobs/b/checkpoints/.000000000040-1.json.part",
]
GOES = [
    "jobs/a/checkpoints/000000000030-1.json",
    "jobs/a/checkpoints/000000000030-1.safetensors",
    "jobs/a/checkpoints/000000000010-2-best.json",
    "jobs/a/checkpoints/.000000000040-1.safetensors.part",
    f"jobs/a/model/.{DIGEST}.safetensors.part",
]


def test_only_what_the_record_does_not_name_goes(tmp_path: Path) -> None:
    for path in (*STAYS, *GOES):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    remove_leftovers(Blobs(str(tmp_path)), "jobs/a", named={NAMED})
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == set(STAYS)


def test_without_any_file_nothing_is_touched(tmp_path: Path) -> None:
    remove_leftovers(Blobs(str(tmp_path / "none")), "jobs/a", named=set())
    assert list(tmp_path.iterdir()) == []
