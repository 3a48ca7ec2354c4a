"""Wall time, as an argument and as a timestamp; the order of events never rests on it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present moment in UTC."""


def utc_now() -> datetime:
    """Return the present moment in UTC; the one place that reads the wall clock."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """Return `moment` in UTC as RFC 3339 with milliseconds, e.g. 2026-01-31T12:00:00.123Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(stamp: str) -> datetime:
    """Return the moment that a timestamp names.

    Raises:
        ValueError: It is no RFC 3339 timestamp.
    """
    return datetime.fromisoformat(stamp)


def require_moment(stamp: str) -> str:
    """Return `stamp` if it names a moment: no 13th month, no 25th hour.

    Raises:
        ValueError: It does not.
    """
    moment(stamp)
    return stamp
