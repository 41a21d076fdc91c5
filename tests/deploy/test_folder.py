import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from talweg.deploy import folder as folder_module
from talweg.deploy.errors import FolderInUseError
from talweg.deploy.folder import KEPT_LOGS, Folder, FolderLock
from talweg.deploy.stackfile import StackFile, versions


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "data")
    folder.create()
    return folder


def test_a_folder_is_for_the_owner_alone(folder: Folder) -> None:
    assert folder.root.stat().st_mode & 0o077 == 0


def test_a_folder_that_was_there_is_closed_where_it_is_a_stacks(tmp_path: Path) -> None:
    def closed(root: Path) -> bool:
        Folder(root).create()
        return root.stat().st_mode & 0o077 == 0

    for name in ("empty", "of a stack", "of others"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "of a stack/lock").touch()
    (tmp_path / "of a stack/stack.json").touch()
    (tmp_path / "of others/letter.txt").touch()
    assert closed(tmp_path / "empty")
    assert closed(tmp_path / "of a stack")
    assert not closed(tmp_path / "of others")


def test_a_locked_folder_says_who_has_it(folder: Folder) -> None:
    with FolderLock(folder):
        with pytest.raises(FolderInUseError, match=f"{folder.root} .* process {os.getpid()} "):
            FolderLock(folder).__enter__()
    with FolderLock(folder):
        pass


def test_logs_of_earlier_starts_are_kept_and_the_oldest_goes(folder: Folder) -> None:
    for start in range(KEPT_LOGS + 3):
        folder.rotate_logs()
        with folder.open_log("server") as log:
            log.write(f"start {start}".encode())
    newest_first = [folder.log_file("server")] + [
        folder.logs / f"server.log.{number}" for number in range(1, KEPT_LOGS + 1)
    ]
    assert [path.read_text() for path in newest_first] == [
        f"start {start}" for start in range(KEPT_LOGS + 2, 1, -1)
    ]
    assert sorted(folder.logs.iterdir()) == sorted(newest_first)


def test_a_log_that_grows_too_large_is_emptied_under_its_writer(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "LARGEST_LOG", 10)
    with folder.open_log("server") as log:
        log.write(b"0123456789ABC")
        log.flush()
        folder.shorten_logs()
        log.write(b"after")
    assert folder.log_file("server").read_bytes() == b"after"
    assert (folder.logs / "server.log.1").read_bytes() == b"0123456789ABC"


def test_a_log_that_cannot_be_copied_is_emptied_all_the_same(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder_module, "LARGEST_LOG", 10)
    monkeypatch.setattr(shutil, "copyfile", no_room)
    folder.log_file("server").write_bytes(b"0123456789ABC")
    folder.shorten_logs()
    assert [(path.name, path.read_bytes()) for path in folder.logs.iterdir()] == [
        ("server.log", b"")
    ]


def test_the_end_of_a_log(folder: Folder) -> None:
    with folder.open_log("server") as log:
        log.write(b"\n".join(b"line %d" % number for number in range(10_000)))
    assert folder.end_of_log("server", num_lines=2) == "line 9998\nline 9999"
    assert folder.end_of_log("nobody", num_lines=2) == ""


def test_the_copy_of_a_later_stack_is_left_alone(tmp_path: Path) -> None:
    pointer = tmp_path / "state/talweg/stack.json"
    file = StackFile(tmp_path / "stack.json", pointer)
    file.write({"server": "127.0.0.1:1"})
    written = json.loads(pointer.read_text())
    assert written == json.loads((tmp_path / "stack.json").read_text())
    assert written["pid"] == os.getpid()
    assert written["format"] == 1
    pointer.write_text(json.dumps({**written, "pid": 1}))
    file.remove()
    assert pointer.exists()
    assert not (tmp_path / "stack.json").exists()


def test_both_files_go_at_the_end(tmp_path: Path) -> None:
    pointer = tmp_path / "state/stack.json"
    file = StackFile(tmp_path / "stack.json", pointer)
    file.write({})
    file.remove()
    file.remove()
    assert not pointer.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_home_that_cannot_be_written_to_costs_the_copy_alone(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a folder")
    file = StackFile(tmp_path / "stack.json", tmp_path / "state/talweg/stack.json")
    file.write({})
    assert (tmp_path / "stack.json").exists()
    file.remove()


def test_versions_are_those_installed() -> None:
    assert set(versions()) == {"talweg", "python", "torch", "mlflow"}
