"""The web console in a real Chromium: time to first data, bytes, and frames with five runs.

First data is the first row of the table of runs, from the start of the navigation, in a browser
that has nothing of it yet. The peer of the frame rate is a page of the same browser that draws
nothing: what the machine gives without a graphics card. Panned are all five charts of the compare
page, five runs over each other, by one wheel event a frame.
"""

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import both_ways
from benchmarks.outcome import Goal, Row, compare
from evidence.errors import NotInstalled
from serve.client import Client

_FRAMES = """
async ({selector, frames}) => {
  const place = document.querySelector(selector);
  const turn = (done) => requestAnimationFrame(done);
  await new Promise(turn);
  const begun = performance.now();
  for (let i = 0; i < frames; i++) {
    const by = i % 40 < 20 ? 30 : -30;
    place.dispatchEvent(new WheelEvent('wheel', {deltaX: by, bubbles: true, cancelable: true}));
    await new Promise(turn);
  }
  return frames / (performance.now() - begun) * 1000;
}
"""
_TRANSFERRED = """
() => [...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]
  .filter((one) => /\\.(js|css)$/.test(one.name))
  .reduce((sum, one) => sum + one.encodedBodySize, 0)
"""
_FIRST_ROW = """
() => new Promise((done) => {
  const look = () => document.querySelector('tr[data-run]')
    ? done(performance.now()) : requestAnimationFrame(look);
  look();
})
"""
_BUDGET_BYTES = 150_000
_FIRST_DATA_MS = 1000.0
_GOAL = Goal("at least 0.83 of an idle page (50 of 60 frames/s)", least=50 / 60)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the runs are, and how often it is measured."""

    runs: int
    steps: int
    rounds: int
    frames: int


FULL = Plan(runs=5, steps=10_000, rounds=3, frames=300)
QUICK = Plan(runs=2, steps=300, rounds=1, frames=30)


def measure(plan: Plan) -> list[Row]:
    """Return a row for each figure.

    Raises:
        NotInstalled: There is no Chromium.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise NotInstalled("chromium is not installed", cure="apt-get install chromium")
    with both_ways.service() as (service, client), sync_playwright() as playwright:
        runs = [_train(client, plan.steps, seed) for seed in range(plan.runs)]
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        url, token = service.url, service.token()
        first, sizes = _first_data(browser, url, token, plan.rounds)
        page = _page(browser, url, token)
        page.goto(f"{url}/compare?runs={','.join(runs)}")
        whole = f"document.querySelector('[data-chart=loss]')?.dataset.points >= {plan.steps}"
        page.wait_for_function(whole, timeout=60_000)
        ours, idle = _frames(page, plan)
        browser.close()
    return [
        Row(
            "first data, nothing cached", "ms", ours=statistics.median(first), goal="below 1 s",
            met=statistics.median(first) < _FIRST_DATA_MS, samples={"ours": first},
        ),
        Row(
            "JavaScript and CSS, gzip", "bytes", ours=sizes[0], goal="below 150 kB",
            met=sizes[0] < _BUDGET_BYTES, samples={"ours": sizes},
        ),
        compare(
            f"panning {plan.runs} runs of {plan.steps:,} points, 5 charts", "frames/s",
            ours=ours, peer=("a page that draws nothing", idle), goal=_GOAL,
            note="software rendering: this machine has no graphics card",
        ),
    ]  # fmt: skip


def _train(client: Client, steps: int, seed: int) -> str:
    """Train a small run with a metric each step; return its id."""
    overrides: dict[str, Any] = {
        "name": f"run-{seed}", "seed": seed, "steps": steps, "batch_size": 16, "metric_every": 1,
        "model": {"architecture": "mlp", "hidden": [8]}, "checkpoint_every": steps // 3,
    }  # fmt: skip
    run_id = str(client.submit({"recipe": "mnist_mlp", "overrides": overrides})["run_id"])
    for _ in client.follow(run_id):
        pass
    return run_id


def _page(browser: Browser, url: str, token: str) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.request.post(f"{url}/api/session", data={"token": token})
    context.add_init_script("localStorage.setItem('zeropoint-signed-in', '1')")
    return context.new_page()


def _first_data(
    browser: Browser, url: str, token: str, rounds: int
) -> tuple[list[float], list[float]]:
    """Return milliseconds to the first row and bytes of code, each by round."""
    times, sizes = [], []
    for _ in range(rounds):
        page = _page(browser, url, token)
        page.goto(url, wait_until="commit")
        times.append(float(page.evaluate(_FIRST_ROW)))
        sizes.append(float(page.evaluate(_TRANSFERRED)))
        page.context.close()
    return times, sizes


def _frames(page: Page, plan: Plan) -> tuple[Sequence[float], Sequence[float]]:
    """Return frames a second of panning and of an idle page, in turns."""
    idle = page.context.new_page()
    idle.set_content("<div id=idle>idle</div>")
    ours, theirs = [], []
    for _ in range(plan.rounds):
        page.bring_to_front()
        page.evaluate("document.querySelector('[data-chart=loss]').scrollIntoView()")
        _zoom(page)
        asked = {"selector": "[data-chart=loss] .u-over", "frames": plan.frames}
        ours.append(float(page.evaluate(_FRAMES, asked)))
        idle.bring_to_front()
        theirs.append(float(idle.evaluate(_FRAMES, {"selector": "#idle", "frames": plan.frames})))
    return ours, theirs


def _zoom(page: Page) -> None:
    """Drag over the middle half of the loss chart, after showing all."""
    area = page.locator("[data-chart=loss] .u-over")
    area.dblclick()
    box = area.bounding_box()
    assert box is not None, "the chart is shown"
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 4, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 3 / 4, y, steps=5)
    page.mouse.up()
