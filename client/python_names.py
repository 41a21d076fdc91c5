"""What names mean in Python code: who is called, what is imported, what is used."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

# What is called like a method of the client, and is none.
_FOREIGN = ("digest.update",)


@dataclass(frozen=True)
class Import:
    """Where a name comes from."""

    module: str
    """The module."""
    name: str
    """The name there; empty where the module itself is imported."""
    is_for_types: bool
    """Whether only type checkers see it."""


def functions_in(node: ast.AST) -> list[ast.FunctionDef]:
    """Return all functions and methods, those inside others too."""
    return [each for each in ast.walk(node) if isinstance(each, ast.FunctionDef)]


def own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield what a function's body holds, without what functions and lambdas in it hold."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def yields(function: ast.FunctionDef) -> bool:
    """Return whether a function is a generator."""
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own_nodes(function))


def called_name(node: ast.AST) -> str:
    """Return the name of the function that a node calls, without what stands before its dot."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            return "" if ast.unparse(node.func) in _FOREIGN else node.func.attr
        if isinstance(node.func, ast.Name):
            return node.func.id
    return ""


def is_property(function: ast.FunctionDef) -> bool:
    """Return whether a function is a property."""
    return any(ast.unparse(each) == "property" for each in function.decorator_list)


def quoted_annotations(node: ast.AST) -> list[tuple[ast.Constant, str]]:
    """Return the annotations, and the parts of them, that are strings, with their text."""
    annotations: list[ast.expr | None] = []
    for each in ast.walk(node):
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            annotations.append(each.returns)
        elif isinstance(each, (ast.arg, ast.AnnAssign)):
            annotations.append(each.annotation)
    return [
        (part, part.value)
        for annotation in annotations
        if annotation is not None
        for part in ast.walk(annotation)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def names_in(node: ast.AST) -> set[str]:
    """Return the names that a node uses, also in annotations that are strings."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    for _, text in quoted_annotations(node):
        names.update(re.findall(r"(?<![\w.])[A-Za-z_]\w*", text))
    return names


def used_names(text: str) -> set[str]:
    """Return the names that the text of a module uses."""
    return names_in(ast.parse(text))


def top_names(tree: ast.Module) -> set[str]:
    """Return the names that a module itself defines."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(
                name.id
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            )
    return names


def imports_of(tree: ast.Module) -> dict[str, Import]:
    """Return the imports at the top of a module, by the names that they give."""
    found: dict[str, Import] = {}
    for node in tree.body:
        is_for_types = isinstance(node, ast.If)
        for each in node.body if isinstance(node, ast.If) else [node]:
            if isinstance(each, ast.Import):
                for alias in each.names:
                    found[alias.asname or alias.name] = Import(alias.name, "", is_for_types)
            elif isinstance(each, ast.ImportFrom):
                for alias in each.names:
                    local = alias.asname or alias.name
                    found[local] = Import(each.module or "", alias.name, is_for_types)
    return found
