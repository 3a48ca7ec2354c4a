"""Whose a discrepancy is: the first entry of owners.toml that fits its place and field."""

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from evidence.errors import ConfigError
from serve.probe.finding import Discrepancy

FILE = Path(__file__).with_name("owners.toml")
"""The project's own."""


class Owner(BaseModel):
    """One entry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: Annotated[str, Field(min_length=1)]
    """Pattern of `METHOD /path` or `pack/PATH`."""
    field: str = "*"
    """Pattern of the field within it."""
    name: Annotated[str, Field(min_length=1)]
    """Of the team."""

    def has(self, discrepancy: Discrepancy) -> bool:
        """Return whether a discrepancy is theirs, if no entry before this one fits."""
        # a place holds {braces} and no [brackets], so that nothing of it reads as a pattern
        is_there = fnmatchcase(discrepancy.place, self.place)
        return is_there and fnmatchcase(discrepancy.field, self.field)


class Owners:
    """All entries, in their order.

    Args:
        entries: The last one must fit everything.
    """

    def __init__(self, entries: tuple[Owner, ...]) -> None:
        self._entries = entries

    def of(self, discrepancy: Discrepancy) -> str:
        """Return the team that a discrepancy belongs to."""
        return next(entry.name for entry in self._entries if entry.has(discrepancy))

    @property
    def names(self) -> frozenset[str]:
        """Every team."""
        return frozenset(entry.name for entry in self._entries)


def read(file: Path = FILE) -> Owners:
    """Return the owners of a file.

    Raises:
        ConfigError: It is no such file, or its last entry does not fit everything.
        OSError: It cannot be read.
    """
    try:
        listed = tomllib.loads(file.read_text(encoding="utf-8")).get("owner", [])
        entries = tuple(Owner.model_validate(entry) for entry in listed)
    except ValueError as error:  # also of TOML and pydantic
        raise ConfigError(f"{file.name}: {error}"[:300]) from error
    if not entries or (entries[-1].place, entries[-1].field) != ("*", "*"):
        raise ConfigError(
            f"{file.name}: expected a last entry that fits everything",
            expected='place = "*"',
        )
    return Owners(entries)
