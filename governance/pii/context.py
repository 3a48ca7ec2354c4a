"""Words around a candidate that make it likelier, within one record."""

import re
from collections.abc import Iterator
from typing import Final, Self

BORDER: Final = "\x00"
"""What stands between two records that are scanned in one go; no pattern matches across it."""

_BEFORE = 48


class Text(str):
    """A text that keeps its lower-case twin, each character in its place."""

    __slots__ = ("lower_case",)

    lower_case: str

    def __new__(cls, text: str) -> Self:
        """Make one; a character whose lower case is longer stays as it is."""
        self = super().__new__(cls, text)
        lower = text.lower()
        if len(lower) != len(text):
            lower = "".join(low if len(low := char.lower()) == 1 else char for char in text)
        self.lower_case = lower
        return self

    def places(self, stem: str) -> Iterator[int]:
        """Yield where a lower-case stem stands, in whatever case; quicker than a pattern."""
        place = self.lower_case.find(stem)
        while place >= 0:
            yield place
            place = self.lower_case.find(stem, place + 1)


def before(text: str, start: int, *, size: int = _BEFORE) -> str:
    """Return what stands before `start` in its record, at most `size` characters, lower-case."""
    return text[max(0, start - size) : start].rpartition(BORDER)[2].lower()


def after(text: str, end: int, *, size: int = 12) -> str:
    """Return what stands behind `end` in its record, at most `size` characters, lower-case."""
    return text[end : end + size].partition(BORDER)[0].lower()


def words(*stems: str) -> re.Pattern[str]:
    """Return a pattern that finds a word which begins with one of the stems."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(stems)})")
