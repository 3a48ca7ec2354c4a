"""Rules about pretending: mock libraries, names, flags, and switches for them."""

import ast
import re
from collections.abc import Iterator

from serve.honesty.rule import Hit, Records, Rule
from serve.honesty.source import Source, last_name

_LIBRARIES = frozenset(
    {"unittest.mock", "mock", "pytest", "pytest_mock", "responses", "requests_mock", "respx",
     "pytest_httpx", "httpretty", "faker", "factory", "mimesis", "freezegun", "time_machine",
     "vcr", "moto", "flexmock", "doublex"}
)  # fmt: skip

_WORDS = "mock|fake|dummy|stub|simulate|simulated|placeholder"
_SNAKE = re.compile(rf"_*(?:{_WORDS})(?:_\w*)?", re.IGNORECASE)
_CAMEL = re.compile(rf"_*(?:{_WORDS.title()})(?:[A-Z0-9]\w*)")

_FLAGS = frozenset(
    {"mocks", "mock", "mocked", "is_mock", "is_mocked", "has_mocks", "uses_mocks", "simulated",
     "is_simulated"}
)  # fmt: skip

_SWITCH = re.compile(r"mock|fake|dummy|stub|simulat", re.IGNORECASE)
_REFUSED_SWITCH = frozenset({"MOCKS_DISABLED", "mocks_disabled"})
"""The one switch that may be named: it can only refuse to start."""

_ENVIRONMENT = re.compile(r"(?:.*\.)?environ(?:\.(?:get|pop|setdefault))?|os\.getenv")
"""Full dotted names by which the environment is read."""

_TEST_RUNNERS = frozenset({"pytest", "unittest", "_pytest"})


def _find_library(source: Source, _: Records) -> Iterator[Hit]:
    for node in source.places:
        for name in _imported_modules(source, node):
            if any(name == one or name.startswith(f"{one}.") for one in _LIBRARIES):
                yield node, f"imports {name}"


def _imported_modules(source: Source, node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(level=0):
            return [f"{node.module}.{alias.name}" for alias in node.names]
        case ast.Call(args=[ast.Constant(value=str(name)), *_]):
            loads = {"__import__", "importlib.import_module"}
            return [name] if source.dotted(node.func) in loads else []
        case _:
            return []


def _find_name(source: Source, _: Records) -> Iterator[Hit]:
    for node in source.places:
        for name in _defined_names(node):
            if _SNAKE.fullmatch(name) or _CAMEL.fullmatch(name):
                yield node, f"defines {name}"


def _defined_names(node: ast.AST) -> list[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.arg():
            return [node.arg]
        case ast.alias():
            return [node.asname or node.name.rpartition(".")[2]]
        case ast.Name(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
            return [last_name(node)]
        case _:
            return []


def _find_flag(source: Source, _: Records) -> Iterator[Hit]:
    for node in source.places:
        for name, value in _flagged(source, node):
            if name in _FLAGS and _is_declared(value):
                yield node, f"{name} is declared, not derived"


def _is_declared(value: ast.AST | None) -> bool:
    is_literal_type = isinstance(value, ast.Subscript) and last_name(value.value) == "Literal"
    return isinstance(value, ast.Constant) or is_literal_type


def _flagged(source: Source, node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Yield names with what they are set to, or the type they are declared with."""
    match node:
        case ast.Assign():
            yield from ((_target_name(target), node.value) for target in node.targets)
        case ast.AnnAssign():
            yield last_name(node.target), node.value
            yield last_name(node.target), node.annotation
        case ast.keyword():
            yield node.arg or "", node.value
        case ast.Dict():
            keyed = zip(node.keys, node.values, strict=True)
            yield from ((str(k.value), v) for k, v in keyed if isinstance(k, ast.Constant))
        case ast.Return():
            function = source.places[node].function
            yield function.name if function else "", node.value
        case _:
            return


def _target_name(target: ast.expr) -> str:
    is_keyed = isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant)
    return str(target.slice.value) if is_keyed else last_name(target)  # type: ignore[attr-defined]  # is_keyed


def _find_switch(source: Source, _: Records) -> Iterator[Hit]:
    for node, name in [*_variables(source), *_settings(source)]:
        if _SWITCH.search(name) and name not in _REFUSED_SWITCH:
            yield node, f"{name} switches something false on"


def _settings(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Yield the fields of settings classes: each is an environment variable."""
    for node in source.of(ast.ClassDef):
        for field in node.body if node.name.endswith(("Settings", "Limits")) else []:
            if isinstance(field, ast.AnnAssign):
                yield field, last_name(field.target)


def _variables(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Yield the environment variables that a file names where it reads them."""
    for node in source.places:
        name, container = _lookup(node)
        is_envvar = isinstance(node, ast.keyword) and node.arg == "envvar"
        if is_envvar or (container and _ENVIRONMENT.fullmatch(source.dotted(container))):
            yield node, name


def _lookup(node: ast.AST) -> tuple[str, ast.AST | None]:
    """Return the name that a node looks up, and where: a called method or a container."""
    match node:
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
            return name, func
        case ast.Subscript(value=container, slice=ast.Constant(value=str(name))):
            return name, container
        case ast.Compare(left=ast.Constant(value=str(name)), comparators=[container]):
            return name, container
        case ast.keyword(value=ast.Constant(value=str(name))):
            return name, None
        case _:
            return "", None


def _find_test_awareness(source: Source, _: Records) -> Iterator[Hit]:
    for node, name in _variables(source):
        if name.startswith("PYTEST_"):
            yield node, f"reads {name}, which a test runner sets"
    for node in source.places:
        runner, container = _lookup(node)
        if runner in _TEST_RUNNERS and container and "sys.modules" in source.dotted(container):
            yield node, f"asks whether {runner} is loaded"


RULES = (
    Rule(
        id="mock-library",
        finds="A library for mocks, made-up data or tests is imported.",
        near_miss="A name of our own or of the standard library that a mock library has too.",
        detect=_find_library,
    ),
    Rule(
        id="mock-name",
        finds="A class, function or variable is named as a mock, a fake, a dummy or a simulation.",
        near_miss="A word that only begins alike; `mocks_disabled`, which refuses them.",
        detect=_find_name,
    ),
    Rule(
        id="mock-flag",
        finds="A flag that says whether there are mocks is a constant, or typed as one.",
        near_miss="The flag derived from findings, or declared as a bool without a value.",
        detect=_find_flag,
    ),
    Rule(
        id="mock-switch",
        finds="An environment variable or setting switches mocks, fakes or simulation on.",
        near_miss="`MOCKS_DISABLED`, whose only other value is refused.",
        detect=_find_switch,
    ),
    Rule(
        id="test-awareness",
        finds="Shipped code asks whether a test runs it.",
        near_miss="Looking for another module in `sys.modules`.",
        detect=_find_test_awareness,
    ),
)
