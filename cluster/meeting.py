"""The group of workers on several nodes: terms and words travel through Ray.

They meet in an actor, which adds up in the order of the ranks, as shared memory does on one node:
the same bits. Every term crosses the network once, and so does every sum for each worker.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from cluster.directory import NAMESPACE
from evidence.errors import TrainerLost
from trainers.group import sum_in_order

_SILENCE_S = 900.0
"""Longest silence of a worker that lives; as in shared memory."""


class Meeting:
    """Where the workers of a group meet, time after time; Ray makes an actor of it as it is.

    Args:
        size: How many they are.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rounds: dict[int, _Round] = {}

    async def gather(self, number: int, rank: int, word: bytes) -> Sequence[bytes]:
        """Return what each worker said in this round, in the order of the ranks."""
        words: Sequence[bytes] = await self._meet(number, rank, word, list)
        return words

    async def add_up(self, number: int, rank: int, terms: np.ndarray) -> np.ndarray:
        """Return the sum of what all workers brought to this round."""
        total: np.ndarray = await self._meet(number, rank, terms, _sum)
        return total

    async def _meet(
        self, number: int, rank: int, brought: Any, combine: Callable[[Sequence[Any]], Any]
    ) -> Any:
        one = self._rounds.setdefault(number, _Round())
        one.brought[rank] = brought
        if len(one.brought) == self._size:
            del self._rounds[number]
            one.result.set_result(combine([one.brought[n] for n in range(self._size)]))
        return await one.result


class _Round:
    """What the workers brought to one round, and what came of it."""

    def __init__(self) -> None:
        self.brought: dict[int, Any] = {}
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


def _sum(terms: Sequence[np.ndarray]) -> np.ndarray:
    total = np.empty_like(terms[0])
    sum_in_order(terms, into=total)
    return total


class MeetingGroup:
    """One worker of a group on several nodes.

    Args:
        meeting: Handle of the actor `Meeting`.
        rank: This worker.
        size: How many there are.
    """

    def __init__(self, meeting: Any, *, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self._meeting = meeting
        self._number = 0
        self._terms = np.empty(0, np.float32)
        self._sums = self._terms

    def share(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return this worker's terms and where the sums go; see `trainers.group.Group`."""
        self._terms, self._sums = np.zeros((2, count), np.float32)
        return self._terms, self._sums

    def add_up(self) -> None:
        """Bring the terms and take the sums; see `trainers.group.Group`."""
        np.copyto(self._sums, self._ask(self._meeting.add_up, self._terms))

    def gather(self, word: bytes) -> Sequence[bytes]:
        """Return the word that each worker says; see `trainers.group.Group`."""
        words: Sequence[bytes] = self._ask(self._meeting.gather, word)
        return words

    def _ask(self, method: Any, brought: Any) -> Any:
        self._number += 1
        try:
            return ray.get(method.remote(self._number, self.rank, brought), timeout=_SILENCE_S)
        except RayError as error:
            raise TrainerLost(f"the workers do not meet: {type(error).__name__}") from error


_Remote = ray.remote(Meeting)


def meeting_name(trainer: str) -> str:
    """Return the name of the actor in which the workers of a trainer meet."""
    return f"{trainer}-meeting"


def open_meeting(trainer: str, *, size: int) -> Any:
    """Start the actor; it ends with the process that starts it.

    Args:
        trainer: Name of the trainer whose workers meet.
        size: How many they are.
    """
    options = _Remote.options(
        name=meeting_name(trainer),
        namespace=NAMESPACE,
        num_cpus=0,
        max_concurrency=2 * size,
    )
    return options.remote(size)


def join_meeting(trainer: str, *, rank: int, size: int) -> MeetingGroup:
    """Return the group of a worker whose trainer has a meeting.

    Raises:
        TrainerLost: There is none any more.
    """
    try:
        found = ray.get_actor(meeting_name(trainer), namespace=NAMESPACE)
    except (ValueError, RayError) as error:
        raise TrainerLost("the workers' meeting is gone") from error
    return MeetingGroup(found, rank=rank, size=size)
