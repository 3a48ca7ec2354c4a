"""Rules about code that does nothing where it should act: stubs, silence, waiting."""

import ast
from collections.abc import Iterator

from serve.honesty.rule import Hit, Records, Rule
from serve.honesty.source import Function, Source, body_of, is_empty, last_name

_METHODS = frozenset(
    {"get", "post", "put", "patch", "delete", "head", "options", "route", "api_route", "websocket"}
)
_NOT_STUBS = frozenset({"overload", "abstractmethod", "callback"})
"""Decorators of functions that have no body on purpose; `callback` carries a command's help."""

_SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep"})
_TRAINERS = "trainers/"
_TRAINING = ("trainers.loop", "trainers.step", "trainers.batches")

_EVERYTHING = frozenset({"Exception", "BaseException"})
_FAMILIES = _EVERYTHING | {"ServiceError", "IntegrityError", "OSError", "RayError"}
"""Errors that are too many to be expected all."""

_LOGS = frozenset({"exception", "critical", "error", "warning"})


def _find_stub(source: Source, _: Records) -> Iterator[Hit]:
    hooks = {
        last_name(default)
        for arguments in source.of(ast.arguments)
        for default in [*arguments.defaults, *arguments.kw_defaults]
        if default is not None
    }
    protocols = {
        statement
        for node in source.of(ast.ClassDef)
        if any(_base_name(base) == "Protocol" for base in node.bases)
        for statement in node.body
    }
    for function in source.functions():
        is_meant = function in protocols or function.name in hooks
        is_meant = is_meant or not _NOT_STUBS.isdisjoint(_decorators(function))
        if all(map(is_empty, body_of(function))) and not is_meant:
            yield function, f"{function.name} does nothing"
    for node in source.of(ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if raised is not None and last_name(raised) in {"NotImplementedError", "NotImplemented"}:
            yield node, "raises NotImplementedError"


def _base_name(base: ast.expr) -> str:
    return last_name(base.value if isinstance(base, ast.Subscript) else base)


def _decorators(function: Function) -> set[str]:
    calls = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
    return {last_name(decorator) for decorator in calls}


def _find_placeholder(source: Source, _: Records) -> Iterator[Hit]:
    added = {
        last_name(node.args[1])
        for node in source.of(ast.Call)
        if last_name(node.func) in {"add_api_route", "add_route"} and len(node.args) > 1
    }
    for function in source.functions():
        is_route = function.name in added or any(map(_is_route, function.decorator_list))
        if is_route and all(map(_is_placeholder, body_of(function))):
            yield function, f"the route {function.name} answers the same always"


def _is_route(decorator: ast.expr) -> bool:
    if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
        return False
    path = decorator.args[0] if decorator.args else None
    has_path = isinstance(path, ast.Constant) and isinstance(path.value, str)
    return decorator.func.attr in _METHODS and has_path


def _is_placeholder(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Return):
        return statement.value is None or _is_literal(statement.value)
    return is_empty(statement) or isinstance(statement, ast.Raise)


def _is_literal(node: ast.expr | None) -> bool:
    """Return whether an expression is made of constants alone, in containers or new objects."""
    match node:
        case None | ast.Constant():
            return True
        case ast.List() | ast.Tuple() | ast.Set():
            return all(map(_is_literal, node.elts))
        case ast.Dict():
            return all(map(_is_literal, [*node.keys, *node.values]))
        case ast.Call():
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            return last_name(node.func)[:1].isupper() and all(map(_is_literal, arguments))
        case _:
            return False


def _find_swallowed(source: Source, _: Records) -> Iterator[Hit]:
    names_any = source.path.startswith(_TRAINERS)
    for handler in source.of(ast.ExceptHandler):
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        does_nothing = all(is_empty(one) or isinstance(one, ast.Continue) for one in handler.body)
        is_silent = does_nothing and (names_any or any(map(_is_family, kinds)))
        if is_silent or (any(map(_is_everything, kinds)) and not _tells(handler)):
            yield handler, "an error goes by without a word"
    for call in source.of(ast.Call):
        is_suppress = source.dotted(call.func) == "contextlib.suppress"
        if is_suppress and (names_any or any(map(_is_family, call.args))):
            yield call, "errors go by without a word"


def _is_everything(kind: ast.expr | None) -> bool:
    return kind is None or last_name(kind) in _EVERYTHING


def _is_family(kind: ast.expr | None) -> bool:
    return kind is None or last_name(kind) in _FAMILIES


def _tells(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler raises, logs, or uses the error."""
    nodes = [node for statement in handler.body for node in ast.walk(statement)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    logged = {node.attr for node in nodes if isinstance(node, ast.Attribute)} & _LOGS
    is_raised = any(isinstance(node, ast.Raise) for node in nodes)
    return is_raised or bool(logged) or handler.name in used


def _find_sleep(source: Source, _: Records) -> Iterator[Hit]:
    trains = source.path.startswith(_TRAINERS) or any(
        name.startswith(_TRAINING) for name in source.imports.values()
    )
    for call in source.of(ast.Call) if trains else ():
        only_yields = bool(call.args) and getattr(call.args[0], "value", None) == 0
        if source.dotted(call.func) in _SLEEPS and not only_yields:
            yield call, "sleeps where training runs"


RULES = (
    Rule(
        id="stub",
        finds="A function has no body, or raises NotImplementedError.",
        near_miss="A method of a protocol, an overload, a hook that does nothing by default.",
        detect=_find_stub,
    ),
    Rule(
        id="placeholder-route",
        finds="A route answers with constants, with nothing, or always with an error.",
        near_miss="A route that asks something and returns what it was told.",
        detect=_find_placeholder,
    ),
    Rule(
        id="swallowed-exception",
        finds="A family of errors, or any in trainers/, is passed over; or all are caught untold.",
        near_miss="One expected error passed over outside trainers/; all errors caught and logged.",
        detect=_find_swallowed,
    ),
    Rule(
        id="sleep-in-training",
        finds="A sleep in trainers/ or in a module that imports the loop, the step or batches.",
        near_miss="A sleep elsewhere; a stopwatch; `asyncio.sleep(0)`, which only yields.",
        detect=_find_sleep,
    ),
)
