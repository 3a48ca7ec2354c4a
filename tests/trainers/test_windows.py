"""Which windows a run has, and how they are picked."""

from collections import Counter
from itertools import combinations

import pytest

from evidence.errors import InvalidInput
from trainers import windows
from trainers.windows import SOURCE, Bounds, How, Request, Window

BOUNDS = Bounds(kept={20, 30, 40, 45}, pruned={10}, last_step=47)


def pairs(chosen: tuple[Window, ...]) -> list[tuple[int, int]]:
    return [(one.begin, one.end) for one in chosen]


def test_a_window_lies_between_neighbouring_checkpoints_with_bytes() -> None:
    chosen = windows.choose(BOUNDS, Request(everything=True))
    assert pairs(chosen.windows) == [(0, 20), (20, 30), (30, 40), (40, 45)]
    assert (chosen.how, chosen.source, chosen.asked) == (How.ALL, None, None)


def test_steps_behind_the_last_checkpoint_are_told() -> None:
    chosen = windows.choose(BOUNDS, Request())
    assert chosen.beyond == Window(begin=45, end=47)
    assert chosen.pruned == (10,)


def test_three_windows_are_picked_where_nobody_says_how_many() -> None:
    chosen = windows.choose(BOUNDS, Request())
    assert len(chosen.windows) == 3
    assert (chosen.how, chosen.source) == (How.RANDOM, SOURCE)
    assert sorted(pairs((*chosen.windows, *chosen.left_out))) == [
        (0, 20), (20, 30), (30, 40), (40, 45),
    ]  # fmt: skip


def test_fewer_are_picked_where_there_are_fewer() -> None:
    few = Bounds(kept={5}, pruned=(), last_step=5)
    assert pairs(windows.choose(few, Request()).windows) == [(0, 5)]
    assert windows.choose(Bounds(kept=(), pruned=(), last_step=3), Request()).windows == ()


def test_each_set_of_windows_is_as_likely_as_any_other() -> None:
    """With a source that gives each sequence of answers once."""
    seen: Counter[tuple[tuple[int, int], ...]] = Counter()
    for first in range(4):
        for second in range(3):
            answers = iter((first, second))
            chosen = windows.choose(BOUNDS, Request(count=2), randbelow=lambda _: next(answers))  # noqa: B023 - asked at once
            seen[tuple(pairs(chosen.windows))] += 1
    every = [(0, 20), (20, 30), (30, 40), (40, 45)]
    assert seen == dict.fromkeys(combinations(every, 2), 2)


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (20, 40, [(20, 30), (30, 40)]),
        (None, 30, [(0, 20), (20, 30)]),
        (40, None, [(40, 45)]),
        (0, 10, []),
        (10, 30, [(20, 30)]),
    ],
)
def test_a_range_gives_the_windows_within_it(
    begin: int | None, end: int | None, expected: list[tuple[int, int]]
) -> None:
    chosen = windows.choose(BOUNDS, Request(begin=begin, end=end))
    assert pairs(chosen.windows) == expected
    assert chosen.how is How.RANGE


def test_a_range_that_touches_pruned_checkpoints_says_which() -> None:
    assert windows.pruned_bounds(BOUNDS, Request(begin=10, end=30)) == [10]
    assert windows.pruned_bounds(BOUNDS, Request(begin=20)) == []


@pytest.mark.parametrize(
    ("begin", "end", "message"),
    [
        (21, None, r"from: expected 0 or the step of a checkpoint \(0, 10, 20, 30, 40, 45\)"),
        (None, 47, "to: expected 0 or the step"),
        (30, 20, "to: expected a step behind 30"),
    ],
)
def test_a_range_that_is_none_is_refused(begin: int | None, end: int | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        windows.choose(BOUNDS, Request(begin=begin, end=end))


def test_only_one_way_to_pick_may_be_asked_for() -> None:
    with pytest.raises(InvalidInput, match="found 2 of these"):
        Request(count=3, everything=True)
    with pytest.raises(InvalidInput, match="at least 1, found 0"):
        Request(count=0)
