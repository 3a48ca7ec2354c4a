"""What every request passes before a route sees it, and every response on its way out.

Pure ASGI, so that streams are not buffered. In order: (1) Host is ours, so that a name rebound to
this address reaches nothing; (2) Origin, if a browser sends one, is this service itself; (3) a
token or a session's cookie, but on the open routes, (4) with the role that the route needs, and
with a cookie, where something changes, the session's CSRF token too; (5) a body is JSON, or a zip
where packs are verified, and (6) within its limit.
"""

import hmac
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evidence.errors import Forbidden, ServiceError, TooLarge, Unauthenticated
from governance.account_reader import AccountReader, csrf_of
from governance.accounts import Caller
from serve import problems
from serve.roles import RoleOf

COOKIE = "zeropoint_session"
"""Name of the cookie of a browser's session."""

CSRF_HEADER = "x-csrf-token"
"""Header with the session's CSRF token, which a page of another site cannot know."""

SCOPE_KEY = "zeropoint.caller"
"""Where the ASGI scope holds the `Caller`, or None on an open route."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

UPLOAD_PATH = "/api/verify"
"""The one path whose body is a zip."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_MOST_DIGITS = 18

_OF_A_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-disposition": "inline",
    "referrer-policy": "no-referrer",
}


class UnsupportedMediaType(ServiceError):
    """A body is of another type than the route takes."""

    code = "unsupported_media_type"
    title = "Unsupported media type"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask, and how much."""

    hosts: frozenset[str]
    """Names that the Host header may carry, without port."""
    accounts: AccountReader
    """Tells whose a token or a cookie is."""
    role_of: RoleOf
    """Tells the role that a request needs."""
    max_body_bytes: int
    max_pack_bytes: int = 4 << 30
    """Of a body at UPLOAD_PATH."""


class Guard:
    """ASGI middleware with the six rules above and the headers of every response.

    Args:
        app: The application behind it.
        access: Who may ask.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Ray Serve names an application's route prefix as root_path; our routes are whole paths.
        scope["root_path"] = ""
        exchange = _Exchange(scope, receive, send, max_body_bytes=self._most_bytes(scope))
        try:
            self._admit(Request(scope))
            await self._app(scope, exchange.receive, exchange.send)
        except ServiceError as error:
            if exchange.has_begun:
                raise
            await exchange.refuse(error)

    def _admit(self, request: Request) -> None:
        headers = request.headers
        host = _host_name(headers.get("host", ""))
        if host not in self._access.hosts:  # (1)
            raise Forbidden(
                f"Host: expected a name of this service, found {host[:200]!r}",
                field="Host",
                found=host[:200],
            )
        origin = headers.get("origin")
        if origin is not None and not _is_same(origin, headers.get("host", "")):  # (2)
            raise Forbidden(
                f"Origin: expected this service itself, found {origin[:200]!r}",
                field="Origin",
                found=origin[:200],
            )
        self._require_caller(request)  # (3) (4)
        wanted = _kind_of(request.scope)
        self._require_kind(headers, wanted)  # (5)
        most = self._most_bytes(request.scope)
        length = headers.get("content-length", "0")
        is_number = length.isdecimal() and len(length) <= _MOST_DIGITS
        if not is_number or int(length) > most:  # (6)
            raise _too_large(length, most=most)

    def _most_bytes(self, scope: Scope) -> int:
        is_upload = scope["path"] == UPLOAD_PATH
        return self._access.max_pack_bytes if is_upload else self._access.max_body_bytes

    def _require_caller(self, request: Request) -> None:
        """Put who asks into the scope, if they may ask for this."""
        request.scope[SCOPE_KEY] = None
        needed = self._access.role_of(request.method, request.scope["path"])
        if needed is None:
            return
        caller = self._caller(request)
        if caller is None:
            raise Unauthenticated(
                "Authorization: expected `Bearer` and a token of this service",
                field="Authorization",
                cure="`zpctl status` prints the path of the token's file",
            )
        if not caller.role.covers(needed):
            raise Forbidden(
                f"{request.method} {request.scope['path'][:200]}: expected the role {needed} or "
                f"more, {caller.name} has {caller.role}",
                field="role",
                expected=needed,
                found=caller.role,
                cure="ask an admin: zpctl users",
            )
        request.scope[SCOPE_KEY] = caller

    def _caller(self, request: Request) -> Caller | None:
        headers, client = request.headers, request.client
        origin = client.host if client is not None else None
        authorization = headers.get("authorization")
        if authorization is not None:  # a wrong token is not made good by a cookie
            scheme, _, token = authorization.partition(" ")
            is_bearer = scheme.lower() == "bearer"
            accounts = self._access.accounts
            return accounts.of_token(token.strip(), origin=origin) if is_bearer else None
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            return None
        caller = self._access.accounts.of_cookie(cookie, origin=origin)
        if caller is not None and request.method not in _SAFE:
            given = headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(given.encode(), csrf_of(cookie).encode()):
                raise Forbidden(
                    f"{CSRF_HEADER}: expected the CSRF token of the session",
                    field=CSRF_HEADER,
                    cure="GET /api/session tells it",
                )
        return caller

    def _require_kind(self, headers: Headers, wanted: str) -> None:
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if has_body and kind != wanted:
            raise UnsupportedMediaType(
                f"Content-Type: expected {wanted}, found {kind[:100]!r}",
                field="Content-Type",
                expected=wanted,
                found=kind[:100],
            )


def _kind_of(scope: Scope) -> str:
    """Return the content type that a body must have."""
    return "application/zip" if scope["path"] == UPLOAD_PATH else "application/json"


class _Exchange:
    """One request and its response: counts the body, completes the headers, refuses once."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, max_body_bytes: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._most = max_body_bytes
        self._taken = 0
        self.has_begun = False
        """Whether a response that is no refusal has begun."""
        self._refused = False
        self._over: TooLarge | None = None

    async def receive(self) -> Message:
        """Count the bytes of a body, which need not say its length."""
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self._taken > self._most:
            self._over = _too_large(f"more than {self._most}", most=self._most)
            raise self._over
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on; a framework's own answer to a body that was too large is replaced."""
        if self._over is not None:
            await self.refuse(self._over)
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self.has_begun = True
            _complete(MutableHeaders(scope=message))
        await self._send(message)

    async def refuse(self, error: ServiceError) -> None:
        """Answer with a problem, unless an answer has begun."""
        if self.has_begun or self._refused:
            return
        self._refused = True
        document = problems.of_error(error, instance=self._scope["path"])
        await problems.response(document)(self._scope, self._receive, self._finish)

    async def _finish(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            _complete(MutableHeaders(scope=message))
        await self._send(message)


def _too_large(found: str, *, most: int) -> TooLarge:
    return TooLarge(
        f"body: expected at most {most} bytes, found {found[:40]}",
        field="Content-Length",
        expected=f"at most {most}",
        found=found[:40],
    )


def _complete(headers: MutableHeaders) -> None:
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if headers.get("content-type") == "application/json":
        headers["content-type"] = "application/json; charset=utf-8"


def _host_name(host: str) -> str:
    """Return the Host header without port and brackets; empty if it is not a host.

    Source: RFC 9110 §7.2: host and port, nothing else of a URI's authority or path.
    """
    if not _OF_A_HOST.fullmatch(host):
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    """Return whether a page of this service sent the request: same host and port."""
    try:
        parts: Any = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()
