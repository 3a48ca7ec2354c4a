"""What `zpctl train` sends: a recipe with overrides, or a full config; made purely."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from evidence.errors import InvalidInput

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """Return what KEY=VALUE pairs say, nested where a KEY has dots.

    Raises:
        InvalidInput: A pair has no `=`, no key, a value that is neither JSON nor TOML nor a word,
            or contradicts one before it.
    """
    result: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise _wrong(assignment, "KEY=VALUE")
        merge(result, _nested(key.split("."), value_of(text, of=assignment)), at=key)
    return result


def value_of(text: str, *, of: str) -> Any:
    """Return the value that `text` means: JSON, or TOML, or a plain word.

    Raises:
        InvalidInput: It is none of them.
    """
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    if not _WORD.fullmatch(text):
        raise _wrong(of, "a value in JSON or TOML")
    return text


def merge(target: dict[str, Any], more: Mapping[str, Any], *, at: str) -> None:
    """Put `more` into `target`, table by table.

    Raises:
        InvalidInput: One has a table where the other has a value.
    """
    for key, value in more.items():
        present = target.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            merge(present, value, at=at)
        elif key in target and isinstance(present, dict) != isinstance(value, Mapping):
            raise InvalidInput(f"--set {at}: {key} is a table in one place and not in the other")
        else:
            target[key] = value


def read_config(data: bytes, *, name: str) -> dict[str, Any]:
    """Return the config in a file's bytes: JSON where the name ends so, else TOML.

    Raises:
        InvalidInput: It is not that.
    """
    try:
        config = json.loads(data) if name.endswith(".json") else tomllib.loads(data.decode())
    except ValueError as error:  # also JSON, TOML and Unicode errors
        raise InvalidInput(f"{name}: {error}", field="config") from error
    if not isinstance(config, dict):
        raise InvalidInput(f"{name}: expected an object, found {type(config).__name__}")
    return config


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    first, *rest = keys
    return {first: _nested(rest, value) if rest else value}


def _wrong(assignment: str, expected: str) -> InvalidInput:
    return InvalidInput(
        f"--set: expected {expected}, found {assignment!r}",
        field="set",
        expected=expected,
        found=assignment,
        cure="zpctl train RECIPE --set steps=300 --set optimizer.lr=0.01",
    )
