"""Files that nobody reads half of."""

import os
from pathlib import Path

import pytest

from talweg.spec.local.whole_files import place_of, write_whole


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


def test_links_are_followed_as_the_system_does(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real/one.csv").symlink_to("../real/./two.csv")
    (tmp_path / "real/two.csv").symlink_to(tmp_path / "folder/new/three.csv")
    for path in (tmp_path / "folder/one.csv", tmp_path / "real/../folder/two.csv"):
        assert place_of(path) == Path(os.path.realpath(path))
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="Too many levels"):
        place_of(tmp_path / "round")
    with pytest.raises(IsADirectoryError):
        place_of(tmp_path / "folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links to another user")
def test_links_that_another_user_has_planted_are_not_followed(tmp_path: Path) -> None:
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    victim.mkdir()
    (shared / "p.csv").symlink_to(victim / "secret")
    (shared / "folder").symlink_to(victim)
    paths = (shared / "p.csv", shared / "folder/secret")
    for is_shared, owner in ((True, 0), (False, 65534), (True, 65534)):
        shared.chmod(0o1777 if is_shared else 0o755)
        for link in shared.iterdir():
            os.lchown(link, owner, owner)
        for path in paths:
            if is_shared and owner:
                with pytest.raises(PermissionError, match="link of another user"):
                    place_of(path)
            else:
                assert place_of(path) == victim / "secret"
    assert place_of(shared / "new.csv") == shared / "new.csv"
