"""The groups of workers: the same sums in shared memory and through a meeting, and their ends."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from cluster.meeting import Meeting
from evidence.errors import IntegrityError, TrainerLost
from trainers.group import ALONE, Group, require_agreement
from trainers.shared_memory import SharedMemoryGroup

T = TypeVar("T")

SIZE = 3
COUNT = 1003
TERMS = np.random.default_rng(3).standard_normal((SIZE, COUNT)).astype(np.float32)


def in_group(folder: Path, work: Callable[[SharedMemoryGroup], T]) -> list[T]:
    """Return what each worker's work gives, each in a thread of its own."""
    meeting = folder / "group"
    meeting.mkdir()

    def one(rank: int) -> T:
        with closing(SharedMemoryGroup(meeting, rank=rank, size=SIZE)) as group:
            return work(group)

    with ThreadPoolExecutor(SIZE) as threads:
        return list(threads.map(one, range(SIZE)))


def sums_of(group: Group, times: int = 1) -> bytes:
    own, total = group.share(COUNT)
    seen = b""
    for n in range(times):
        own[:] = TERMS[group.rank] * np.float32(n + 1)
        group.add_up()
        seen += total.tobytes()
    return seen


def in_order(times: int = 1) -> bytes:
    terms = [TERMS * np.float32(n + 1) for n in range(times)]
    return b"".join(((one[0] + one[1]) + one[2]).tobytes() for one in terms)


def test_shared_memory_adds_up_in_the_order_of_the_ranks(tmp_path: Path) -> None:
    assert in_group(tmp_path, lambda group: sums_of(group, 50)) == [in_order(50)] * SIZE


def test_a_meeting_gives_the_same_bits_whoever_comes_first() -> None:
    async def totals(order: list[int]) -> list[bytes]:
        meeting = Meeting(SIZE)
        arriving = [asyncio.create_task(meeting.add_up(1, rank, TERMS[rank])) for rank in order]
        return [(await one).tobytes() for one in arriving]

    assert asyncio.run(totals([2, 0, 1])) == asyncio.run(totals([0, 1, 2])) == [in_order()] * SIZE


def test_the_order_of_the_ranks_decides_bits() -> None:
    assert in_order() != ((TERMS[2] + TERMS[1]) + TERMS[0]).tobytes()


def test_words_come_in_the_order_of_the_ranks(tmp_path: Path) -> None:
    words = in_group(tmp_path, lambda group: list(group.gather(b"word %d" % group.rank)))
    assert words == [[b"word 0", b"word 1", b"word 2"]] * SIZE


def test_nothing_is_left_of_a_group(tmp_path: Path) -> None:
    in_group(tmp_path, sums_of)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dead", range(SIZE))
def test_a_worker_that_is_gone_is_missed_by_all(tmp_path: Path, dead: int) -> None:
    def work(group: SharedMemoryGroup) -> str:
        group.share(COUNT)
        if group.rank == dead:
            return "dead"
        with pytest.raises(TrainerLost):
            group.add_up()
        return "missed"

    ends = in_group(tmp_path, work)
    assert ends == ["dead" if rank == dead else "missed" for rank in range(SIZE)]


def test_workers_that_differ_are_named(tmp_path: Path) -> None:
    def work(group: SharedMemoryGroup) -> str:
        with pytest.raises(IntegrityError) as caught:
            require_agreement(group, "state after step 4", "abc" if group.rank < 2 else "abd")
        return caught.value.detail

    expected = "state after step 4: expected the abc of worker 0, found abd on worker 2"
    assert in_group(tmp_path, work) == [expected] * SIZE


def test_one_worker_alone_agrees_with_itself() -> None:
    own, total = ALONE.share(4)
    own[:] = 1
    ALONE.add_up()
    assert total.tolist() == [1, 1, 1, 1]
    require_agreement(ALONE, "anything", "x")
