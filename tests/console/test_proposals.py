"""Dual consensus in the browser: two people, two votes of equal standing, and who may not."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from serve.client import Client
from serve.local import LocalService
from tests.console.conftest import Open
from tests.console.test_pages import trained
from tests.console.watching import overflow, serious_findings
from tests.governance.proposing import ETHICS

pytestmark = pytest.mark.ray

PATH = "/consensus/proposals"


@pytest.fixture(scope="module")
def tokens(service: LocalService) -> dict[str, str]:
    """Tokens of an author, two reviewers and a program that reviews."""
    with Client(service.url, token=service.token()) as owner:
        for name, kind, role in (
            ("author", "user", "operator"),
            ("judge", "user", "reviewer"),
            ("machine", "service", "reviewer"),
        ):
            owner.add_user(name, kind=kind, role=role)
        return {name: owner.add_key(name)["token"] for name in ("author", "judge", "machine")}


@pytest.fixture(scope="module")
def cited(service: LocalService, tokens: dict[str, str]) -> str:
    """A sealed run of the author's."""
    with Client(service.url, token=tokens["author"]) as author:
        return trained(author, name="cited")


def proposed(service: LocalService, token: str, run_id: str, title: str) -> str:
    written: dict[str, Any] = {
        "title": title, "summary": "The same model once more.", "change_type": "patch",
        "from_run": run_id, "ethics": ETHICS,
    }  # fmt: skip
    with Client(service.url, token=token) as author:
        return str(author.propose(written)["proposal_id"])


def looks_of(button: Locator) -> tuple[Any, ...]:
    box = button.bounding_box()
    assert box is not None
    names = ["color", "backgroundColor", "borderColor", "fontWeight", "fontSize", "opacity"]
    script = "(button, names) => names.map((name) => getComputedStyle(button)[name])"
    return (box["width"], box["height"], *button.evaluate(script, names))


def shown(page: Page) -> Locator:
    return page.locator("article.proposal")


def test_a_proposal_is_accepted_by_a_machine_and_a_person_live(
    service: LocalService, open_page: Open, tokens: dict[str, str], cited: str
) -> None:
    proposal_id = proposed(service, tokens["author"], cited, "Train it again")
    page = open_page(service.url, f"{PATH}?id={proposal_id}", token=tokens["judge"])
    expect(shown(page)).to_have_attribute("data-state", "pending")
    expect(shown(page)).to_contain_text(cited[:8])
    expect(page.locator("[data-chart=loss]")).to_be_visible()
    with Client(service.url, token=tokens["machine"]) as machine:
        machine.vote(proposal_id, "pass", ["the evidence verifies"], side="ai")
    expect(shown(page)).to_have_attribute("data-state", "under_review", timeout=20_000)
    accept = page.locator(".choice", has_text="Accept")
    expect(accept).to_be_disabled()  # a reason is needed
    page.get_by_label("Reason").fill("I looked at the run.")
    accept.click()
    expect(page.get_by_role("dialog")).to_contain_text("shown to all as judge's")
    page.get_by_role("dialog").get_by_role("button", name="Accept").click()
    expect(shown(page)).to_have_attribute("data-state", "accepted", timeout=20_000)
    expect(shown(page)).to_contain_text("by machine")
    expect(shown(page)).to_contain_text("by judge")
    expect(shown(page)).to_contain_text("I looked at the run.")
    expect(page.locator(".choice", has_text="Accept")).to_be_disabled()
    assert serious_findings(page) == []


def test_both_choices_look_alike_and_neither_is_chosen_beforehand(
    service: LocalService, open_page: Open, tokens: dict[str, str], cited: str
) -> None:
    proposal_id = proposed(service, tokens["author"], cited, "Which of the two")
    page = open_page(service.url, f"{PATH}?id={proposal_id}", token=tokens["judge"])
    accept, reject = (page.locator(".choice", has_text=name) for name in ("Accept", "Reject"))
    page.get_by_label("Reason").fill("Both are possible.")
    expect(reject).to_be_enabled()
    page.mouse.move(0, 0)
    assert looks_of(accept) == looks_of(reject)
    reject.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("That is final")
    expect(dialog.locator("button:focus")).to_have_count(0)
    dialog.get_by_role("button", name="Reject").click()
    expect(shown(page)).to_have_attribute("data-state", "rejected", timeout=20_000)
    expect(page.locator(f"tr[data-proposal='{proposal_id}']")).to_contain_text("rejected")


def test_who_may_not_decide_is_told_why(
    service: LocalService, open_page: Open, tokens: dict[str, str], cited: str
) -> None:
    proposal_id = proposed(service, tokens["author"], cited, "Not by its author")
    page = open_page(service.url, f"{PATH}?id={proposal_id}", token=tokens["author"])
    expect(shown(page)).to_contain_text("Needs role reviewer; you are operator. Ask an admin.")
    expect(page.locator(".choice", has_text="Accept")).to_be_disabled()
    expect(page.locator(".choice", has_text="Reject")).to_be_disabled()


def test_the_counts_are_those_of_the_api_and_filter_the_list(
    client: Client, signed_in: Open, cited: str
) -> None:
    assert cited
    stats = client.proposal_stats()
    page = signed_in(PATH)
    expect(page.get_by_role("button", name=f"{stats['total']} total")).to_be_visible()
    for state, count in stats["by_state"].items():
        button = page.get_by_role("button", name=f"{count} {state.replace('_', ' ')}")
        button.click()
        expect(page.locator("tr[data-proposal]")).to_have_count(count)
    page.set_viewport_size({"width": 390, "height": 844})
    assert overflow(page) == 0
