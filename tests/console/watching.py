"""What a page must never do: complain, or ask another origin."""

from importlib import resources
from typing import Any

from playwright.sync_api import ConsoleMessage, Error, Page, Request

_AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_SERIOUS = ("serious", "critical")


class Watched:
    """A page whose complaints are kept.

    Args:
        page: The page.
        url: Its origin.
        may_be_lost: Whether the service goes away meanwhile, which a browser reports.
    """

    def __init__(self, page: Page, url: str, *, may_be_lost: bool = False) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._url = url
        self._may_be_lost = may_be_lost
        page.on("console", self._said)
        page.on("pageerror", self._failed)
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        is_network = message.text.startswith("Failed to load resource")
        if message.type in {"error", "warning"} and not (is_network and self._may_be_lost):
            self.complaints.append(f"{message.type}: {message.text}")

    def _failed(self, error: Error) -> None:
        self.complaints.append(f"uncaught: {error}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._url, "blob:", "data:")):
            self.complaints.append(f"foreign request: {request.url}")


def serious_findings(page: Page) -> list[str]:
    """Return what axe finds serious or critical on a page, contrast included."""
    page.evaluate(_AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
        if one["impact"] in _SERIOUS
    ]


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(script))
