"""Every error of the stack has one base, and `talweg up` ends with its message."""

import inspect
import re
from pathlib import Path

import pytest

from talweg.deploy import errors, run
from talweg.deploy.errors import DeployError

ERRORS = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, DeployError)
]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    lines = [line for line in (errors.__doc__ or "").split("\n")[2:] if line]
    drawn = [line.strip("│├└─ ").split()[0] for line in lines]
    assert sorted(drawn) == sorted(error.__name__ for error in ERRORS)


def test_no_other_error_is_defined_in_the_package() -> None:
    defined = [
        path.name
        for path in Path(errors.__file__).parent.glob("*.py")
        if re.search(r"^class \w+\((\w*Error|Exception)\):", path.read_text(), re.MULTILINE)
    ]
    assert defined == ["errors.py"]


@pytest.mark.parametrize("error", ERRORS)
def test_up_ends_with_the_message_and_status_1(
    error: type[DeployError],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    class Stack:
        def __init__(self, *_: object) -> None:
            pass

        def run(self) -> int:
            raise error("what to do")

    monkeypatch.setattr(run, "Stack", Stack)
    assert run.run(data=tmp_path, port=None, submit=None, once=False) == 1
    assert capsys.readouterr().err == "talweg up: what to do\n"
