"""A real Chromium for these tests, and pages that tell of every error and every foreign request."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from serve.local import LocalService
from tests.console.watching import Watched

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

WIDE: ViewportSize = {"width": 1440, "height": 900}

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; skips with the reason where there is none.

    Of a module, not of the session: while it is open, no other event loop runs in this thread.
    """
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def cookies() -> dict[tuple[str, str], Any]:
    """The cookies of sessions, by address and token."""
    return {}


@pytest.fixture
def open_page(browser: Browser, cookies: dict[tuple[str, str], Any]) -> Iterator[Open]:
    """Open pages: (url, path, token=..., theme=..., size=...) -> Page; none may have complained."""
    watched: list[Watched] = []

    def open_(
        url: str,
        path: str = "/",
        *,
        token: str | None = None,
        theme: str = "light",
        size: ViewportSize = WIDE,
        lost: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport=size,
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(20_000)
        if token is not None:
            if (url, token) not in cookies:  # signing in too often is refused
                context.request.post(f"{url}/api/session", data={"token": token})
                cookies[url, token] = context.cookies()
            context.add_cookies(cookies[url, token])
            context.add_init_script("localStorage.setItem('zeropoint-signed-in', '1')")
        page = context.new_page()
        watched.append(Watched(page, url, may_be_lost=lost))
        page.goto(url + path)
        return page

    yield open_
    for one in watched:
        one.page.context.close()
    assert [complaint for one in watched for complaint in one.complaints] == []


@pytest.fixture
def signed_in(service: LocalService, open_page: Open) -> Open:
    """Open pages of the shared service with its token: (path, theme=..., size=...) -> Page."""

    def open_(path: str = "/", **options: object) -> Page:
        return open_page(service.url, path, token=service.token(), **options)

    return open_


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the two packs that the console ships."""
    return Path(__file__).parents[2] / "serve" / "console" / "static" / "console"
