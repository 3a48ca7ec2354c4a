"""Which ended runs to delete, decided purely: by count, by age, by bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Retention:
    """What to keep; None does not limit."""

    keep_runs: int | None = None
    """Number of ended runs to keep, the newest."""
    max_age_s: float | None = None
    """Oldest end, in seconds before now."""
    max_bytes: int | None = None
    """Most bytes that all ended runs together may take."""


@dataclass(frozen=True, slots=True)
class Held:
    """An ended run, as far as retention is concerned."""

    run_id: str
    ended: datetime
    bytes: int


def choose(held: Sequence[Held], policy: Retention, *, now: datetime) -> dict[str, str]:
    """Return the runs to delete, each with the rule that says so.

    Args:
        held: Ended runs in any order.
        policy: What to keep.
        now: The present moment.
    """
    chosen: dict[str, str] = {}
    kept_bytes = 0
    for rank, run in enumerate(sorted(held, key=lambda run: run.ended, reverse=True), 1):
        if policy.keep_runs is not None and rank > policy.keep_runs:
            chosen[run.run_id] = f"keep_runs = {policy.keep_runs}"
        elif policy.max_age_s is not None and _age_s(run, now) > policy.max_age_s:
            chosen[run.run_id] = f"max_age_s = {policy.max_age_s:g}"
        elif policy.max_bytes is not None and kept_bytes + run.bytes > policy.max_bytes:
            chosen[run.run_id] = f"max_bytes = {policy.max_bytes}"
        else:
            kept_bytes += run.bytes
    return chosen


def _age_s(run: Held, now: datetime) -> float:
    return (now - run.ended).total_seconds()
