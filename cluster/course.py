"""The course of a value in a few points, for a small chart beside a run's name."""

from dataclasses import dataclass, field

MOST_POINTS = 64
"""Points after which every second is dropped."""


@dataclass(slots=True)
class Course:
    """Every n-th of the values so far, n doubled each time that there are too many.

    Which values stay follows from their number alone, so a restart gives the same course.
    """

    values: list[float] = field(default_factory=list)
    """Oldest first, at most MOST_POINTS."""
    stride: int = 1
    """How many values one point stands for."""
    seen: int = 0
    """Values so far."""

    def add(self, value: float) -> None:
        """Take in the next value."""
        if self.seen % self.stride == 0:
            if len(self.values) == MOST_POINTS:
                del self.values[1::2]
                self.stride *= 2
            if self.seen % self.stride == 0:
                self.values.append(value)
        self.seen += 1
