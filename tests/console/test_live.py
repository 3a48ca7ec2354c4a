"""Live: the chart moves while a run trains, and a service that went away leaves no gap."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from serve.client import Client
from tests.conftest import MakeService
from tests.console.conftest import Open
from tests.integration.test_kills import Restartable

pytestmark = pytest.mark.ray

LONG: dict[str, Any] = {
    "recipe": "mnist_mlp",
    "overrides": {
        "name": "long",
        "model": {"architecture": "mlp", "hidden": [16]},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "batch_size": 4096,
        "steps": 600,
        "checkpoint_every": 60,
    },
}


def last_step(page: Page) -> int:
    return int(page.locator("[data-chart=loss]").get_attribute("data-last-step") or 0)


def until_step(page: Page, step: int) -> None:
    """Wait until the chart shows a step."""
    script = (
        "least => Number(document.querySelector('[data-chart=loss]')?.dataset.lastStep) >= least"
    )
    page.wait_for_function(script, arg=step, timeout=120_000)


def steps_of_csv(page: Page) -> list[int]:
    """Return the steps of the throughput chart, every point, as its CSV has them."""
    with page.expect_download() as waited:
        page.locator("[data-chart=throughput]").get_by_role("button", name="CSV").click()
    text = Path(waited.value.path()).read_text(encoding="utf-8")
    return [int(line.split(",")[0]) for line in text.splitlines()[1:]]


def steps_of_api(client: Client, run_id: str) -> list[int]:
    steps, after = [], 0
    while records := (page := client.metrics(run_id, after=after))["metrics"]:
        steps += [one["step"] for one in records if one["split"] == "train"]
        after = page["next_after"]
    return steps


def test_the_chart_of_a_running_run_moves_and_lies_within_the_first_screen(
    client: Client, signed_in: Open
) -> None:
    run_id = client.submit(LONG)["run_id"]
    page = signed_in(f"/runs/{run_id}")
    until_step(page, 5)
    before = last_step(page)
    until_step(page, before + 20)
    box = page.locator("[data-chart=loss]").bounding_box()
    assert box is not None
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 900
    expect(page.locator("[data-chart=loss] h3")).to_have_text("loss (cross-entropy, nats)")
    expect(page.locator(".live")).to_have_attribute("data-live", "live")
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("Training ends for good")
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".runhead")).to_contain_text("cancelled", timeout=60_000)
    expect(page.locator(".live")).to_have_attribute("data-live", "ended", timeout=60_000)
    assert steps_of_csv(page) == steps_of_api(client, run_id)


@pytest.fixture
def own(make_service: MakeService) -> Iterator[Restartable]:
    """A service of its own, on a port that it keeps."""
    with tempfile.TemporaryDirectory(prefix="zpt-", ignore_cleanup_errors=True) as home:
        yield Restartable(make_service, Path(home))


@pytest.mark.slow
def test_a_restart_in_mid_stream_leaves_no_gap_and_moves_nothing(
    own: Restartable, open_page: Open
) -> None:
    with Client(own.service.url, token=own.service.token()) as client:
        run_id = client.submit(LONG)["run_id"]
    url, token = own.service.url, own.service.token()
    page = open_page(url, f"/runs/{run_id}", token=token, lost=True)
    until_step(page, 70)
    page.mouse.wheel(0, 300)
    page.get_by_role("button", name="smooth 0.6").click()
    scrolled = page.evaluate("scrollY")
    own.kill()
    expect(page.locator(".live")).to_have_attribute(
        "data-live", re.compile("reconnecting"), timeout=60_000
    )
    assert last_step(page) >= 70  # what was known stays
    own.restart()
    expect(page.locator(".runhead")).to_contain_text("interrupted", timeout=60_000)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".runhead")).to_contain_text("succeeded", timeout=180_000)
    assert page.evaluate("scrollY") == scrolled
    expect(page.get_by_role("button", name="smooth 0.6")).to_have_attribute("aria-pressed", "true")
    with Client(url, token=token) as client:
        told = steps_of_api(client, run_id)
    assert told == list(range(1, 601))
    assert steps_of_csv(page) == told
    expect(page.locator("main")).to_contain_text("resumed")
