"""How a check of a probe ends: what was looked at, what differs and where, or why nobody can tell.

A check is a generator: it yields each discrepancy and returns what it looked at, in a few words. It
raises CannotTell where something that it needs is not to be had here.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum

from evidence.errors import ServiceError
from evidence.printable import printable

MOST_SHOWN = 200
"""Characters that are shown of a stranger's value."""

MOST_DISCREPANCIES = 20
"""Discrepancies of one check that are kept; the rest is counted."""


class Result(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One thing that is not as it should be."""

    place: str
    """Route as `METHOD /path`, or `pack/PATH` of a file of a pack."""
    field: str
    """JSON pointer, header or tensor within it; empty for the whole."""
    expected: str
    found: str
    file: str
    """Where it was captured, relative to the report."""
    detail: str = ""
    """What that means, in one sentence."""


class CannotTell(Exception):
    """Ends a check that cannot be made; never leaves `serve.probe`."""


_MALFORMED = (AttributeError, IndexError, KeyError, ServiceError, TypeError, ValueError)
"""What reading an answer of another shape raises."""

Finder = Generator[Discrepancy, None, str]
"""Yields what differs and returns what was looked at."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended."""

    result: Result
    looked_at: str
    """What was looked at, or why it cannot be told."""
    discrepancies: tuple[Discrepancy, ...] = ()
    more: int = 0
    """Discrepancies that were left out."""


def conclude(find: Callable[[], Finder]) -> Outcome:
    """Return how a check ends.

    A stranger's answer may have any shape. What breaks a check because a field is absent or of
    another type is a discrepancy like any other, and says where.
    """
    found: list[Discrepancy] = []
    try:
        looked_at = _drain(find(), found)
    except CannotTell as reason:
        if not found:
            return Outcome(Result.CANNOT_TELL, _shown(str(reason)))
        looked_at = str(reason)
    except _MALFORMED as error:
        text = f"{type(error).__name__}: {error}"
        found.append(differs("an answer", "of the shape that the API states", text))
        looked_at = "answers of another shape"
    if not found:
        return Outcome(Result.PASSED, _shown(looked_at))
    kept = tuple(found[:MOST_DISCREPANCIES])
    return Outcome(Result.FAILED, _shown(looked_at), kept, len(found) - len(kept))


def differs(
    place: str, expected: object, found: object, *, field: str = "", file: str = "", why: str = ""
) -> Discrepancy:
    """Return a discrepancy whose values are cut and cannot control a terminal."""
    return Discrepancy(
        place=place,
        field=_shown(field),
        expected=_shown(expected),
        found=_shown(found),
        file=file,
        detail=_shown(why),
    )


def _shown(value: object) -> str:
    text = printable(value if isinstance(value, str) else repr(value))
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def _drain(made: Finder, into: list[Discrepancy]) -> str:
    while True:
        try:
            into.append(next(made))
        except StopIteration as end:
            return str(end.value)
