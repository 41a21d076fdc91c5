"""The folder of the running stacks of a user, by which clients find their tokens."""

import os
import tempfile
from pathlib import Path

import pytest

from talweg.deploy.stackfile import StackFile
from talweg.spec.local.stackfile import stacks_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_stack_is_there_while_it_runs_and_ended_ones_are_forgotten(temporary: Path) -> None:
    folder = stacks_folder(create=True)
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "999999999.json").write_text("{}")
    file = StackFile(temporary / "stack.json", None, folder)
    file.write({"server": "127.0.0.1:1"})
    assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}.json"]
    file.remove()
    assert list(folder.iterdir()) == []


def test_a_folder_that_others_may_write_is_not_used(temporary: Path) -> None:
    folder = stacks_folder(create=True)
    assert folder is not None
    folder.chmod(0o777)
    assert stacks_folder(create=True) is None
    folder.chmod(0o700)
    folder.rename(temporary / "elsewhere")
    folder.symlink_to(temporary / "elsewhere")
    assert stacks_folder(create=True) is None
