"""What a job asks for, as the manager takes it: a recipe or a config file, with values set over it.

Pure but for reading the file. Nothing is checked here: the manager does that, for every door.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence.errors import ConfigError, InvalidInput

_REQUEST = frozenset({"recipe", "overrides"})


def of_recipe(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request for a recipe with `settings`, nested like RunConfig, over it."""
    return {"recipe": name, "overrides": dict(settings)}


def of_file(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that a file holds, with `settings` over it.

    Args:
        path: TOML, or JSON if its name ends so: a full RunConfig, or `recipe` with `overrides`.
        settings: Values to set, nested like RunConfig.

    Raises:
        ConfigError: The file is neither.
        OSError: It cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", field="config") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a table, found {type(values).__name__}")
    if set(values) <= _REQUEST:
        return {**values, "overrides": _laid_over(values.get("overrides", {}), settings)}
    return _laid_over(values, settings)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` pairs as a nested object: `optimizer.lr=0.1` sets `lr` in `optimizer`.

    A value is JSON where it can be read as such (`300`, `true`, `null`, `[128, 64]`), else text.

    Raises:
        InvalidInput: A pair has no `=` or an empty key.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names):
            raise InvalidInput(f"--set: expected key=value, found {pair!r}", field="set")
        nested: dict[str, Any] = {names[-1]: _value(text.strip())}
        for name in reversed(names[:-1]):
            nested = {name: nested}
        settings = _laid_over(settings, nested)
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _laid_over(values: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `above` laid over them, object by object."""
    result = dict(values)
    for name, value in above.items():
        below = values.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[name] = _laid_over(below, value)
        else:
            result[name] = value
    return result
