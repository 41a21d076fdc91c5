"""Files that nobody reads half of."""

import os
from pathlib import Path

import pytest

from talweg.spec.local.whole_files import write_whole, written_aside


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


def test_what_a_link_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real/one.csv").symlink_to("../folder/./two.csv")
    (tmp_path / "real/two.csv").symlink_to(tmp_path / "folder/new/three.csv")
    with written_aside(tmp_path / "folder/one.csv", ending=".csv") as aside:
        assert aside.suffix == ".csv"
        aside.write_text("content")
    assert (tmp_path / "real/one.csv").is_symlink()
    new = tmp_path / "real/new"
    assert [(each.name, each.read_text()) for each in new.iterdir()] == [("three.csv", "content")]
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="Too many levels"), written_aside(tmp_path / "round"):
        pass
    with pytest.raises(IsADirectoryError), written_aside(tmp_path / "folder"):
        pass


def test_what_breaks_off_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")

    def break_off() -> None:
        with written_aside(file) as aside:
            aside.write_text("half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        break_off()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "before")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links to another user")
def test_links_that_another_user_has_planted_are_not_followed(tmp_path: Path) -> None:
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    victim.write_text("")
    link = shared / "p.csv"
    link.symlink_to(victim)
    for is_shared, owner in ((True, 0), (False, 65534), (True, 65534)):
        shared.chmod(0o1777 if is_shared else 0o755)
        os.lchown(link, owner, owner)
        if is_shared and owner:
            with pytest.raises(PermissionError, match="link of another user"):
                _write(link, "planted")
        else:
            _write(link, text := f"{is_shared} {owner}")
            assert victim.read_text() == text
    assert victim.read_text() == "False 65534"


def _write(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text)
