"""Which stretches of a run are done again: purely from its checkpoints and what was asked. Light.

A window lies between two neighbouring checkpoints whose bytes are in the pack, or between the
initial weights and the first of them. Pruned checkpoints lie within a window: their digests are
compared on the way, and no window begins or ends there.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Self

from pydantic import model_validator

from evidence.errors import InvalidInput
from evidence.records import Record, Step

USUAL_COUNT = 3
"""Windows that are picked where nobody says how many."""

SOURCE = "the auditor's operating system (secrets)"
"""What the report calls the source of the auditor's randomness."""

RandBelow = Callable[[int], int]
"""Returns a random integer in [0, n)."""


class Window(Record):
    """Steps `begin + 1` to `end` of a run."""

    begin: Step
    """Updates done before it; 0 begins at the initial weights."""
    end: Step
    """Updates done behind it."""

    @model_validator(mode="after")
    def _has_steps(self) -> Self:
        if self.end <= self.begin:
            raise ValueError("end above begin")
        return self

    @property
    def steps(self) -> int:
        """How many updates it has."""
        return self.end - self.begin

    def __str__(self) -> str:
        return f"{self.begin} to {self.end}"


class How(StrEnum):
    """How windows were picked."""

    RANDOM = "random"
    RANGE = "range"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Request:
    """What an auditor asks for; at most one of a number, a range and everything.

    Raises:
        InvalidInput: More than one of them, or a number below 1.
    """

    count: int | None = None
    """Windows to pick at random; None with nothing else asks for USUAL_COUNT, or all if fewer."""
    begin: int | None = None
    """First step of a range, a bound of a window."""
    end: int | None = None
    """Last step of a range, a bound of a window."""
    everything: bool = False
    """Whether to take all windows."""

    def __post_init__(self) -> None:
        asked = (self.count is not None, self.is_range, self.everything)
        if sum(asked) > 1:
            raise InvalidInput(
                "expected one of a number of windows, a range and all of them, found "
                f"{sum(asked)} of these"
            )
        if self.count is not None and self.count < 1:
            raise InvalidInput(f"windows: expected at least 1, found {self.count}", field="windows")

    @property
    def is_range(self) -> bool:
        """Whether a range is asked for."""
        return self.begin is not None or self.end is not None


class Choice(Record):
    """Which windows were picked, and how."""

    how: How
    source: str | None
    """Where the randomness came from; null where none was needed."""
    asked: int | None
    """How many windows were asked for; null where it was not by number."""
    windows: tuple[Window, ...]
    """Those that are done again, in the order of their steps."""
    left_out: tuple[Window, ...]
    """Those that are not."""
    pruned: tuple[Step, ...]
    """Checkpoints without bytes, where no window can begin or end."""
    beyond: Window | None
    """Steps behind the last checkpoint, which nothing in the pack can be compared with."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where windows of a run can begin and end."""

    kept: Collection[int]
    """Steps of the checkpoints with bytes."""
    pruned: Collection[int]
    """Steps of those without."""
    last_step: int
    """Last step that the run did."""

    @property
    def windows(self) -> list[Window]:
        """All windows, in the order of their steps."""
        return [Window(begin=a, end=b) for a, b in pairwise([0, *sorted(self.kept)])]

    @property
    def beyond(self) -> Window | None:
        """Steps behind the last checkpoint."""
        last = max(self.kept, default=0)
        return Window(begin=last, end=self.last_step) if self.last_step > last else None


def choose(bounds: Bounds, request: Request, *, randbelow: RandBelow = secrets.randbelow) -> Choice:
    """Pick windows.

    Args:
        bounds: Of the run.
        request: What is asked for.
        randbelow: The auditor's own randomness; who is audited must not foresee it.

    Raises:
        InvalidInput: A range does not begin or end at a checkpoint of the run, or is empty.
    """
    every = bounds.windows
    if request.is_range:
        how, chosen = How.RANGE, _within(bounds, request)
    elif request.everything:
        how, chosen = How.ALL, every
    else:
        count = USUAL_COUNT if request.count is None else request.count
        how, chosen = How.RANDOM, _sample(every, count, randbelow)
    return Choice(
        how=how,
        source=SOURCE if how is How.RANDOM else None,
        asked=request.count,
        windows=tuple(chosen),
        left_out=tuple(one for one in every if one not in chosen),
        pruned=tuple(sorted(bounds.pruned)),
        beyond=bounds.beyond,
    )


def pruned_bounds(bounds: Bounds, request: Request) -> list[int]:
    """Return the bounds of an asked range that are checkpoints without bytes."""
    asked = (request.begin, request.end)
    return [step for step in asked if step is not None and step in bounds.pruned]


def _sample(windows: Sequence[Window], count: int, randbelow: RandBelow) -> list[Window]:
    """Return `count` windows, or all if fewer; each set of them is as likely as any other."""
    left = list(windows)
    chosen = [left.pop(randbelow(len(left))) for _ in range(min(count, len(left)))]
    return sorted(chosen, key=lambda one: one.begin)


def _within(bounds: Bounds, request: Request) -> list[Window]:
    """Return the windows of a range."""
    last = max(bounds.kept, default=0)
    begin = 0 if request.begin is None else request.begin
    end = last if request.end is None else request.end
    known = [0, *sorted({*bounds.kept, *bounds.pruned})]
    for name, step in (("from", begin), ("to", end)):
        if step not in known:
            told = ", ".join(map(str, known))
            raise InvalidInput(
                f"{name}: expected 0 or the step of a checkpoint ({told}), found {step}", field=name
            )
    if end <= begin:
        raise InvalidInput(f"to: expected a step behind {begin}, found {end}", field="to")
    return [one for one in bounds.windows if begin <= one.begin and one.end <= end]
