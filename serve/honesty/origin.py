"""Where the value of an expression comes from, as far as one module shows it.

The analysis follows names within a function (whatever the order of its statements), module
constants, and functions of the same module through their arguments and results. It does not look
into other modules: what they return is OTHER, which no rule objects to.
"""

import ast
from collections.abc import Iterator
from enum import StrEnum

from serve.honesty.source import Function, Source, last_name


class Origin(StrEnum):
    """What a value is made of."""

    NUMBER = "number"
    """A number in the text."""
    COUNTER = "counter"
    """How far a loop has come."""
    RANDOM = "random"
    """A draw from a source of random values."""
    PARAMETER = "parameter"
    """An argument of the function, whatever that is."""
    OTHER = "other"
    """Anything else, measurements among it."""


Origins = frozenset[Origin]

_NOWHERE: Origins = frozenset()
_OTHER: Origins = frozenset({Origin.OTHER})
_NUMBER: Origins = frozenset({Origin.NUMBER})
_COUNTER: Origins = frozenset({Origin.COUNTER})
_RANDOM: Origins = frozenset({Origin.RANDOM})

_COUNTERS = frozenset({"step", "steps", "epoch", "epochs", "iteration", "iterations"})

_RANDOM_SOURCES = ("random.", "secrets.", "numpy.random.", "os.urandom", "uuid.uuid4", "torch.rand")
_TENSOR = "tinygrad.Tensor"
_TENSOR_DRAWS = frozenset(
    {"rand", "randn", "randint", "uniform", "normal", "scaled_uniform", "glorot_uniform",
     "kaiming_uniform", "kaiming_normal", "rand_like", "randn_like", "randperm", "multinomial"}
)  # fmt: skip
_GENERATORS = ("rng", "generator", "random_state")

_CONVERSIONS = frozenset(
    {"float", "int", "abs", "max", "min", "round", "sum", "pow", "list", "tuple", "sorted",
     "reversed", "iter", "next", "decimal.Decimal", _TENSOR}
)  # fmt: skip
_FORMULAS = ("math.", "numpy.", "statistics.")

_PARTS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Await: ("value",),
    ast.BinOp: ("left", "right"),
    ast.BoolOp: ("values",),
    ast.GeneratorExp: ("elt",),
    ast.IfExp: ("body", "orelse"),
    ast.List: ("elts",),
    ast.ListComp: ("elt",),
    ast.NamedExpr: ("value",),
    ast.Set: ("elts",),
    ast.Starred: ("value",),
    ast.Subscript: ("value",),  # a random index into real data gives real data
    ast.Tuple: ("elts",),
    ast.UnaryOp: ("operand",),
}
"""Fields of an expression that its value is made of."""

_Key = tuple[Function | None, str]
_Bound = ast.expr | Origin


