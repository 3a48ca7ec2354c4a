"""Every page of the console before the real service: signing in, finding, starting, checking."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from serve.client import Client
from serve.local import LocalService
from tests.console.conftest import Open
from tests.console.watching import overflow, serious_findings

pytestmark = pytest.mark.ray

SMALL: dict[str, Any] = {
    "model": {"architecture": "mlp", "hidden": [8]},
    "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.0},
}
PAGES = ("/", "/new", "/evidence", "/system", "/signin")
SIZES: tuple[ViewportSize, ...] = (
    {"width": 1440, "height": 900},
    {"width": 1280, "height": 800},
    {"width": 390, "height": 844},
)


def trained(client: Client, **overrides: Any) -> str:
    """Train a small run to its end and return its id."""
    request = {"recipe": "mnist_mlp", "overrides": {**SMALL, "steps": 30, **overrides}}
    run_id = str(client.submit(request)["run_id"])
    for _ in client.follow(run_id):
        pass
    return run_id


@pytest.fixture(scope="module")
def runs(service: LocalService) -> Iterator[list[str]]:
    """Two sealed runs of the shared service."""
    with Client(service.url, token=service.token()) as client:
        yield [trained(client, name="alpha"), trained(client, name="beta", steps=60)]


def verdict(page: Page, wanted: str) -> None:
    expect(page.locator(f".checklist[data-verdict={wanted}]")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(
    signed_in: Open, runs: list[str], theme: str
) -> None:
    page = signed_in("/", theme=theme)
    base = page.url.rstrip("/")
    found = {}
    for path in (*PAGES, f"/runs/{runs[0]}", f"/compare?runs={','.join(runs)}"):
        page.goto(base + path)
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator(".skeleton")).to_have_count(0)
        found[path] = serious_findings(page)
    assert {path: one for path, one in found.items() if one} == {}


def test_axe_finds_nothing_serious_before_signing_in(
    service: LocalService, open_page: Open
) -> None:
    page = open_page(service.url)
    expect(page.get_by_label("Token of this service")).to_be_visible()
    assert serious_findings(page) == []


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size["width"]))
def test_no_page_is_wider_than_its_window(
    signed_in: Open, runs: list[str], size: ViewportSize
) -> None:
    page = signed_in("/", size=size)
    base = page.url.rstrip("/")
    wide = {}
    for path in (*PAGES, f"/runs/{runs[0]}", f"/compare?runs={','.join(runs)}"):
        page.goto(base + path)
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator(".skeleton")).to_have_count(0)
        wide[path] = overflow(page)
    assert {path: by for path, by in wide.items() if by > 0} == {}


def test_a_wrong_token_is_refused_with_what_to_do_and_is_not_an_empty_list(
    service: LocalService, open_page: Open
) -> None:
    page = open_page(service.url, lost=True)
    page.get_by_label("Token of this service").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("unauthenticated")
    expect(problem).to_contain_text("zpctl status")
    expect(page.get_by_text("Train something you can prove")).to_have_count(0)


def test_the_token_opens_the_runs_and_is_in_no_address(
    service: LocalService, open_page: Open, runs: list[str]
) -> None:
    page = open_page(service.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Token of this service").fill(service.token())
    page.keyboard.press("Enter")
    expect(page.locator(f"tr[data-run='{runs[0]}']")).to_be_visible()
    assert [url for url in asked if service.token() in url] == []
    page.get_by_role("button", name="sign out").click()
    expect(page.get_by_label("Token of this service")).to_be_visible()


def test_the_table_tells_what_the_api_tells(
    client: Client, signed_in: Open, runs: list[str]
) -> None:
    page = signed_in("/")
    row = page.locator(f"tr[data-run='{runs[1]}']")
    told = client.run(runs[1])
    expect(row).to_contain_text("succeeded")
    expect(row).to_contain_text("60/60")
    expect(row).to_contain_text(f"{100 * told['last_metrics']['test']['accuracy']:.2f} %")
    expect(row).to_contain_text(f"{told['last_metrics']['train']['loss']:.3f}"[:4])
    heads = page.locator("thead th").all_inner_texts()
    words = ("status", "name", "progress", "loss", "test acc", "evidence", "device", "age")
    assert [word for word in words if not any(word in head for head in heads)] == []


def test_a_filter_without_hits_says_so_and_can_be_cleared(signed_in: Open, runs: list[str]) -> None:
    page = signed_in("/")
    page.get_by_label("search runs").fill("there is no such run")
    expect(page.get_by_text("No run matches")).to_be_visible()
    assert "q=there+is+no+such+run" in page.url
    page.get_by_role("button", name="Clear filter").click()
    expect(page.locator(f"tr[data-run='{runs[0]}']")).to_be_visible()


def test_sorting_stands_in_the_address_and_survives_a_reload(
    signed_in: Open, runs: list[str]
) -> None:
    assert runs
    page = signed_in("/?q=mnist")
    page.get_by_role("button", name="name").click()
    page.wait_for_url(re.compile("sort=name"))
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("name")
    page.reload()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("name")
    names = page.locator("tbody tr td:nth-child(3) a").all_inner_texts()
    assert names == sorted(names)


def test_the_main_flows_go_by_keyboard_alone(signed_in: Open, runs: list[str]) -> None:
    page = signed_in("/")
    expect(page.locator("tbody tr").first).to_be_visible()
    for key in ("j", "x", "j", "x", "c"):
        page.keyboard.press(key)
    page.wait_for_url(re.compile(r"/compare\?runs=[0-9a-f]{12},[0-9a-f]{12}"))
    expect(page.locator("[data-chart=loss]")).to_be_visible()
    for keys, path in (("ge", "/evidence"), ("gs", "/system"), ("gn", "/new"), ("gr", "/")):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_url(re.compile(f"{path}$"))
    page.keyboard.press("/")
    expect(page.get_by_label("search runs")).to_be_focused()
    page.keyboard.type("beta")
    expect(page.locator("tbody tr").first).to_contain_text("beta")
    page.keyboard.press("Tab")
    page.locator(f"tr[data-run='{runs[1]}']").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"/runs/{runs[1]}"))
    expect(page.locator("[data-chart=loss]")).to_be_visible()
    page.keyboard.press("v")
    verdict(page, "passed")


def test_the_list_of_keys_opens_and_escape_gives_the_focus_back(signed_in: Open) -> None:
    page = signed_in("/system")
    expect(page.locator("h1")).to_be_visible()
    opener = page.get_by_role("button", name="keys")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("verify this run")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(opener).to_be_focused()


# -- starting ------------------------------------------------------------------------------------


def test_a_field_out_of_bounds_is_named_beside_its_input_and_nothing_is_sent(
    client: Client, signed_in: Open
) -> None:
    before = client.table(limit=1)["total"]
    page = signed_in("/new")
    page.get_by_label("steps", exact=True).fill("2")
    expect(page.locator("#steps-help")).to_contain_text("expected at least 3, found 2")
    page.get_by_role("button", name="Start the run").click()
    expect(page.locator("#steps")).to_be_focused()
    assert client.table(limit=1)["total"] == before


def test_what_only_the_service_knows_to_be_wrong_stands_beside_its_field(
    signed_in: Open,
) -> None:
    page = signed_in("/new", lost=True)
    page.locator("#micro_steps").fill("7")
    page.get_by_role("button", name="Start the run").click()
    expect(page.locator("#micro_steps-help")).to_contain_text("a divisor of batch_size")
    expect(page.get_by_role("alert")).to_contain_text("config_error")


def test_the_form_starts_the_run_that_its_command_lines_say(
    client: Client, signed_in: Open
) -> None:
    page = signed_in("/new?recipe=mnist_mlp")
    page.get_by_label("name", exact=True).fill("from-the-form")
    page.locator("#steps").fill("30")
    page.locator("[id='model.hidden']").fill("8")
    line = page.locator(".lines pre").inner_text()
    assert line.startswith("zpctl train mnist_mlp --set name=from-the-form")
    assert " --set steps=30" in line
    assert "checkpoint_every" not in line
    page.get_by_role("button", name="curl").click()
    expect(page.locator(".lines pre")).to_contain_text('"overrides"')
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f]{12}$"))
    config = client.run(page.url.rpartition("/")[2])["config"]
    assert (config["name"], config["steps"], config["model"]["hidden"]) == (
        "from-the-form", 30, [8],
    )  # fmt: skip


def test_a_rerun_begins_with_the_config_of_the_run(
    client: Client, signed_in: Open, runs: list[str]
) -> None:
    page = signed_in(f"/new?from={runs[0]}")
    expect(page.locator("#steps")).to_have_value("30")
    page.locator("#seed").fill("7")
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f]{12}$"))
    mine, theirs = (client.run(one)["config"] for one in (page.url.rpartition("/")[2], runs[0]))
    assert {name for name in mine if mine[name] != theirs[name]} == {"seed"}


# -- evidence ------------------------------------------------------------------------------------


def test_the_shipped_false_pack_is_red_at_the_check_that_finds_it(signed_in: Open) -> None:
    page = signed_in("/evidence")
    page.get_by_role("button", name="a tampered sample").click()
    verdict(page, "failed")
    rows = page.locator(".check")
    results = {
        str(row.get_attribute("data-check")): row.get_attribute("data-result") for row in rows.all()
    }
    assert results["files.digests"] == "passed"
    assert results["seal.signature"] == "failed"
    assert results["metrics.chain"] == "failed"
    assert results["run.steps"] == "not_checked"
    chain = page.locator("[data-check='metrics.chain']")
    expect(chain).to_contain_text("metrics.jsonl, line 48")
    expect(chain).to_contain_text("events.jsonl, seq")
    expect(page.locator("[data-check='run.steps']")).to_contain_text("needs check 5")


def test_the_checks_are_those_of_the_command_line_in_number_words_and_result(
    signed_in: Open, samples: Path
) -> None:
    from evidence.archive import open_pack  # noqa: PLC0415 - beside what it is held against
    from evidence.verify import verify  # noqa: PLC0415

    page = signed_in("/evidence?sample=genuine")
    verdict(page, "passed")
    shown = [
        (row.locator(".no").inner_text(), row.locator(".what").inner_text())
        for row in page.locator(".check").all()
    ]
    with open_pack(samples / "genuine.zip") as pack:
        report = verify(pack)
    assert shown == [(str(check.number), check.title) for check in report.checks]


def test_a_pack_that_is_dropped_is_checked(signed_in: Open, samples: Path) -> None:
    page = signed_in("/evidence")
    page.locator("#pack").set_input_files(samples / "tampered.zip")
    verdict(page, "failed")
    expect(page.locator(".checklist h2").first).to_contain_text("tampered.zip")


def test_what_is_no_pack_is_refused_with_the_reason(signed_in: Open, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"this is no zip")
    page = signed_in("/evidence")
    page.locator("#pack").set_input_files(bad)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator(".check.passed")).to_have_count(0)


def test_a_verified_run_is_green_in_the_list_from_then_on(signed_in: Open, runs: list[str]) -> None:
    page = signed_in(f"/evidence?run={runs[0]}")
    verdict(page, "passed")
    page.goto(page.url.partition("/evidence")[0])
    expect(page.locator(f"tr[data-run='{runs[0]}']")).to_contain_text("verified")


def test_proofs_of_the_log_are_computed_again_in_the_browser(
    client: Client, signed_in: Open, runs: list[str]
) -> None:
    assert runs
    page = signed_in("/evidence")
    size = client.log()["size"]
    for index in {0, size // 2, size - 1}:
        page.get_by_label("Entry").fill(str(index))
        page.get_by_role("button", name="Prove that it is in").click()
        expect(page.locator("[data-proof=true]")).to_contain_text(f"Entry {index} is in")
    for once in {1, 3, size}:
        page.get_by_label("Size once").fill(str(once))
        page.get_by_role("button", name="Prove that it only grew").click()
        expect(page.locator("[data-proof=true]")).to_contain_text(f"from that of size {once}")


def test_the_system_page_shows_every_check_and_device(client: Client, signed_in: Open) -> None:
    page = signed_in("/system")
    health = client.health()
    expect(page.locator(".check")).to_have_count(len(health["checks"]))
    expect(page.get_by_role("region", name="Nodes and devices", exact=True)).to_contain_text("CPU")
    expect(page.locator("main")).to_contain_text(health["version"])


def test_a_run_that_is_not_there_is_a_failure_and_not_an_empty_page(
    signed_in: Open, browser: Browser
) -> None:
    assert browser.is_connected()
    page = signed_in("/runs/000000000000", lost=True)
    expect(page.get_by_role("alert")).to_contain_text("not_found")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_what_a_role_forbids_stays_visible_and_says_what_it_needs(
    client: Client, service: LocalService, open_page: Open, runs: list[str]
) -> None:
    client.add_user("looker", role="viewer")
    token = client.add_key("looker")["token"]
    page = open_page(service.url, f"/runs/{runs[0]}", token=token)
    audit = page.get_by_role("button", name="Audit")
    expect(audit).to_be_disabled()
    expect(page.locator(".audit")).to_contain_text("Needs role operator; you are viewer.")
    expect(page.locator(".who")).to_have_text("looker · viewer")
    page.get_by_role("button", name="Verify").click()
    verdict(page, "passed")
    page.goto(f"{service.url}/new")
    expect(page.get_by_role("button", name="Start the run")).to_be_disabled()
    assert serious_findings(page) == []
