"""The console's files before the application: whole answers from memory, nothing computed.

A request for a page or a file of the console is answered here; everything else, `/api` first of
all, goes on to the application. Pages are listed one by one: there is no rule that could swallow a
route. Files whose name holds a digest of their content never change and are kept for a year; the
one page behind every address is asked for again each time, and answered 304 if it is the same.
"""

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

STATIC = Path(__file__).with_name("static")
"""The built files."""

INDEX = "index.html"

PAGES = (
    r"/",
    r"/runs/[0-9a-f]{12}",
    r"/new",
    r"/compare",
    r"/evidence",
    r"/consensus/proposals",
    r"/system",
    r"/signin",
)
"""Addresses of pages; `web/src/routes` has a folder for each."""

CONTENT_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json; charset=utf-8",
    ".zip": "application/zip",
}
"""By suffix; a file of another kind is not served."""

IMMUTABLE = "public, max-age=31536000, immutable"
"""For files whose name holds a digest of their content."""

REVALIDATED = "no-cache"
"""For all others: kept, but asked for again each time."""

_ANNOUNCER = "sha256-S8qMpvofolR8Mpjy4kQvEm7m1q8clzU4dfDH0AmvZjo="
"""Of the one style attribute: SvelteKit hides with it the text that tells a screen reader of a new
page. No other is let in."""

_IMMUTABLE_FOLDER = "/_app/immutable/"
_PAGE = re.compile("|".join(PAGES))
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_COMPRESSED = frozenset({".zip"})


@dataclass(frozen=True, slots=True)
class File:
    """One file, ready to be sent."""

    plain: bytes
    packed: bytes | None
    """With gzip; None where that saves nothing."""
    headers: tuple[tuple[bytes, bytes], ...]
    etag: str


class Site:
    """ASGI middleware that answers for the console.

    Args:
        app: The application behind it.
        folder: The built files; where there is no such folder, everything goes on.

    Raises:
        OSError: A file cannot be read.
    """

    def __init__(self, app: ASGIApp, folder: Path = STATIC) -> None:
        self._app = app
        self._files = _read(folder) if (folder / INDEX).exists() else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for a file or page, or pass the request on."""
        is_read = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
        file = self._files.get(_file_of(scope["path"])) if is_read else None
        if file is None:
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        is_same = file.etag in asked.get("if-none-match", "")
        is_packed = file.packed is not None and _takes_gzip(asked)
        body = file.packed if is_packed and file.packed is not None else file.plain
        headers = list(file.headers)
        if is_packed:
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", b"%d" % len(body)))
        if is_same:
            headers, body = list(file.headers), b""
        status = 304 if is_same else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        is_sent = scope["method"] == "GET" and not is_same
        await send({"type": "http.response.body", "body": body if is_sent else b""})


def is_console(path: str) -> bool:
    """Return whether a path is a page or a file of the console, which need no token to be read."""
    return _PAGE.fullmatch(path) is not None or path.startswith(("/_app/", "/console/"))


def policy(index: str) -> str:
    """Return the Content-Security-Policy of the console: itself, and its page's one script.

    Args:
        index: Text of the page.
    """
    digests = [hashlib.sha256(text.encode()).digest() for text in _INLINE_SCRIPT.findall(index)]
    scripts = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {scripts}".rstrip(),
            "style-src 'self'",
            f"style-src-attr 'unsafe-hashes' '{_ANNOUNCER}'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _file_of(path: str) -> str:
    return f"/{INDEX}" if _PAGE.fullmatch(path) else path


def _takes_gzip(headers: Headers) -> bool:
    return (
        re.search(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", headers.get("accept-encoding", ""))
        is not None
    )


def _read(folder: Path) -> dict[str, File]:
    """Return every file that may be served, by path."""
    csp = policy((folder / INDEX).read_text(encoding="utf-8"))
    found = [path for path in folder.rglob("*") if path.suffix in CONTENT_TYPES and path.is_file()]
    return {f"/{path.relative_to(folder).as_posix()}": _file(path, folder, csp) for path in found}


def _file(path: Path, folder: Path, csp: str) -> File:
    plain = path.read_bytes()
    packed = None if path.suffix in _COMPRESSED else gzip.compress(plain, 9, mtime=0)
    etag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
    is_immutable = f"/{path.relative_to(folder).as_posix()}".startswith(_IMMUTABLE_FOLDER)
    headers = {
        "content-type": CONTENT_TYPES[path.suffix],
        "cache-control": IMMUTABLE if is_immutable else REVALIDATED,
        "etag": etag,
        "vary": "accept-encoding",
        "content-security-policy": csp,
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
    }
    encoded = tuple((name.encode(), value.encode()) for name, value in headers.items())
    is_smaller = packed is not None and len(packed) < len(plain)
    return File(plain, packed if is_smaller else None, encoded, etag)
