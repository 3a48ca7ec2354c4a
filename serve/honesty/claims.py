"""Where shipped code gives a measure a value: in records, dictionaries, calls, variables."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from evidence.records import MEASURES, Metric
from serve.honesty.rule import Records
from serve.honesty.source import Source, last_name

_SUFFIXES = ("_loss", "_accuracy")
_FEWEST_IN_A_RECORD = 2


class Form(StrEnum):
    """How a measure gets its value."""

    RECORD = "record"
    """As a field of a class with at least two measures, or as that field's default."""
    REPORT = "report"
    """As an entry of a dictionary with at least two measures."""
    ENTRY = "entry"
    """As an entry of another dictionary."""
    ARGUMENT = "argument"
    """As a keyword argument of another call."""
    RESULT = "result"
    """As the result of a function of that name."""
    VARIABLE = "variable"
    """As a variable or attribute of that name."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A measure and the expression that it gets its value from."""

    measure: str
    value: ast.expr
    form: Form


def is_measure(name: str) -> bool:
    """Return whether a name is that of a measure, or ends like one."""
    return name in MEASURES or name.endswith(_SUFFIXES)


def records_of(sources: Iterable[Source]) -> Records:
    """Return the classes that hold at least two measures; Metric is always among them."""
    found = {Metric.__name__: tuple(Metric.model_fields)}
    for source in sources:
        for node in source.of(ast.ClassDef):
            fields = tuple(name for name, _ in _fields(node))
            if sum(map(is_measure, fields)) >= _FEWEST_IN_A_RECORD:
                found[node.name] = fields
    return found


def claims(source: Source, records: Records) -> Iterator[Claim]:
    """Yield each measure of a file that is given a value."""
    for node in source.places:
        for name, value, form in _given(source, node, records):
            if is_measure(name):
                yield Claim(name, value, form)


_Given = Iterator[tuple[str, ast.expr, Form]]


def _given(source: Source, node: ast.AST, records: Records) -> _Given:
    match node:
        case ast.Call():
            yield from _given_to_call(node, records)
        case ast.Dict():
            yield from _given_to_dict(node)
        case ast.ClassDef() if node.name in records:
            yield from ((name, value, Form.RECORD) for name, value in _fields(node) if value)
        case ast.Assign():
            yield from (_of_target(target, node.value) for target in node.targets)
        case ast.AnnAssign() | ast.AugAssign() if node.value:
            yield _of_target(node.target, node.value)
        case ast.Return() if node.value:
            function = source.places[node].function
            yield function.name if function else "", node.value, Form.RESULT


def _given_to_call(node: ast.Call, records: Records) -> _Given:
    fields = records.get(last_name(node.func))
    form = Form.ARGUMENT if fields is None else Form.RECORD
    for keyword in node.keywords:
        yield keyword.arg or "", keyword.value, form
    for name, value in zip(fields or (), node.args, strict=False):
        yield name, value, form


def _given_to_dict(node: ast.Dict) -> _Given:
    entries = [(_text(key), value) for key, value in zip(node.keys, node.values, strict=True)]
    count = sum(is_measure(name) for name, _ in entries)
    form = Form.REPORT if count >= _FEWEST_IN_A_RECORD else Form.ENTRY
    yield from ((name, value, form) for name, value in entries)


def _of_target(target: ast.expr, value: ast.expr) -> tuple[str, ast.expr, Form]:
    if isinstance(target, ast.Subscript):
        return _text(target.slice), value, Form.ENTRY
    return last_name(target), value, Form.VARIABLE


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            yield last_name(statement.target), statement.value


def _text(key: ast.expr | None) -> str:
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
