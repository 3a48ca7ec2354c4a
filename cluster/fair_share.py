"""Whose turn it is: the order in which queued runs are looked at, so that nobody has all slots.

Next is always the oldest run of whoever holds the fewest slots, those that this order would give
included. One who submits a thousand runs so gets what one who submits one gets, while both wait;
who is alone gets everything, in the order of submission. Source: max-min fairness with equal
weights, as in dominant resource fairness (Ghodsi et al. 2011) with a single resource.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run in the queue."""

    run_id: str
    owner: str
    """Account that submitted it."""
    slots: int
    """CPU slots that it takes."""


def order(queued: Sequence[Waiting], held: Mapping[str, int]) -> list[str]:
    """Return the ids of queued runs in the order of their turn.

    Args:
        queued: The runs, oldest first.
        held: Slots that each account holds now.
    """
    places = {run.run_id: place for place, run in enumerate(queued)}
    lines: dict[str, list[Waiting]] = {}
    for run in reversed(queued):
        lines.setdefault(run.owner, []).append(run)
    shares = {owner: held.get(owner, 0) for owner in lines}
    turns = []
    while lines:
        owner = min(lines, key=lambda one: (shares[one], places[lines[one][-1].run_id]))
        run = lines[owner].pop()
        shares[owner] += run.slots
        turns.append(run.run_id)
        if not lines[owner]:
            del lines[owner]
    return turns
