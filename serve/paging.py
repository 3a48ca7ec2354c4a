"""Pages of lists: the two query parameters, and where the next page begins."""

from typing import Annotated

from fastapi import Query

Offset = Annotated[int, Query(ge=0, le=10**9, description="Entries to pass over.")]
PageLimit = Annotated[int, Query(ge=1, le=100, description="Most entries.")]


def next_offset(offset: int, count: int, *, total: int) -> int | None:
    """Return the offset of the page after one of `count` entries, or None behind the last."""
    following = offset + count
    return following if count and following < total else None
