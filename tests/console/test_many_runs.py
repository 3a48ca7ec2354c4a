"""A list of many runs, queued and cancelled through the registry: found, sorted, paged.

No metric is invented: none of them ever trained. The application is whole but for Ray, and runs in
a thread, for the browser has this one.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from cluster.manager import Manager
from tests.cluster import small
from tests.cluster.here import Here
from tests.console.conftest import Open
from tests.serve import inside

FEW = 250
MANY = 10_000
_START_S = 900.0


@dataclass
class Hall:
    """What the thread tells."""

    url: str = ""
    fault: BaseException | None = None


async def _fill(manager: Manager, count: int) -> None:
    for i in range(count):
        folder = manager.registry.create(
            small.config(name=f"run-{i:05}"), who="t", idempotency_key=None
        )
        await manager.cancel(folder.run_id, who="t")


@contextmanager
def hall_of(home: Path, count: int) -> Iterator[str]:
    """Serve an application with so many cancelled runs and give its address."""
    hall, ready, done = Hall(), threading.Event(), threading.Event()

    async def go() -> None:
        async with (
            inside.application(home, Here(cpus=0)) as (behind, manager),
            inside.served(behind) as url,
        ):
            await _fill(manager, count)
            hall.url = url
            ready.set()
            await asyncio.to_thread(done.wait)

    def run() -> None:
        try:
            asyncio.run(go())
        except BaseException as error:  # noqa: BLE001 - told to the test, which raises it
            hall.fault = error
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(_START_S)
        if hall.fault is not None:
            raise hall.fault
        yield hall.url
    finally:
        done.set()
        thread.join(60)


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.long)], ids=str)
def test_a_long_list_is_searched_sorted_and_paged_by_the_service(
    tmp_path: Path, open_page: Open, count: int
) -> None:
    with hall_of(tmp_path, count) as url:
        page = open_page(url, token=inside.TOKEN, lost=True)
        rows = page.locator("tr[data-run]")
        expect(rows).to_have_count(100, timeout=120_000)
        newest = rows.first.get_attribute("data-run")
        expect(page.get_by_role("button", name=f"{count:,} all")).to_be_visible()
        shown = [one for one in rows.all() if (box := one.bounding_box()) and box["y"] < 900 - 32]
        assert len(shown) >= 20
        page.get_by_role("button", name="Next page").click()
        expect(rows.first).not_to_have_attribute("data-run", str(newest))
        expect(page.locator("main")).to_contain_text(f"of {count:,}")
        page.get_by_label("search runs").fill(f"run-{count // 2:05} cancelled")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text(f"run-{count // 2:05}")
        page.get_by_label("search runs").fill("")
        expect(rows).to_have_count(100)
        page.get_by_role("button", name="name").click()
        expect(rows.first).to_contain_text("run-00000")
        assert page.locator("tr[data-run] .spark").count() == 0
