"""docs/cli.md names every command and no other, and its recipe gives a stack another worker."""

import re
from pathlib import Path

from talweg.client.cli._lazy import _plugins
from talweg.client.cli._root import _OWN

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()


def test_every_command_has_a_row() -> None:
    rows = re.findall(r"^\| (`talweg .*?) \|", PAGE, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`talweg (\w+)`", row)}
    assert named == {name for name in {*_OWN, *_plugins()} if " " not in name}
