"""One Python file, parsed: its nodes by kind, what their names resolve to, what encloses them."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands."""

    function: Function | None
    """The innermost function around it; None at module or class level."""
    symbol: str
    """Dotted name of the innermost definition, the node itself included; empty at module level."""


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file."""

    path: str
    """Relative to the root of the packages, with slashes."""
    lines: tuple[str, ...]
    """Its text, by line."""
    tree: ast.Module
    """The whole of it."""
    places: Mapping[ast.AST, Place]
    """Every node, in the order of the text."""
    imports: Mapping[str, str]
    """For each imported name, the full dotted name of what it stands for."""

    def of(self, kind: type[Node]) -> Iterator[Node]:
        """Yield the nodes of a kind, in the order of the text."""
        return (node for node in self.places if isinstance(node, kind))

    def functions(self) -> Iterator[Function]:
        """Yield the functions and methods, in the order of the text."""
        return (
            node for node in self.places if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )

    def dotted(self, node: ast.AST) -> str:
        """Return the full dotted name that an expression spells; empty if it is no name."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def line(self, number: int) -> str:
        """Return the text of a line, counted from 1, without the white space around it."""
        return self.lines[number - 1].strip() if 0 < number <= len(self.lines) else ""


def parse(path: str, text: str) -> Source:
    """Parse a file.

    Raises:
        SyntaxError: It is not Python.
        ValueError: It holds a null byte.
    """
    tree = ast.parse(text, filename=path)
    places: dict[ast.AST, Place] = {}
    _place(tree, Place(None, ""), places)
    imports = {name: full for node in places for name, full in _imported(node)}
    return Source(path, tuple(text.splitlines()), tree, places, imports)


def last_name(node: ast.AST) -> str:
    """Return the last part of the name that an expression spells; empty if it is no name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def body_of(function: Function) -> list[ast.stmt]:
    """Return the statements of a function without its docstring."""
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def is_empty(statement: ast.stmt) -> bool:
    """Return whether a statement is `pass`, `...` or another bare constant."""
    is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or is_constant


def _place(node: ast.AST, place: Place, places: dict[ast.AST, Place]) -> None:
    inner = place
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        symbol = f"{place.symbol}.{node.name}" if place.symbol else node.name
        place = Place(place.function, symbol)
        inner = place if isinstance(node, ast.ClassDef) else Place(node, symbol)
    places[node] = place
    for child in ast.iter_child_nodes(node):
        _place(child, inner, places)


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            yield name, alias.name if alias.asname else name
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module or ''}.{alias.name}"
