"""Files that nobody reads half of."""

import os
from pathlib import Path

import pytest

from talweg.spec.local.whole_files import write_whole


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_file_has_the_mode_that_was_asked_for(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "secret", "größe")
        write_whole(tmp_path / "public", b"\0", mode=0o644)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"secret": 0o600, "public": 0o644}
    assert (tmp_path / "secret").read_bytes() == "größe".encode()


def test_where_it_cannot_be_written_it_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "before")
    in_the_way = tmp_path / f".file.{os.getpid()}"
    in_the_way.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(path, "after")
    assert path.read_text() == "before"
    in_the_way.rmdir()
    write_whole(path, "after")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "after"
