"""Plug-in commands of two words, whose first may be a command of the client's own."""

from pathlib import Path

import pytest

from talweg.client.cli._root import root, run

COMMANDS = """[talweg.commands]
losses.draw = two_words:draw
losses.lacking = no_such_module:draw
losses.late = two_words:late
own.thing = two_words:draw
"""
CODE = """
import click

@click.command()
@click.argument("words", nargs=-1)
def draw(words):
    "Does something."
    click.echo(" ".join(["drew", *words]))

@click.command()
def late():
    import no_such_module
"""


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "two_words-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: two_words\nVersion: 1\n")
    (info / "entry_points.txt").write_text(COMMANDS)
    (tmp_path / "two_words.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("words", [["losses", "draw"], ["own", "thing"]])
def test_they_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "a", "b"]) == 0
    assert capsys.readouterr().out == "drew a b\n"
    assert run(["--address", "127.0.0.1:1", *words]) == 0


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert "losses draw     Does something." in out
    assert "losses plot     Plot losses: value and gradient." in out
    assert "losses lacking  (cannot be loaded)" in out


def test_the_first_word_alone_is_the_command_of_ones_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["losses", "--help"]) == 0
    assert "Usage: talweg losses [OPTIONS] [NAME]" in capsys.readouterr().out
    assert run(["losses", "draw", "--help"]) == 0
    assert "Usage: talweg losses draw [OPTIONS] [WORDS]..." in capsys.readouterr().out
    assert run(["own"]) == 2


@pytest.mark.parametrize("command", ["lacking", "late"])
def test_what_they_lack_is_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--address", "127.0.0.1:1", "losses", command]) == 2
    err = capsys.readouterr().err
    assert f"`talweg losses {command}` needs no_such_module" in err
    assert "pip install 'talweg[all]'" in err


def test_the_extra_of_a_known_one() -> None:
    assert root.extra_of("losses plot") == "worker"
    assert root.plugin_of(["losses", "plot", "mse"]) == "losses plot"
    assert root.plugin_of(["losses", "mse"]) == ""
