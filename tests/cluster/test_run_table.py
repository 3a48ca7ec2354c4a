"""The table of runs: words, states, order, pages, and rows that outlive a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.course import MOST_POINTS, Course
from cluster.manager import Manager
from cluster.run_table import Query
from tests.cluster import small
from tests.cluster.here import Here, managed, until

Test = Callable[[Manager], Awaitable[None]]


def against(home: Path, test: Test, *, cpus: int = 0) -> None:
    async def go() -> None:
        async with managed(home, Here(cpus=cpus)) as manager:
            await asyncio.wait_for(test(manager), 30)

    asyncio.run(go())


def made(manager: Manager, *names: str) -> list[str]:
    return [
        manager.registry.create(small.config(name=name), who="t", idempotency_key=None).run_id
        for name in names
    ]


async def names(manager: Manager, **wanted: Any) -> list[str]:
    page = await manager.table.page(Query(**wanted))
    return [row["name"] for row in page["rows"]]


def test_every_word_must_be_found_in_any_case(tmp_path: Path) -> None:
    async def test(manager: Manager) -> None:
        made(manager, "night-one", "night-two", "day-one")
        assert await names(manager, words="NIGHT queued") == ["night-two", "night-one"]
        assert await names(manager, words="night one") == ["night-one"]
        assert await names(manager, words="mnist mlp") == ["day-one", "night-two", "night-one"]
        assert await names(manager, words="elsewhere") == []

    against(tmp_path, test)


def test_a_run_is_found_by_its_id(tmp_path: Path) -> None:
    async def test(manager: Manager) -> None:
        first, _ = made(manager, "one", "two")
        assert await names(manager, words=first[:8]) == ["one"]

    against(tmp_path, test)


def test_pages_follow_one_another_and_the_counts_are_of_all(tmp_path: Path) -> None:
    async def test(manager: Manager) -> None:
        runs = made(manager, *(f"run-{i}" for i in range(7)))
        await manager.cancel(runs[0], who="t")
        pages = [await manager.table.page(Query(offset=i, limit=3)) for i in (0, 3, 6, 9)]
        assert [row["run_id"] for page in pages for row in page["rows"]] == runs[::-1]
        assert {page["total"] for page in pages} == {7}
        only = await manager.table.page(Query(state=manager.registry.folder(runs[0]).summary.state))
        assert (only["total"], only["counts"]["queued"], only["counts"]["cancelled"]) == (1, 6, 1)

    against(tmp_path, test)


@pytest.mark.parametrize("is_ascending", [True, False])
def test_what_has_no_value_stands_last_in_both_directions(
    tmp_path: Path, *, is_ascending: bool
) -> None:
    async def test(manager: Manager) -> None:
        done = await manager.submit(small.request(name="done"), who="t", idempotency_key=None)
        await until(manager, done["run_id"], "succeeded")
        made(manager, "waits")
        told = await names(manager, sort="loss", is_ascending=is_ascending)
        assert told == ["done", "waits"]

    against(tmp_path, test, cpus=1)


def test_a_row_says_what_the_view_says(tmp_path: Path) -> None:
    async def test(manager: Manager) -> None:
        run_id = (await manager.submit(small.request(), who="t", idempotency_key=None))["run_id"]
        view = await until(manager, run_id, "succeeded")
        (row,) = (await manager.table.page(Query()))["rows"]
        assert row["loss"] == view["last_metrics"]["train"]["loss"]
        assert row["accuracy"] == view["last_metrics"]["test"]["accuracy"]
        assert (row["step"], row["sealed"], row["device"]) == (6, True, "CPU")
        assert len(row["course"]) == 6

    against(tmp_path, test, cpus=1)


def test_rows_and_verdicts_outlive_a_restart_and_a_torn_cache(tmp_path: Path) -> None:
    told: list[Any] = []

    async def train(manager: Manager) -> None:
        run_id = (await manager.submit(small.request(), who="t", idempotency_key=None))["run_id"]
        await until(manager, run_id, "succeeded")
        manager.verdicts.note(run_id, verdict="passed", summary="PASSED, 17 of 19", who="t")
        told.append((await manager.table.page(Query()))["rows"])

    async def look(manager: Manager) -> None:
        told.append((await manager.table.page(Query()))["rows"])

    against(tmp_path, train, cpus=1)
    cache = tmp_path / "run-table.jsonl"
    assert cache.read_text(encoding="utf-8").count("\n") == 1
    against(tmp_path, look)
    cache.write_bytes(cache.read_bytes()[:40] + b"\xff\n[]\n7\n")
    against(tmp_path, look)
    cache.unlink()
    against(tmp_path, look)
    assert told[0][0]["verification"]["verdict"] == "passed"
    assert told[1:] == [told[0]] * 3


def test_a_deleted_run_is_in_no_page_though_its_row_was_kept(tmp_path: Path) -> None:
    async def test(manager: Manager) -> None:
        run_id = (await manager.submit(small.request(), who="t", idempotency_key=None))["run_id"]
        await until(manager, run_id, "succeeded")
        assert (await manager.table.page(Query()))["total"] == 1
        manager.registry.delete(run_id, who="t", reason="a test")
        assert (await manager.table.page(Query()))["total"] == 0

    against(tmp_path, test, cpus=1)


@pytest.mark.parametrize("count", [1, MOST_POINTS, MOST_POINTS + 1, 1000])
def test_a_course_is_every_nth_value_from_the_first_on(count: int) -> None:
    course = Course()
    for value in range(count):
        course.add(float(value))
    assert course.values == [float(value) for value in range(0, count, course.stride)]
    assert min(count, MOST_POINTS // 2) <= len(course.values) <= MOST_POINTS
