"""Findings that are allowed, each with its reason, from exceptions.toml."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FILE = Path(__file__).with_name("exceptions.toml")
"""The project's own."""


class Allowed(BaseModel):
    """One finding that is allowed: that line in that definition, and no other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    """Id of the rule."""
    file: str
    """Path relative to the root of the packages."""
    symbol: str
    """Dotted name of the definition around it; empty at module level."""
    text: str
    """The line, without the white space around it."""
    reason: Annotated[str, Field(min_length=20)]
    """Why it is honest."""


def read(file: Path) -> tuple[Allowed, ...]:
    """Return the exceptions of a file, in its order.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not such a file.
    """
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("exception", [])
    return tuple(Allowed.model_validate(entry) for entry in entries)
