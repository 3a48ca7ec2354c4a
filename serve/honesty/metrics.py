"""Rules about measures: a metric must come from a measurement."""

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise

from serve.honesty.claims import Claim, Form, claims
from serve.honesty.origin import Origin, Origins, Tracer
from serve.honesty.rule import Hit, Records, Rule
from serve.honesty.source import Source, last_name

_SETTABLE = frozenset({"lr", "memory_bytes"})
"""Measures whose names are also those of settings and limits."""

_QUALITY = ("loss", "accuracy")
"""Measures that no formula of the step gives."""

_SHORTEST_CURVE = 5
_CURVE_WORDS = ("loss", "curve", "accuracy")
_SPACED = frozenset({"numpy.linspace", "numpy.geomspace", "numpy.logspace"})


def _traced(source: Source, records: Records) -> Iterator[tuple[Claim, Origins]]:
    given = list(claims(source, records))
    if not given:
        return
    tracer = Tracer(source)
    for claim in given:
        yield claim, tracer.origins(claim.value)


def _find_random(source: Source, records: Records) -> Iterator[Hit]:
    for claim, origins in _traced(source, records):
        if Origin.RANDOM in origins:
            yield claim.value, f"{claim.measure} is drawn from a random source"


def _find_constant(source: Source, records: Records) -> Iterator[Hit]:
    for claim, origins in _traced(source, records):
        if origins == {Origin.NUMBER} and _is_reported(claim):
            yield claim.value, f"{claim.measure} is a number in the text"


def _is_reported(claim: Claim) -> bool:
    if claim.form in {Form.RECORD, Form.REPORT}:
        return True
    return claim.form is not Form.VARIABLE and claim.measure not in _SETTABLE


def _find_formula(source: Source, records: Records) -> Iterator[Hit]:
    for claim, origins in _traced(source, records):
        is_formula = Origin.COUNTER in origins and origins <= {Origin.NUMBER, Origin.COUNTER}
        if is_formula and claim.measure.endswith(_QUALITY):
            yield claim.value, f"{claim.measure} is computed from nothing but the step"


def _find_curve(source: Source, _: Records) -> Iterator[Hit]:
    names = _names_of_values(source)
    literals: list[ast.List | ast.Tuple] = [*source.of(ast.List), *source.of(ast.Tuple)]
    for literal in literals:
        values = [_number(element) for element in literal.elts]
        if len(values) >= _SHORTEST_CURVE and None not in values:
            numbers = [value for value in values if value is not None]
            if _is_falling(numbers) or _is_curve_name(names.get(literal, "")):
                yield literal, f"{len(numbers)} numbers in the text that read as a curve"
    for call in source.of(ast.Call):
        bounds = [_number(argument) for argument in call.args[:2]]
        is_spaced = source.dotted(call.func) in _SPACED
        if is_spaced and _is_falling([bound for bound in bounds if bound is not None]):
            yield call, "a falling range of numbers that reads as a curve"


def _names_of_values(source: Source) -> dict[ast.AST, str]:
    """Return the name that each value is given, where it is given one."""
    names: dict[ast.AST, str] = {}
    for assign in source.of(ast.Assign):
        names[assign.value] = last_name(assign.targets[0])
    for annotated in source.of(ast.AnnAssign):
        if annotated.value:
            names[annotated.value] = last_name(annotated.target)
    for keyword in source.of(ast.keyword):
        names[keyword.value] = keyword.arg or ""
    for entries in source.of(ast.Dict):
        keyed = zip(entries.keys, entries.values, strict=True)
        names |= {v: str(k.value) for k, v in keyed if isinstance(k, ast.Constant)}
    return names


def _is_curve_name(name: str) -> bool:
    return any(word in name.lower() for word in _CURVE_WORDS)


def _number(node: ast.AST) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    is_number = isinstance(node, ast.Constant) and type(node.value) in {int, float}
    return node.value if is_number else None  # type: ignore[attr-defined]  # is_number


def _is_falling(values: Sequence[float]) -> bool:
    """Return whether numbers, not all of them whole, never rise and end below their start."""
    if not values or all(isinstance(value, int) for value in values):
        return False
    return values[0] > values[-1] and all(a >= b for a, b in pairwise(values))


RULES = (
    Rule(
        id="random-metric",
        finds="A measure gets a value drawn from a random source.",
        near_miss="Shuffling data with a seeded generator and measuring the loss on it.",
        detect=_find_random,
    ),
    Rule(
        id="constant-metric",
        finds="A measure of a record, a report or a call is a number in the text.",
        near_miss="A null measure with its reason; a learning rate given to an optimiser.",
        detect=_find_constant,
    ),
    Rule(
        id="formula-metric",
        finds="A loss or an accuracy is computed from numbers and the step alone.",
        near_miss="A learning rate computed from the step; a loss divided by the steps.",
        detect=_find_formula,
    ),
    Rule(
        id="canned-curve",
        finds="Five or more numbers in the text fall, or are named like a curve.",
        near_miss="Rising bucket bounds of a histogram; four numbers.",
        detect=_find_curve,
    ),
)
