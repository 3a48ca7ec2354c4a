"""Take the screenshots of the console from a real run, on the service that runs here.

    .venv/bin/python docs/console/shoot.py [RUN_ID]

Each page at 1440 and at 390 pixels, in light and dark, into `var/console/`; the wide, light ones
also into this folder, as they stand in the docs. It needs Chromium and python playwright.
"""

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from cluster.settings import from_environment
from serve import local
from serve.client import Client

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
SIZES: dict[str, ViewportSize] = {
    "wide": {"width": 1440, "height": 900},
    "phone": {"width": 390, "height": 844},
}
COLOURS = 256
"""Of a picture in the docs: it has few, and the file is small."""


def main() -> int:
    """Take all pictures; return the exit status."""
    service = local.find(from_environment(os.environ).home)
    if service is None:
        print("error: no service runs here\nhelp:  make up", file=sys.stderr)
        return 3
    with Client(service.url, token=service.token()) as client:
        rows = client.table(status="succeeded", sort="accuracy", limit=5)["rows"]
        proposals = client.proposals(limit=1)["proposals"]
    if not rows:
        print("error: no run has succeeded\nhelp:  zpctl train mnist_mlp", file=sys.stderr)
        return 1
    run_id = sys.argv[1] if len(sys.argv) > 1 else rows[0]["run_id"]
    pages = {
        "runs": "/",
        "run": f"/runs/{run_id}",
        "new": "/new",
        "compare": f"/compare?runs={','.join(row['run_id'] for row in rows)}",
        "evidence": "/evidence?sample=tampered",
        "proposals": "/consensus/proposals"
        + (f"?id={proposals[0]['proposal_id']}" if proposals else ""),
        "system": "/system",
        "signin": "/signin",
    }
    kept = ROOT / "var" / "console"
    kept.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for size in SIZES:
            for theme in ("light", "dark"):
                page = open_page(browser, service.url, service.token(), size=size, theme=theme)
                for name, path in pages.items():
                    page.goto(service.url + path)
                    page.wait_for_selector("h1")
                    page.wait_for_function("!document.querySelector('.skeleton')")
                    page.wait_for_timeout(1500)  # charts come in
                    if name == "evidence":
                        page.wait_for_selector(".checklist[data-verdict=failed]")
                    picture = page.screenshot()
                    (kept / f"{name}-{size}-{theme}.png").write_bytes(picture)
                    if (size, theme) == ("wide", "light"):
                        save_small(picture, FOLDER / f"{name}.png")
    return 0


def open_page(browser: Browser, url: str, token: str, *, size: str, theme: str) -> Page:
    """Return a page of a session of its own."""
    dark = "dark" if theme == "dark" else "light"
    context = browser.new_context(viewport=SIZES[size], color_scheme=dark)  # type: ignore[arg-type]  # one of its literals
    context.request.post(f"{url}/api/session", data={"token": token})
    context.add_init_script("localStorage.setItem('zeropoint-signed-in', '1')")
    return context.new_page()


def save_small(picture: bytes, target: Path) -> None:
    """Write a picture with few colours."""
    few = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
