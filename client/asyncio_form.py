"""The asyncio form of a module that waits for a server.

Which functions wait follows from the calls: from those of the transport up to the methods of the
client. Calls are told by the names of functions, so that a name must wait everywhere or nowhere.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from python_names import (
    Import,
    called_name,
    functions_in,
    imports_of,
    is_property,
    names_in,
    own_nodes,
    quoted_annotations,
    top_names,
    used_names,
    yields,
)

PACKAGE: Final = "talweg.client"
RENAMED: Final = {
    "Client": "AsyncClient",
    "Job": "AsyncJob",
    "StoredDataset": "AsyncStoredDataset",
    "Comparison": "AsyncComparison",
    "Session": "AsyncSession",
    "Sweep": "AsyncSweep",
    "SweepAnswer": "AsyncSweepAnswer",
}
"""The public classes. All others keep their names, in other modules."""
WRITTEN: Final = {
    ("_transport", "Transport"): "_transport",
    ("_watchers", "Watchers"): "_watchers",
    ("comparisons._comparison", "Comparison"): "_comparison",
}
"""What is written for asyncio by hand: the module of each name, and that of its asyncio form."""
# What waits in the transport, and what yields as the server answers.
_WAITING: Final = ("unary", "send", "pause", "work", "close")
_STREAMING: Final = ("stream", "events")
_CONTEXT: Final = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
# Notebooks cannot await it.
_HTML: Final = "_repr_html_"
_ADDED: Final = {
    "AsyncIterator": "collections.abc",
    "AsyncGenerator": "collections.abc",
    "aclosing": "contextlib",
}
_DOCUMENTED: Final = {
    "A connection to a Talweg server; a thread-safe context manager.": (
        "A connection to a Talweg server for asyncio; an async context manager of one event loop."
    ),
}


class Waits:
    """Which functions of the modules wait for the server, and what differs for asyncio."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """Follow the calls from what waits in the transport to all that call it.

        Args:
            sources: The text of each module by its path below the package.
        """
        trees = {name: ast.parse(source) for name, source in sources.items()}
        functions = [each for tree in trees.values() for each in functions_in(tree)]
        self.waiting, self.streaming = set(_WAITING), set(_STREAMING)
        size = 0
        while size < (size := len(self.waiting) + len(self.streaming)):
            for function in functions:
                if self.is_stream(function):
                    self.streaming.add(function.name)
                elif self.waits(function) and not self.is_dropped(function):
                    self.waiting.add(function.name)
        for function in functions:
            self._check(function)
        self.differing: dict[str, set[str]] = {name: set() for name in trees}
        size = -1
        while size < (size := sum(map(len, self.differing.values()))):
            for name, tree in trees.items():
                self._find_differing(name, tree)

    def waits(self, function: ast.FunctionDef) -> bool:
        """Return whether a function waits in its own body, or must be able to."""
        return function.name in _CONTEXT or any(
            called_name(node) in self.waiting or self.is_streaming_call(node)
            for node in own_nodes(function)
        )

    def is_dropped(self, function: ast.FunctionDef) -> bool:
        """Return whether a method has no asyncio form: nobody could await it."""
        cannot_wait = is_property(function) or function.name == _HTML
        return cannot_wait and self.waits(function)

    def is_stream(self, function: ast.FunctionDef) -> bool:
        """Return whether a function is to be an async iterator, or returns one."""
        if yields(function):
            return self.waits(function)
        return any(
            isinstance(node, ast.Return) and self.is_streaming_call(node.value)
            for node in own_nodes(function)
        )

    def is_async(self, function: ast.FunctionDef) -> bool:
        """Return whether a function is to be `async def`."""
        if self.is_stream(function):
            return yields(function)
        is_overload = any(ast.unparse(each) == "overload" for each in function.decorator_list)
        return self.waits(function) or (is_overload and function.name in self.waiting)

    def is_streaming_call(self, node: ast.AST | None) -> bool:
        """Return whether a node calls what yields as the server answers."""
        return node is not None and called_name(node) in self.streaming

    def home(self, origin: Import) -> str | None:
        """Return the module below `aio` that a name is to come from; None if it is alike there."""
        if not f"{origin.module}.".startswith(f"{PACKAGE}."):
            return None
        module = origin.module.removeprefix(PACKAGE).removeprefix(".")
        written = WRITTEN.get((module, origin.name))
        if written is not None:
            return f"{PACKAGE}.aio.{written}"
        path = PurePosixPath(module.replace(".", "/"))
        if self.differing.get(str(path / origin.name)):
            # A module that is imported whole.
            return f"{PACKAGE}.aio.{module}"
        for inner, differing in self.differing.items():
            # The module itself, or the package that passes the name on.
            if origin.name in differing and path in (
                PurePosixPath(inner),
                PurePosixPath(inner).parent,
            ):
                return f"{PACKAGE}.aio.{inner.replace('/', '.')}"
        return None

    def _check(self, function: ast.FunctionDef) -> None:
        """Refuse a function that does not wait, if others of its name do.

        Raises:
            SystemExit: There is one.
        """
        is_declared = all(isinstance(each, ast.Expr) for each in function.body)
        may_wait = is_declared or is_property(function) or self.waits(function)
        if function.name in self.waiting | self.streaming and not may_wait:
            raise SystemExit(
                f"{function.name}, line {function.lineno}, does not wait for the server, but "
                "another function of this name does: rename one of them"
            )

    def _find_differing(self, module: str, tree: ast.Module) -> None:
        imported = imports_of(tree)
        for node in tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            used = names_in(node) - {node.name}
            refers = bool(used & self.differing[module]) or any(
                self.home(imported[name]) is not None for name in used & imported.keys()
            )
            if refers or any(map(self.waits, functions_in(node))):
                self.differing[module].add(node.name)


class Form:
    """A module in its form for asyncio: its text, in which comments and docstrings stay."""

    def __init__(self, module: str, source: str, waits: Waits) -> None:
        """Change the text.

        Args:
            module: Its path below the package.
            source: Its text.
            waits: What waits in it.
        """
        self._module, self._source, self._waits = module, source, waits
        self._tree = ast.parse(source)
        # Python counts columns in bytes.
        self._lines = source.encode().splitlines(keepends=True)
        self._edits: list[tuple[int, int, str]] = []
        self._kept = waits.differing[module]
        body = self._body()
        self.text = f"{self._head()}\n\n{self._imports(body)}\n\n\n{body}"

    def _head(self) -> str:
        up = "../" * (1 + self._module.count("/"))
        docstring = ast.get_source_segment(self._source, self._tree.body[0])
        made = f"# Made by client/make_asyncio.py from {up}{self._module}.py: change that module."
        return f"{made}\n{docstring}"

    def _body(self) -> str:
        """Return the text below the imports."""
        docstring, *rest = self._tree.body
        previous = self._end(docstring)
        self._edit(0, previous, "")
        for node in rest:
            if getattr(node, "name", "") in self._kept:
                self._change(node)
            else:
                # With the comment above it.
                self._edit(previous, self._end(node), "")
            previous = self._end(node)
        text = self._source.encode()
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2], reverse=True):
            text = text[:start] + new.encode() + text[end:]
        body = text.decode()
        for documented, new in _DOCUMENTED.items():
            body = body.replace(documented, new)
        # The examples in docstrings.
        body = re.sub(r"(?m)^( +(?:\w+ = )?)(client\.\w+\()", r"\1await \2", body)
        return body.strip("\n") + "\n"

    def _change(self, node: ast.stmt) -> None:
        gone: set[ast.AST] = set()
        for function in functions_in(node):
            if self._waits.is_dropped(function):
                lines = [function.lineno, *(each.lineno for each in function.decorator_list)]
                self._edit(self._at(min(lines), 0), self._end(function), "")
                gone.update(ast.walk(function))
            else:
                self._change_signature(function)
                self._change_calls(function)
        self._rename(node, gone)

    def _change_signature(self, function: ast.FunctionDef) -> None:
        start = self._start(function)
        if self._waits.is_async(function):
            self._edit(start, start, "async ")
        if function.name in _CONTEXT:
            named = start + len("def ")
            self._edit(named, named + len(function.name), _CONTEXT[function.name])
        if self._waits.is_stream(function) and function.returns is not None:
            self._insert(function.returns, "Async")

    def _change_calls(self, function: ast.FunctionDef) -> None:
        parents = {
            child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)
        }
        closed: set[str] = set()
        for node in own_nodes(function):
            if isinstance(node, ast.With):
                closed |= self._change_with(node)
        for node in own_nodes(function):
            if isinstance(node, ast.Call) and called_name(node) in self._waits.waiting:
                is_inner = isinstance(parents[node], (ast.Attribute, ast.Subscript))
                self._insert(node, "(await " if is_inner else "await ")
                if is_inner:
                    self._edit(self._end(node), self._end(node), ")")
            elif isinstance(node, ast.For):
                source = node.iter
                is_closed = isinstance(source, ast.Name) and source.id in closed
                if is_closed or self._waits.is_streaming_call(source):
                    self._insert(node, "async ")
            elif isinstance(node, ast.YieldFrom) and self._waits.is_stream(function):
                # An async iterator cannot hand over to another.
                indent = " " * (node.col_offset + 4)
                loop = "async for" if self._waits.is_streaming_call(node.value) else "for"
                self._edit(self._start(node), self._start(node.value), f"{loop} each in ")
                self._edit(self._end(node), self._end(node), f":\n{indent}yield each")

    def _change_with(self, node: ast.With) -> set[str]:
        """Enter what closes streams and watches; return the names of the streams."""
        context, variable = node.items[0].context_expr, node.items[0].optional_vars
        if called_name(context) not in ("closing", "Watchers"):
            return set()
        self._insert(node, "async ")
        if called_name(context) == "Watchers":
            return set()
        self._insert(context, "a")
        assert isinstance(variable, ast.Name)
        return {variable.id}

    def _rename(self, node: ast.stmt, gone: set[ast.AST]) -> None:
        """Rename the public classes in code, and in annotations that are strings."""
        if isinstance(node, ast.ClassDef) and node.name in RENAMED:
            named = self._start(node) + len("class ")
            self._edit(named, named + len(node.name), RENAMED[node.name])
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and name.id in RENAMED and name not in gone:
                self._edit(self._start(name), self._end(name), RENAMED[name.id])
        for constant, text in quoted_annotations(node):
            if constant not in gone:
                new = re.sub(r"(?<![\w.])\w+", lambda m: RENAMED.get(m[0], m[0]), text)
                new = re.sub(r"\bgrpc\.(?=Unary|Stream)", "grpc.aio.", new)
                self._edit(self._start(constant), self._end(constant), f'"{new}"')

    def _imports(self, body: str) -> str:
        """Return the imports of what the body uses."""
        original = {new: old for old, new in RENAMED.items()}
        imported, own = imports_of(self._tree), top_names(self._tree) - self._kept
        lines: set[str] = set()
        for_types: set[str] = set()
        for name in used_names(body):
            old = original.get(name, name)
            if name in _ADDED:
                lines.add(f"from {_ADDED[name]} import {name}")
            elif old in imported:
                origin = imported[old]
                (for_types if origin.is_for_types else lines).add(self._import(origin, name))
            elif old in own:
                lines.add(f"from {PACKAGE}.{self._module.replace('/', '.')} import {old}")
        if for_types:
            lines.add("from typing import TYPE_CHECKING")
            for_types = {"if TYPE_CHECKING:", *(f"    {each}" for each in for_types)}
        return "\n".join([*sorted(lines), "", *sorted(for_types, reverse=True)])

    def _import(self, origin: Import, name: str) -> str:
        if not origin.name:
            return f"import {origin.module}"
        home = self._waits.home(origin)
        if home is not None:
            return f"from {home} import {name}"
        named = f" as {name}" if name != origin.name else ""
        return f"from {origin.module} import {origin.name}{named}"

    def _edit(self, start: int, end: int, new: str) -> None:
        self._edits.append((start, end, new))

    def _insert(self, node: ast.expr | ast.stmt, new: str) -> None:
        self._edit(self._start(node), self._start(node), new)

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._at(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.end_lineno, node.end_col_offset)

    def _at(self, line: int, column: int) -> int:
        return sum(map(len, self._lines[: line - 1])) + column
