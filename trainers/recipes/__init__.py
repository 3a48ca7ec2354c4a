"""Recipes: ready RunConfigs as TOML files beside this module, and how a request becomes a config.

Light: no tinygrad. A request is a recipe with overrides, or a full config.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evidence.errors import ConfigError
from trainers import config
from trainers.config import RunConfig
from trainers.data.catalog import ImageSet, TextSet

_FOLDER = Path(__file__).parent
_FULL = frozenset({"dataset", "model", "steps"})
"""Fields without defaults: a request that has one of them is a full config."""


def names() -> list[str]:
    """Return the names of all recipes, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name: str) -> RunConfig:
    """Return the config of the recipe `name`.

    Raises:
        ConfigError: There is no such recipe; the allowed names stand in the message.
    """
    return config.parse(_values(name))


Own = Callable[[str], ImageSet | TextSet | None]
"""Returns what is known of a data set of somebody's own, None where there is none of the name."""


def no_own(_: str) -> None:
    """Know no data but that of the catalog."""


def resolve(request: Mapping[str, Any], *, own: Own = no_own) -> RunConfig:
    """Return the config that `request` asks for, every default filled in.

    Args:
        request: `{"recipe": NAME, "overrides": {...}}`, overrides nested like the config; or a full
            config, which has at least `dataset`, `model` and `steps`. Overriding
            `model.architecture` replaces the whole model; overriding `steps` without
            `checkpoint_every` drops the recipe's cadence.
        own: Asked for a data set that is not in the catalog; the answer goes into the config.

    Raises:
        ConfigError: No such recipe, or a field is missing, unknown or out of bounds.
        InvalidInput: `request` is not JSON.
    """
    if "overrides" not in request and set(request) & _FULL:
        return config.parse(_described(request, own))
    _require_known(request)
    overrides = request.get("overrides", {})
    if not isinstance(overrides, Mapping):
        raise ConfigError(
            f"overrides: expected an object, found {type(overrides).__name__}",
            field="overrides",
            expected="an object",
            found=type(overrides).__name__,
        )
    if "recipe" in overrides:
        raise ConfigError(
            "overrides.recipe: a run's recipe is the one that it is made from",
            field="overrides.recipe",
            expected="no such field",
            found=f"{overrides['recipe']!r:.80}",
        )
    values = _values(request.get("recipe"))
    if "steps" in overrides:
        values.pop("checkpoint_every", None)
    return config.parse(_described(_merged(values, overrides), own))


def _described(values: Mapping[str, Any], own: Own) -> Mapping[str, Any]:
    """Return a config with the description of its data set, where that is somebody's own."""
    known = own(values["dataset"]) if isinstance(values.get("dataset"), str) else None
    if known is None or values.get("data") is not None:
        return values
    return {**values, "data": known.model_dump(mode="json")}


def _require_known(request: Mapping[str, Any]) -> None:
    unknown = sorted(set(request) - {"recipe", "overrides"})
    if unknown:
        raise ConfigError(
            f"{unknown[0]!s:.80}: unknown beside a recipe; what changes it goes into `overrides`",
            field=f"{unknown[0]!s:.80}",
            expected="recipe and overrides, or a full config with dataset, model and steps",
            found=f"{unknown[0]!s:.80}",
        )


def _values(name: object) -> dict[str, Any]:
    known = names()
    if name not in known:
        raise ConfigError(
            f"recipe: expected one of {', '.join(known)}, found {name!r:.80}",
            field="recipe",
            expected=f"one of {', '.join(known)}",
            found=f"{name!r:.80}",
        )
    values = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return {**values, "recipe": name}


def _merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `overrides` laid over them, object by object."""
    if overrides.get("architecture", values.get("architecture")) != values.get("architecture"):
        return dict(overrides)
    result = dict(values)
    for name, value in overrides.items():
        below = values.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[name] = _merged(below, value)
        else:
            result[name] = value
    return result
