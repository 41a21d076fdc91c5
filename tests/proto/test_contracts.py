"""What several programs must hold alike: states, names at the broker, files, hints."""

import json
import os
from pathlib import Path

import pytest

from talweg.client import JobState
from talweg.spec.local.ready import Ready, read_ready_file, write_ready_file
from talweg.spec.local.stackfile import last_stack_file
from talweg.spec.spelling import near, nearest
from talweg.spec.states import has_ended
from talweg.v1.jobs_pb2 import Job

ROOT = Path(__file__).parents[2]

# What is written down in one file alone, and where in proto/talweg/spec that is.
ONCE = {
    '"talweg.answer"': "broker.py",
    '"talweg:"': "broker.py",
    '"TALWEG_READY_FILE"': "local/ready.py",
    '"stack.json"': "local/stackfile.py",
    "get_close_matches": "spelling.py",
}


def test_which_states_are_last_ones() -> None:
    goes_on = {"STATE_UNSPECIFIED", "QUEUED", "RUNNING", "PAUSED"}
    assert {name for name, number in Job.State.items() if not has_ended(number)} == goes_on
    assert {state.name for state in JobState if not state.is_final} <= goes_on


@pytest.mark.parametrize("text", ONCE)
def test_a_contract_stands_in_one_place(text: str) -> None:
    files = [
        path.relative_to(ROOT)
        for part in ("proto", "server", "worker", "client", "deploy")
        for path in (ROOT / part / "talweg").rglob("*.py")
        if text in path.read_text()
    ]
    assert files == [Path("proto/talweg/spec") / ONCE[text]]


def test_a_ready_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "run" / "server.json"
    write_ready_file(path, address="127.0.0.1:7070")
    assert read_ready_file(path) == Ready(os.getpid(), "127.0.0.1:7070")
    # Written aside and renamed: nothing else is left there.
    assert list(path.parent.iterdir()) == [path]
    write_ready_file(None, address="127.0.0.1:7070")


@pytest.mark.parametrize("content", ["", "{", "[]", "1", '{"pid": 1}', '{"pid": "x"}'])
def test_what_is_no_ready_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ready.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="must hold a pid and an address"):
        read_ready_file(path)
    with pytest.raises(FileNotFoundError):
        read_ready_file(tmp_path / "none")


def test_the_ready_files_form(tmp_path: Path) -> None:
    """Programs of other languages read it too."""
    write_ready_file(tmp_path / "r", address="a:1")
    assert json.loads((tmp_path / "r").read_text()) == {"pid": os.getpid(), "address": "a:1"}


def test_where_the_copy_of_the_stack_file_lies() -> None:
    both = {"XDG_STATE_HOME": "/x", "HOME": "/h"}
    assert last_stack_file(both) == Path("/x/talweg/stack.json")
    assert last_stack_file({"HOME": "/h"}) == Path("/h/.local/state/talweg/stack.json")
    assert last_stack_file({}) is None


def test_hints() -> None:
    assert nearest("Hubr", ["mse", "huber"]) == "did you mean 'huber'?"
    assert nearest("running", ["RUNNING", "QUEUED"]) == "did you mean 'RUNNING'?"
    assert nearest("xyz", ["mse", "huber"]) == ""
    assert near("tes/mae", ["test/mae", "test/mse", "lr"], most=2) == ["test/mae", "test/mse"]
