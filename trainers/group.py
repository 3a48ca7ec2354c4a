"""What the workers of a run ask of each other: to add up their gradients, and to agree.

`train` gets the group as an argument. How the words travel - shared memory on a node, Ray between
nodes - is the caller's business; the order of the sum is not: it is that of the ranks.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from evidence.errors import IntegrityError


class Group(Protocol):
    """The workers of one run, as one of them sees them."""

    @property
    def rank(self) -> int:
        """Number of this worker, from 0; it computes that part of each batch. 0 reports."""
        ...

    @property
    def size(self) -> int:
        """How many workers there are."""
        ...

    def share(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return this worker's terms and where the sums go, each (count,), float32, zeros.

        Both stay where they are; to be called once, by all workers with the same count.

        Raises:
            StorageFull: There is no memory to share.
            TrainerLost: Another worker is gone.
        """
        ...

    def add_up(self) -> None:
        """Make each sum `((terms of 0 + terms of 1) + terms of 2) + ...`, for all workers.

        Raises:
            TrainerLost: Another worker is gone.
        """
        ...

    def gather(self, word: bytes) -> Sequence[bytes]:
        """Return the word that each worker says, in the order of the ranks.

        Raises:
            TrainerLost: Another worker is gone.
        """
        ...


class Alone:
    """A run's only worker: its terms are the sums."""

    rank = 0
    size = 1

    def share(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one array, twice."""
        both = np.zeros(count, np.float32)
        return both, both

    def add_up(self) -> None:
        """Return: there is nothing to add."""

    def gather(self, word: bytes) -> Sequence[bytes]:
        """Return the one word."""
        return [word]


ALONE: Final[Group] = Alone()


def sum_in_order(terms: Sequence[np.ndarray], *, into: np.ndarray) -> None:
    """Add arrays of one shape, the first two first; the same bits for any way to cut them up."""
    np.copyto(into, terms[0])
    for term in terms[1:]:
        np.add(into, term, out=into)


def require_agreement(group: Group, what: str, found: str) -> None:
    """Raise unless all workers found the same.

    Args:
        group: The workers; each of them calls this with the same `what`.
        what: Names what was found, for the message.
        found: What this worker found.

    Raises:
        IntegrityError: One worker found something else than worker 0.
        TrainerLost: Another worker is gone.
    """
    words = [word.decode() for word in group.gather(found.encode())]
    for rank, word in enumerate(words):
        if word != words[0]:
            raise IntegrityError(
                f"{what}: expected the {words[0]} of worker 0, found {word} on worker {rank}",
                expected=words[0],
                found=word,
            )
