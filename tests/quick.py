"""Run the tests of what has changed, the nearest first, in under a minute: `make quick`.

A test module is near a change if few imports lie between them. What the time does not suffice for,
and what starts whole stacks, is left to `make test` and named.
"""

import argparse
import ast
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("proto", "server", "worker", "client", "deploy")
SECONDS = 45.0
"""Of testing; the start and the end take some more."""
# These start stacks or images, which take longer than everything else.
SLOW = ("tests/integration/", "tests/interop/", "tests/deploy/test_up.py", "tests/benchmarks/")
# What is read and not imported: tests by the ending of a changed file's name.
READ = {
    ".md": ("tests/deploy/test_documentation.py", "tests/deploy/test_readme.py"),
    ".proto": (
        "tests/proto/test_catalogue.py",
        "tests/proto/test_package.py",
        "tests/proto/test_reference.py",
    ),
    ".yaml": ("tests/deploy/test_compose.py",),
}


def changed_files() -> list[str]:
    """Return the files that differ from the upstream branch, or from HEAD without one."""
    upstream = _git("rev-parse", "--abbrev-ref", "@{upstream}") or ["HEAD"]
    base = (_git("merge-base", "HEAD", upstream[0]) or ["HEAD"])[0]
    untracked = _git("ls-files", "--others", "--exclude-standard")
    return sorted({*_git("diff", "--name-only", base), *untracked})


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def module_of(path: Path) -> str:
    """Return the name by which a file of the repository is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in PARTS:
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports(root: Path = ROOT) -> dict[str, set[str]]:
    """Return the names that each Python file imports, by its path below the root."""
    imports: dict[str, set[str]] = {}
    for part in (*PARTS, "tests"):
        for path in sorted((root / part).rglob("*.py")):
            imports[path.relative_to(root).as_posix()] = set(_imported(path))
    return imports


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            # The name may be a module's.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def distances(changed: Iterable[str], imports: Mapping[str, set[str]]) -> dict[str, int]:
    """Return how many imports lie between a change and each test module that it can touch.

    Args:
        changed: Paths of the changed files.
        imports: The names that each file imports, by its path.
    """
    files = {module_of(ROOT / path): path for path in imports}
    importers: dict[str, set[str]] = defaultdict(set)
    for path, names in imports.items():
        for name in names & files.keys():
            importers[files[name]].add(path)
        if Path(path).name.startswith("test_"):
            for folder in Path(path).parents:
                # Pytest imports these for it.
                conftest = (folder / "conftest.py").as_posix()
                if conftest in imports:
                    importers[conftest].add(path)
    reached = {path: 0 for path in changed if path in imports}
    for path in changed:
        for test in READ.get(Path(path).suffix, ()):
            reached.setdefault(test, 1)
    waiting = deque(reached)
    while waiting:
        path = waiting.popleft()
        for importer in importers[path] - reached.keys():
            reached[importer] = reached[path] + 1
            waiting.append(importer)
    return {path: steps for path, steps in reached.items() if Path(path).name.startswith("test_")}


class _Budget:
    """Ends the run when its time is over, and knows which modules were not finished."""

    def __init__(self, modules: Sequence[str], seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self.not_begun = set(modules)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        self.not_begun.discard(item.nodeid.partition("::")[0])
        if time.monotonic() > self._until:
            item.session.shouldstop = "the time of `make quick` is over"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the modules, and run none")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of testing")
    options = parser.parse_args(arguments)
    near = distances(changed_files(), read_imports())
    chosen = sorted(
        (path for path in near if not path.startswith(SLOW)), key=lambda path: (near[path], path)
    )
    slow = sorted(path for path in near if path.startswith(SLOW))
    if not chosen:
        print("nothing has changed that a quick test can touch")
    if options.list:
        print("\n".join(f"{near[path]}  {path}" for path in chosen))
    if options.list or not chosen:
        _tell_left_out(slow)
        return 0
    budget = _Budget(chosen, options.seconds)
    # In one process: it can stop between two tests, and nearer ones come first.
    status = pytest.main(["-q", "-m", "not faults", *chosen], plugins=[budget])
    _tell_left_out([*sorted(budget.not_begun), *slow])
    over = status == pytest.ExitCode.INTERRUPTED
    return 0 if over else int(status)


def _tell_left_out(modules: Sequence[str]) -> None:
    if modules:
        some = ", ".join(modules[:5]) + (", …" if len(modules) > 5 else "")
        print(f"left to `make test`: {len(modules)} modules ({some})", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
