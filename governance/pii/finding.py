"""What a detector says: type and place of something, and how sure it is; never its text."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from governance.pii.entities import Entity


class Span(NamedTuple):
    """Something in a piece of text."""

    start: int
    """0-based code point."""
    end: int
    """Exclusive."""
    entity: Entity
    score: float
    """How sure the detector is, [0, 1]."""


def without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order, of those that overlap the surest, of equally sure the longest."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if kept and span.start < kept[-1].end:
            if _rank(span) > _rank(kept[-1]):
                kept[-1] = span
            continue
        kept.append(span)
    return kept


def _rank(span: Span) -> tuple[float, int]:
    return (span.score, span.end - span.start)


def as_spans(found: Iterable[tuple[int, int]], entity: Entity, score: float) -> Iterator[Span]:
    """Yield spans of one type and score."""
    for start, end in found:
        yield Span(start, end, entity, score)