class Tracer:
    """Tells the origins of expressions of one module.

    Args:
        source: The module.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._bindings: dict[_Key, list[_Bound]] = {}
        self._functions: dict[str, list[Function]] = {}
        self._results: dict[Function, list[ast.expr]] = {}
        self._under_way: set[_Key | Function] = set()
        for node in source.places:
            for target, value in _assigned(node):
                self._bind(target, value)
            self._note_function(node)

    def origins(self, node: ast.expr) -> Origins:
        """Return what the value of `node` is made of; an argument counts as OTHER."""
        found = self._trace(node)
        return (found - {Origin.PARAMETER}) | _OTHER if Origin.PARAMETER in found else found

    def _note_function(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._functions.setdefault(node.name, []).append(node)
        function = self._source.places[node].function
        if isinstance(node, ast.Return | ast.Yield) and node.value and function:
            self._results.setdefault(function, []).append(node.value)

    def _bind(self, target: ast.AST, value: _Bound) -> None:
        if isinstance(target, ast.Name):
            key = (self._source.places[target].function, target.id)
            self._bindings.setdefault(key, []).append(value)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, value)
        elif isinstance(target, ast.Tuple | ast.List):
            for part, its_value in zip(target.elts, _values_of(target, value), strict=True):
                self._bind(part, its_value)

    def _trace(self, node: ast.AST) -> Origins:
        match node:
            case ast.Constant():
                return _NUMBER if _is_number(node.value) else _OTHER
            case ast.Name():
                return self._trace_name(node)
            case ast.Attribute():
                return self._trace_attribute(node)
            case ast.Call():
                return self._trace_call(node)
            case _:
                return self._trace_all(_parts(node)) if type(node) in _PARTS else _OTHER

    def _trace_all(self, nodes: list[ast.expr]) -> Origins:
        return _NOWHERE.union(*(self._trace(node) for node in nodes))

    def _trace_name(self, node: ast.Name) -> Origins:
        function = self._source.places[node].function
        while True:
            key = (function, node.id)
            if key in self._bindings:
                return self._trace_bindings(key)
            if function is None:
                return _COUNTER if node.id in _COUNTERS else _OTHER
            if node.id in _parameters(function):
                return _COUNTER if node.id in _COUNTERS else frozenset({Origin.PARAMETER})
            function = self._source.places[function].function

    def _trace_bindings(self, key: _Key) -> Origins:
        if key in self._under_way:
            return _NOWHERE
        self._under_way.add(key)
        found = _NOWHERE
        for value in self._bindings[key]:
            found |= {value} if isinstance(value, Origin) else self._trace(value)
        self._under_way.remove(key)
        return found

    def _trace_attribute(self, node: ast.Attribute) -> Origins:
        if node.attr in _COUNTERS:
            return _COUNTER
        name = self._source.dotted(node)
        if name.startswith(_RANDOM_SOURCES):
            return _RANDOM
        return _NUMBER if name.startswith("math.") else self._trace(node.value)

    def _trace_call(self, node: ast.Call) -> Origins:
        name = self._source.dotted(node.func)
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if self._is_draw(node.func, name):
            return _RANDOM
        if name in _CONVERSIONS or name.startswith(_FORMULAS):
            return self._trace_all(arguments) or _NUMBER
        functions = self._functions.get(_own_name(node.func), [])
        if functions:
            return self._trace_functions(functions, arguments)
        return self._trace(node.func.value) if isinstance(node.func, ast.Attribute) else _OTHER

    def _is_draw(self, func: ast.expr, name: str) -> bool:
        if name.startswith(_RANDOM_SOURCES):
            return True
        if not isinstance(func, ast.Attribute):
            return False
        is_tensor = name == f"{_TENSOR}.{func.attr}" and func.attr in _TENSOR_DRAWS
        return is_tensor or last_name(func.value).endswith(_GENERATORS)

    def _trace_functions(self, functions: list[Function], arguments: list[ast.expr]) -> Origins:
        """Return what calls give: the results, with the arguments in place of parameters."""
        found = _NOWHERE
        for function in functions:
            if function in self._under_way:
                continue
            self._under_way.add(function)
            found |= self._trace_all(self._results.get(function, [])) or _OTHER
            self._under_way.remove(function)
        if Origin.PARAMETER in found:
            return (found - {Origin.PARAMETER}) | self._trace_all(arguments)
        return found


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return value.replace(".", "", 1).lstrip("-").isdecimal()
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parts(node: ast.AST) -> list[ast.expr]:
    found: list[ast.expr] = []
    for name in _PARTS[type(node)]:
        value = getattr(node, name)
        found.extend(value if isinstance(value, list) else [value])
    return found


def _parameters(function: Function) -> set[str]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {one.arg for one in [*named, arguments.vararg, arguments.kwarg] if one is not None}


def _own_name(func: ast.expr) -> str:
    """Return the name of a called function or own method; empty for calls of other things."""
    if isinstance(func, ast.Attribute) and last_name(func.value) not in {"self", "cls"}:
        return ""
    return last_name(func)


def _assigned(node: ast.AST) -> Iterator[tuple[ast.AST, _Bound]]:
    """Yield each target that a node binds, with the value that it gets."""
    match node:
        case ast.Assign():
            yield from ((target, node.value) for target in node.targets)
        case ast.AnnAssign() | ast.AugAssign() | ast.NamedExpr():
            if node.value is not None:
                yield node.target, node.value
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            yield from _looped(node.target, node.iter)
        case ast.withitem() if node.optional_vars is not None:
            yield node.optional_vars, Origin.OTHER
        case _:
            return


def _looped(target: ast.AST, over: ast.expr) -> Iterator[tuple[ast.AST, _Bound]]:
    """Yield what a loop binds: counters from range and enumerate, else elements."""
    name = last_name(over.func) if isinstance(over, ast.Call) else ""
    arguments = over.args if isinstance(over, ast.Call) else []
    parts = target.elts if isinstance(target, ast.Tuple) else []
    if name in {"range", "count"}:
        yield target, Origin.COUNTER
    elif name == "enumerate" and len(parts) == 2 and arguments:  # noqa: PLR2004  index and element
        yield parts[0], Origin.COUNTER
        yield parts[1], arguments[0]
    elif name == "zip" and len(parts) == len(arguments):
        yield from zip(parts, arguments, strict=True)
    else:
        yield target, over


def _values_of(target: ast.Tuple | ast.List, value: _Bound) -> list[_Bound]:
    """Return the value of each part of an unpacking."""
    if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
        return list(value.elts)
    return [value] * len(target.elts)
