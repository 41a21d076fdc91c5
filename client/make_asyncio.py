"""Makes the client for asyncio from the client.

    python client/make_asyncio.py            write
    python client/make_asyncio.py --check    name stale files; exit status 1 if there are any

Whatever waits for the server is written once, in the modules listed here. Their form for asyncio
goes to `talweg/client/aio`, under the same names: calls that wait are awaited, what yields as the
server answers becomes an async iterator, and what does not wait is imported. Nobody can await a
property: the class for asyncio has that of its base, which is what was last reported.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from asyncio_form import Form, Waits

CLIENT = Path(__file__).resolve().parent / "talweg/client"
MODULES = (
    "_connection",
    "_pages",
    "_handle",
    "_control",
    "_jobs",
    "_client",
    "catalogue/_catalogue",
    "data/_client",
    "data/_files_in_specs",
    "data/_inputs",
    "data/_registered",
    "data/_stored",
    "data/_uploads",
    "identity/_client",
    "results/_artifacts",
    "results/_predictions",
    "results/_results",
    "sessions/_client",
    "sessions/_handle",
    "sweeps/_answer",
    "sweeps/_client",
    "sweeps/_handle",
    "sweeps/_sweeps",
)
_RUFF = (sys.executable, "-m", "ruff")


def generated() -> dict[Path, str]:
    """Return the text of each file, by its path."""
    sources = {name: (CLIENT / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    waits = Waits(sources)
    texts = {CLIENT / f"aio/{name}.py": Form(name, sources[name], waits).text for name in sources}
    for folder in {path.parent for path in texts} - {CLIENT / "aio"}:
        docstring = (CLIENT / folder.name / "__init__.py").read_text(encoding="utf-8")
        texts[folder / "__init__.py"] = docstring.partition("\n\n")[0].rstrip() + "\n"
    return {path: _formatted(path, text) for path, text in texts.items()}


def _formatted(path: Path, text: str) -> str:
    for command in (("check", "--quiet", "--select", "I", "--fix"), ("format", "--quiet")):
        text = subprocess.run(
            [*_RUFF, *command, "--stdin-filename", str(path), "-"],
            input=text,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    return text


def main(arguments: list[str] | None = None) -> int:
    """Write or check; give the exit status."""
    parser = argparse.ArgumentParser(description="Make the client for asyncio.")
    parser.add_argument("--check", action="store_true", help="change nothing, name stale files")
    check = parser.parse_args(arguments).check
    stale = [
        (path, text)
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        print(f"{'stale' if check else 'was stale'}  {path.relative_to(CLIENT)}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        print("Run `make proto`, and commit what it writes.")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
